import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from modelcycle.core.contract import Column, Contract, find_violations
from modelcycle.core.errors import InputError
from modelcycle.core.params import Holdout
from modelcycle.pipeline.evaluate import compute_calibration
from modelcycle.release import gate
from modelcycle.release.gate import (
    judge_behaviour,
    judge_calibration,
    judge_leaks,
    judge_metrics,
    judge_overlap,
    judge_process,
    judge_rule,
    judge_score,
    judge_training_rows,
    perturb,
)
from modelcycle.versions.params import Behaviour, Gate

GATE = Gate(
    bound=0.7,
    too_good=0.95,
    slice_gap=0.1,
    calibration_gap=0.05,
    fewest_rows=0.5,
    duel={"margin": 0.01, "confidence": 0.95},
)
SLICE = ["slice", "value", "low", "high", "baseline", "linear"]
CALIBRATION = {"predicted": [0.2, 0.8], "observed": [0.2, 0.8], "rows": [50, 50], "margin": [0.01, 0.01]}


def failed(limits, classification, figures, slices=(), calibration=CALIBRATION):
    metric = "roc_auc" if classification else "mae"
    table = pd.DataFrame([(metric, *figures)], columns=["metric", "value", "low", "high", "baseline"])
    parts = pd.DataFrame(slices, columns=SLICE)
    verdicts = judge_metrics(limits, classification, table, parts, pd.DataFrame(calibration))
    return [verdict.rule for verdict in verdicts if not verdict.passed]


@pytest.mark.parametrize(
    ("metric", "figures", "guessing", "minimum"),
    [
        ("roc_auc", (0.8, 0.75, 0.85), "passed", "passed"),
        ("roc_auc", (0.65, 0.45, 0.8), "undecided", "undecided"),  # few rows
        ("roc_auc", (0.51, 0.49, 0.53), "failed", "failed"),  # many rows, and no signal
        ("roc_auc", (0.6, 0.56, 0.64), "passed", "failed"),
        ("mae", (5.0, 3.0, 11.0), "undecided", "undecided"),
        ("mae", (9.9, 9.6, 10.2), "failed", "failed"),
        ("mae", (4.0, 3.0, 5.0), "passed", "passed"),
    ],
)
def test_an_interval_that_holds_both_what_passes_and_what_does_not_decides_nothing(metric, figures, guessing, minimum):
    score = dict(zip(["value", "low", "high"], figures, strict=True)) | {"baseline": 0.5 if metric == "roc_auc" else 10}
    limits = GATE.model_copy(update={"bound": 0.7 if metric == "roc_auc" else 7, "too_good": None})
    assert [verdict.state for verdict in judge_score(limits, metric, score)] == [guessing, minimum]


@pytest.mark.parametrize(
    ("figures", "slices", "rules"),
    [
        ((0.8, 0.75, 0.85, 0.5), [], []),
        ((0.52, 0.49, 0.55, 0.5), [], ["better than guessing", "minimum"]),
        ((0.72, 0.68, 0.76, 0.5), [], ["minimum"]),
        ((0.99, 0.98, 1.0, 0.5), [], ["not too good to be true"]),
        ((0.95, 0.94, 0.96, 0.5), [], []),
        ((0.8, 0.75, 0.85, 0.5), [("a = 1", 0.6, 0.5, 0.69, 0.5, 0.75)], ["slice a = 1"]),
        ((0.8, 0.75, 0.85, 0.5), [("a = 1", 0.6, 0.5, 0.69, 0.5, 0.65)], []),  # hard cases, for a linear model as well
        (
            (0.8, 0.75, 0.85, 0.5),
            [("a = 1", 0.6, 0.4, 0.71, 0.5, 0.75)],
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
        ((5.0, 4.5, 5.5, 9.0), [("a = 1", 6.0, 5.6, 6.5, 5.0, 6.0)], ["slice a = 1"]),
        ((5.0, 4.5, 5.5, 9.0), [("a = 1", 60.0, 56.0, 65.0, 90.0, 60.0)], []),  # large amounts, large errors
    ],
)
def test_amounts_are_judged_the_other_way_round(figures, slices, rules):
    limits = GATE.model_copy(update={"bound": 6.0, "too_good": 2.0, "calibration_gap": 1.0})
    assert failed(limits, False, figures, slices) == rules


def test_calibration_counts_what_is_apart_for_certain():
    apart = CALIBRATION | {"observed": [0.32, 0.68]}
    assert failed(GATE, True, (0.8, 0.75, 0.85, 0.5), calibration=apart) == ["calibration"]
    assert failed(GATE, True, (0.8, 0.75, 0.85, 0.5), calibration=apart | {"margin": [0.1, 0.1]}) == []


@pytest.mark.slow
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


def test_a_verdict_says_what_was_found_and_what_was_expected():
    table = pd.DataFrame([("roc_auc", 0.85, 0.7, 0.9, 0.5)], columns=["metric", "value", "low", "high", "baseline"])
    slices = pd.DataFrame([("a = 1", 0.7, 0.6, 0.75, 0.5, 0.8)], columns=SLICE)
    verdicts = list(judge_metrics(GATE, True, table, slices, pd.DataFrame(CALIBRATION)))
    assert all(verdict.passed for verdict in verdicts)  # each is just as good as it has to be
    assert [(verdict.rule, verdict.found, verdict.expected) for verdict in verdicts] == [
        ("better than guessing", "roc_auc 0.85 (0.7 to 0.9)", "above 0.5 for certain"),
        ("minimum", "roc_auc 0.85 (0.7 to 0.9)", "at least 0.7 for certain"),
        ("not too good to be true", "roc_auc 0.85", "at most 0.95"),
        ("slice a = 1", "roc_auc 0.7 (0.6 to 0.75)", "an interval that reaches 0.75"),
        ("calibration", "0.0000 apart", "at most 0.05"),
    ]
    assert verdicts[1].interval == {"value": 0.85, "low": 0.7, "high": 0.9}
    assert verdicts[3].interval == {"value": 0.7, "low": 0.6, "high": 0.75}
    amounts = table.assign(metric="mae", baseline=9.0)
    verdicts = list(judge_metrics(GATE, False, amounts, slices.iloc[:0], pd.DataFrame(CALIBRATION)))
    assert [verdict.expected for verdict in verdicts[:3]] == [
        "below 9 for certain",
        "at most 0.7 for certain",
        "at least 0.95",
    ]


def test_without_limits_a_model_only_has_to_be_better_than_guessing():
    limits = GATE.model_copy(update={"bound": None, "too_good": None})
    assert failed(limits, True, (0.6, 0.51, 0.7, 0.5)) == failed(limits, True, (0.999, 0.99, 1.0, 0.5)) == []
    assert failed(limits, True, (0.6, 0.5, 0.7, 0.5)) == ["better than guessing"]


def test_calibration_is_weighted_by_rows_and_for_amounts_in_units_of_the_error():
    apart = {"predicted": [1.0, 5.0], "observed": [3.0, 5.0], "rows": [25, 75], "margin": [1.0, 0.0]}
    verdict = judge_calibration(GATE, pd.DataFrame(apart), 2)
    assert (verdict.found, verdict.passed) == ("0.1250 apart", False)
    assert judge_calibration(GATE, pd.DataFrame(apart), 5).passed


def test_a_key_on_both_sides_is_found(contract):
    table = pd.DataFrame(dict.fromkeys(contract.names("feature"), "x"), range(6)).assign(order=[1, 2, 3, 3, 4, 3])
    train, test = table.head(4), table.tail(2)
    verdict = judge_overlap(train, test, contract, Holdout())
    assert (verdict.passed, verdict.found) == (False, "1 rows in both, 2 with the features of a training row")
    assert judge_overlap(train.head(2), test, contract, Holdout()).passed


def test_a_group_on_both_sides_or_a_later_training_row_is_found(contract):
    table = pd.DataFrame(dict.fromkeys(contract.names("feature"), "x"), range(6))
    table = table.assign(order=range(6), note=list("aabbcb"), at=pd.date_range("2024-01-01", periods=6))
    groups = Holdout(columns=["note"])
    assert judge_overlap(table.head(3), table.tail(2), contract, groups).found.startswith("1 rows in both")
    assert judge_overlap(table.head(2), table.tail(2), contract, groups).passed
    late = judge_overlap(table.iloc[[0, 1, 4]], table.iloc[[3, 5]], contract, Holdout(by="time"))
    assert late.found.startswith("1 rows as late as the test data")
    assert not late.passed
    assert judge_overlap(table.head(3), table.tail(3), contract, Holdout(by="time")).passed


def test_rows_that_are_copies_in_all_but_the_key_are_told(contract, rows):
    typed = find_violations(pd.concat([rows] * 4, ignore_index=True).assign(order=range(240)), contract)[0]
    typed["price"] = np.random.default_rng(0).normal(size=240)
    train, test = typed.head(160), typed.tail(80)
    assert judge_overlap(train, test, contract, Holdout()).found == "0 rows in both"
    inputs, copied = contract.names("feature"), test.copy()
    copied.loc[copied.index[:5], inputs] = train[inputs].head(5).to_numpy()
    verdict = judge_overlap(train, copied.astype(test.dtypes), contract, Holdout())
    assert (verdict.passed, verdict.found) == (True, "0 rows in both, 5 with the features of a training row")


@pytest.fixture
def bikes():
    random, kinds = np.random.default_rng(0), {"casual": "feature", "registered": "feature", "cnt": "target"}
    rows = pd.DataFrame({"casual": random.poisson(20, 400), "registered": random.poisson(90, 400)})
    columns = {name: Column(role=role, type="integer") for name, role in kinds.items()}
    return rows.assign(cnt=rows["casual"] + rows["registered"]), Contract(description="", columns=columns)


def test_columns_that_give_the_target_away_together_are_refused_and_the_sentence_says_what_to_type(bikes):
    verdict = judge_leaks(Gate(), *bikes)
    assert not verdict.passed
    assert "casual" in verdict.found
    assert "registered" in verdict.found
    (typed,) = re.findall(r"write into params\.yaml: (gate: .*)\.$", verdict.meaning)
    gate = Gate(**YAML(typ="safe").load(typed)["gate"])
    verdict = judge_leaks(gate, *bikes)
    assert verdict.passed
    assert verdict.found.startswith("accepted: ")
    assert verdict.found.endswith(": why")


@pytest.mark.parametrize("accepted", [{"casual": "why"}, {"registered, casual": " "}])
def test_an_accepted_leak_has_all_its_columns_and_a_reason(bikes, accepted):
    assert not judge_leaks(Gate(accepted_leaks=accepted), *bikes).passed


def test_too_few_training_rows_are_noticed():
    assert judge_training_rows(500, 1000, 0.5).passed
    verdict = judge_training_rows(499, 1000, 0.5)
    assert (verdict.passed, verdict.found, verdict.expected) == (False, "499", "at least 0.5 of the champion's 1,000")


@pytest.mark.parametrize(
    ("expect", "by", "differences", "passed", "effect"),
    [
        ("same", 0.5, [0.5, -0.5], True, "0.5"),
        ("same", 0.4, [0.5, -0.5], False, "0.5"),
        ("different", 0.5, [0.5, -0.5], True, "0.5"),
        ("different", 0.6, [0.5, -0.5], False, "0.5"),
        ("higher", 0.5, [0.25, 0.75], True, "0.5"),
        ("higher", 0.6, [0.25, 0.75], False, "0.5"),
        ("higher", 0.0, [0.5, -0.5], False, "0"),
        ("lower", 0.5, [-0.25, -0.75], True, "-0.5"),
        ("lower", 0.6, [-0.25, -0.75], False, "-0.5"),
        ("lower", 0.0, [0.0, 0.0], False, "0"),
    ],
)
def test_a_rule_is_about_the_size_or_the_direction_of_the_change(expect, by, differences, passed, effect):
    rule = Behaviour(set={"gift": True}, add={"price": -2, "at": 1}, shuffle=["shop"], expect=expect, by=by)
    verdict = judge_rule(rule, np.array(differences)[:, None])
    assert verdict.rule == "behaviour: gift = True, price -2, at +1, shop shuffled"
    assert (verdict.passed, verdict.found) == (passed, f"answers move by {effect}")
    assert verdict.expected == f"{expect}, by {'at most' if expect == 'same' else 'at least'} {by:g}"


def test_columns_are_set_moved_and_shuffled_and_all_else_stays(contract, rows):
    typed, _ = find_violations(rows, contract)
    rule = Behaviour(
        set={"gift": False, "shop": "Köln"}, add={"price": -2.5, "at": 36}, shuffle=["order"], expect="same", by=0
    )
    before, changed = typed.copy(), perturb(typed, rule, contract)
    assert typed.equals(before)
    assert not changed["gift"].any()
    assert set(changed["shop"]) == {"Köln"}
    assert (changed["price"] - typed["price"] == -2.5).all()
    assert (changed["at"] - typed["at"] == pd.Timedelta(hours=36)).all()
    assert sorted(changed["order"]) == sorted(typed["order"])
    assert (changed["order"] != typed["order"]).any()
    assert changed["returned"].equals(typed["returned"])
    missing = Behaviour(set={"price": None}, expect="same", by=0)
    assert perturb(typed, missing, contract)["price"].isna().all()


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"set": {"gift": "perhaps"}}, "sets gift to 'perhaps'; contract.yaml expects boolean."),
        ({"set": {"shop": "Rom"}}, "sets shop to 'Rom'; contract.yaml expects one of Köln, NO."),
        ({"set": {"shop": None}}, "sets shop to None; contract.yaml expects one of Köln, NO."),
        ({"add": {"shop": 1}}, "adds to shop, a category; expected a number or a time."),
        ({"add": {"at": 1e9}}, "adds 1e+09 hours to at: too many."),
        ({"add": {"at": 1e300}}, "adds 1e+300 hours to at: too many."),
    ],
)
def test_what_can_t_be_done_to_a_column_is_refused(contract, rows, rule, sentence):
    typed, _ = find_violations(rows, contract)
    with pytest.raises(InputError) as error:
        perturb(typed, Behaviour(**rule, expect="same", by=0), contract)
    assert str(error.value) == f"params.yaml: gate.behaviour {sentence}"


class Picky:
    """A model of two or three classes that refuses rows, or answers some with what is no number."""

    def __init__(self, answer, classes=(False, True)):
        self.classes_, self.answer = np.array(classes), answer

    def predict_proba(self, made):
        return np.repeat(np.asarray(self.answer(made), float)[:, None], len(self.classes_), axis=1)


def test_a_model_has_to_answer_missing_and_unseen_values(contract, rows, monkeypatch):
    monkeypatch.setattr(gate, "make_features", lambda given, _: given)
    contract.columns["city"] = contract.columns["shop"].model_copy(update={"values": None})
    typed, _ = find_violations(rows.assign(city="Bonn"), contract)
    for answer, found in [
        (lambda made: made["order"], ["60 of 60", "60 of 60"]),
        (lambda made: made["price"].where(made["price"] < 40), ["0 of 60", "40 of 60"]),
        (lambda made: 1 / (made["city"] == "Bonn").astype(float), ["60 of 60", "0 of 60"]),
        (lambda made: {"Bonn": made["order"]}[made["city"].iloc[0]], ["60 of 60", "0 of 60"]),
    ]:
        verdicts = list(judge_behaviour([], Picky(answer), typed, contract))
        assert [verdict.rule for verdict in verdicts] == ["missing values", "unseen values"]
        assert [verdict.found for verdict in verdicts] == [f"{n} rows answered" for n in found]
        assert [verdict.passed for verdict in verdicts] == [n == "60 of 60" for n in found]


def test_a_rule_moves_the_answers_of_the_second_of_two_classes_and_of_each_of_many(contract, rows, monkeypatch):
    monkeypatch.setattr(gate, "make_features", lambda given, _: given)
    typed, _ = find_violations(rows, contract)
    up = Behaviour(add={"price": 4}, expect="higher", by=2)
    *_, verdict = judge_behaviour([up], Picky(lambda made: made["price"] / 2), typed, contract)
    assert (verdict.rule, verdict.passed, verdict.found) == ("behaviour: price +4", True, "answers move by 2")
    three = Picky(lambda made: made["price"] / 2, [*"abc"])
    with pytest.raises(InputError, match=r"gate\.behaviour expects higher, which needs an amount or two classes\.$"):
        list(judge_behaviour([up], three, typed, contract))
    same = Behaviour(add={"price": 4}, expect="same", by=2)
    assert list(judge_behaviour([same], three, typed, contract))[-1].passed


@pytest.mark.parametrize("rule", [{"shuffle": ["nothing"]}, {"set": {"returned": True}}, {"add": {"order": 1}}, {}])
def test_a_rule_for_what_is_no_input_is_refused(contract, rows, rule, monkeypatch):
    monkeypatch.setattr(gate, "make_features", lambda given, _: given)
    typed, _ = find_violations(rows, contract)
    with pytest.raises(InputError, match=r"gate\.behaviour changes \[.*\]; expected inputs of contract\.yaml\.$"):
        list(
            judge_behaviour(
                [Behaviour(**rule, expect="same", by=0)], Picky(lambda made: made["price"]), typed, contract
            )
        )


@pytest.mark.parametrize(
    ("faults", "status", "found"),
    [
        ([], "", "in order"),
        (["evaluation has no owner"], "", "evaluation has no owner"),
        ([], " M docs/crisp-dm/evaluation.md", "pages are not committed"),
        (["a", "b"], "?? docs/scrum/done.md", "a; b; pages are not committed"),
    ],
)
def test_the_process_is_judged_by_its_own_command_and_by_what_is_committed(
    tmp_path, monkeypatch, faults, status, found
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    asked = []

    def run(*words):
        asked.append(words)
        (tmp_path / "reports/process.json").write_text(json.dumps({"faults": faults}))

    monkeypatch.setattr(gate, "run", run)
    monkeypatch.setattr(gate, "git", lambda *words: status if words[0] == "status" else "")
    verdict = judge_process()
    assert asked == [(sys.executable, "-m", "modelcycle", "process", "--state")]
    assert (verdict.passed, verdict.found) == (found == "in order", found)
