import numpy as np
import pandas as pd
import pytest

from modelcycle.core.errors import InputError
from modelcycle.core.params import Behaviour, Duel, Gate
from modelcycle.pipeline.evaluate import compute_calibration
from modelcycle.pipeline.train import fit_model
from modelcycle.release.gate import judge_behaviour, judge_duel, judge_metrics, judge_overlap, judge_training_rows

GATE = Gate(
    bound=0.7,
    too_good=0.95,
    slice_gap=0.1,
    calibration_gap=0.05,
    fewest_rows=0.5,
    duel={"margin": 0.01, "confidence": 0.95},
)
CALIBRATION = {"predicted": [0.2, 0.8], "observed": [0.2, 0.8], "rows": [50, 50], "margin": [0.01, 0.01]}


def failed(gate, classification, figures, slices=(), calibration=CALIBRATION):
    metric = "roc_auc" if classification else "mae"
    table = pd.DataFrame([(metric, *figures)], columns=["metric", "value", "low", "high", "baseline"])
    parts = pd.DataFrame(slices, columns=["slice", "value", "low", "high", "baseline"])
    verdicts = judge_metrics(gate, classification, table, parts, pd.DataFrame(calibration))
    return [verdict.rule for verdict in verdicts if not verdict.passed]


@pytest.mark.parametrize(
    ("figures", "slices", "rules"),
    [
        ((0.8, 0.75, 0.85, 0.5), [], []),
        ((0.52, 0.49, 0.55, 0.5), [], ["better than guessing", "minimum"]),
        ((0.72, 0.68, 0.76, 0.5), [], ["minimum"]),
        ((0.99, 0.98, 1.0, 0.5), [], ["not too good to be true"]),
        ((0.8, 0.75, 0.85, 0.5), [("a = 1", 0.6, 0.5, 0.69, 0.5)], ["slice a = 1"]),
        (
            (0.8, 0.75, 0.85, 0.5),
            [("a = 1", 0.6, 0.4, 0.71, 0.5)],
            [],
        ),  # it may be as good as all: too few cases to tell
    ],
)
def test_classes_are_judged_by_the_end_of_the_interval_that_counts(figures, slices, rules):
    assert failed(GATE, True, figures, slices) == rules


@pytest.mark.parametrize(
    ("figures", "slices", "rules"),
    [
        ((5.0, 4.5, 5.5, 9.0), [], []),
        ((5.0, 4.5, 6.5, 9.0), [], ["minimum"]),
        ((1.0, 0.5, 1.5, 9.0), [], ["not too good to be true"]),
        ((5.0, 4.5, 5.5, 5.2), [], ["better than guessing"]),
        ((5.0, 4.5, 5.5, 9.0), [("a = 1", 6.0, 5.6, 6.5, 5.0)], ["slice a = 1"]),
        ((5.0, 4.5, 5.5, 9.0), [("a = 1", 60.0, 56.0, 65.0, 90.0)], []),  # large amounts, large errors
    ],
)
def test_amounts_are_judged_the_other_way_round(figures, slices, rules):
    gate = GATE.model_copy(update={"bound": 6.0, "too_good": 2.0, "calibration_gap": 1.0})
    assert failed(gate, False, figures, slices) == rules


def test_calibration_counts_what_is_apart_for_certain():
    apart = CALIBRATION | {"observed": [0.32, 0.68]}
    assert failed(GATE, True, (0.8, 0.75, 0.85, 0.5), calibration=apart) == ["calibration"]
    assert failed(GATE, True, (0.8, 0.75, 0.85, 0.5), calibration=apart | {"margin": [0.1, 0.1]}) == []


@pytest.mark.parametrize(("rows", "found"), [(50, 0.5), (200, 0.9), (2000, 1.0)])
def test_calibration_of_few_cases_spares_honest_models_and_finds_overconfident_ones(rows, found):
    random, honest, bold = np.random.default_rng(0), [], []
    for _ in range(50):
        share = random.beta(1, 3, rows)
        truth = np.where(random.random(rows) < share, "True", "False")
        for given, gaps in [(share, honest), (share**4 / (share**4 + (1 - share) ** 4), bold)]:
            table = pd.DataFrame({"prediction": truth, "probability_False": 1 - given, "probability_True": given})
            gaps.append(failed(GATE, True, (0.8, 0.75, 0.85, 0.5), calibration=compute_calibration(truth, table)))
    assert sum(map(bool, honest)) <= 1
    assert sum(map(bool, bold)) >= found * len(bold)


def test_a_key_on_both_sides_is_found(contract):
    train, test = pd.DataFrame({"order": [1, 2, 3]}), pd.DataFrame({"order": [4, 3]})
    assert judge_overlap(train, test, contract).found == "1 rows in both"
    assert judge_overlap(train.head(2), test, contract).passed


def test_too_few_training_rows_are_noticed():
    assert judge_training_rows(600, 1000, 0.5).passed
    assert not judge_training_rows(400, 1000, 0.5).passed


def test_a_model_that_is_as_good_passes_the_duel_and_a_worse_one_does_not():
    random = np.random.default_rng(0)
    truth = random.normal(size=400)
    champion, worse = (pd.DataFrame({"prediction": truth + random.normal(0, error, 400)}) for error in (0.5, 0.8))
    duel = Duel(margin=0.05, confidence=0.95)
    assert judge_duel(duel, "1", truth, champion, champion, 200, False)[0].passed
    assert not judge_duel(duel, "1", truth, worse, champion, 200, False)[0].passed
    assert judge_duel(duel, "1", truth, champion, worse, 200, False)[0].passed


def test_a_rule_for_what_is_no_input_is_refused(real):
    rule = Behaviour(shuffle=["nothing"], expect="same", by=0)
    model = fit_model(real.params, real.train, real.contract)[0]
    with pytest.raises(InputError, match=r"expected inputs of contract\.yaml"):
        list(judge_behaviour([rule], model, real.test, real.contract))
