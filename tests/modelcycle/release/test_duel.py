import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from modelcycle.core.contract import Contract, find_violations
from modelcycle.core.holdout import is_test
from modelcycle.core.metrics import expand_tail, score_predictions
from modelcycle.core.params import Holdout
from modelcycle.core.team import Project
from modelcycle.release.duel import compare_with_champion, judge_duel, judge_missing_duel, select_duel_rows
from modelcycle.versions.bundle import Bundle
from modelcycle.versions.params import Duel, read_params
from modelcycle.versions.run_version import RunningVersion


def test_a_model_that_is_as_good_passes_the_duel_and_a_worse_one_does_not():
    random = np.random.default_rng(0)
    truth = random.normal(size=400)
    champion, worse = (pd.DataFrame({"prediction": truth + random.normal(0, error, 400)}) for error in (0.5, 0.8))
    duel = Duel(margin=0.05, confidence=0.95)
    verdict, same = judge_duel(duel, "3", truth, champion, champion, 200)
    assert verdict.passed
    assert re.fullmatch(r"mae (0\.4\d+), version 3 \1; at worst [+-]0\.0000", verdict.found)
    assert (same.version, same.metric, len(same.differences)) == ("3", "mae", 200)
    score = score_predictions(truth, champion)["mae"]
    assert same.margin == pytest.approx(0.05 * score)
    assert verdict.expected == f"at worst {-0.05 * score:+.4f} with 95% confidence"
    verdict, other = judge_duel(duel, "1", truth, worse, champion, 200)
    assert not verdict.passed
    assert other.differences.max() < 0
    assert f"at worst {np.quantile(other.differences, expand_tail(0.05, 400)):+.4f}" in verdict.found
    assert verdict.meaning == "Users would get worse answers than today."
    assert judge_duel(duel, "1", truth, champion, worse, 200)[0].passed


def test_a_duel_that_can_t_be_scored_is_lost():
    truth = np.array([True] * 20)
    answers = pd.DataFrame({"prediction": truth, "probability_False": 0.2, "probability_True": 0.8})
    verdict, duel = judge_duel(Duel(margin=0.05, confidence=0.95), "1", truth, answers, answers, 50)
    assert (verdict.passed, len(duel.differences)) == (False, 0)


def test_a_duel_that_is_not_held_is_a_failure_unless_a_person_has_a_reason():
    verdict = judge_missing_duel("Nobody can answer.", "")
    assert (verdict.passed, verdict.found) == (False, "not held: Nobody can answer.")
    assert verdict.expected == "the champion's answers to the same rows"
    verdict = judge_missing_duel("Nobody can answer.", "we sell bicycles now")
    assert (verdict.passed, verdict.expected) == (True, "none, since we sell bicycles now")


@pytest.fixture
def champion(contract, rows):
    """A version of a small model, whose answers are always the same."""
    model = DummyClassifier().fit(rows[["order"]], rows["returned"] == "yes")
    version = RunningVersion(contract, model, lambda made, _: made)
    return Bundle("1", {}, contract, version, Project(package="orders"), {}, {})


def held_out(share):
    """What a release records of rows that were split by their key."""
    return {"by": "key", "columns": ["order"], "share": share, "refit": False, "trained_until": None}


def test_a_grown_test_share_leaves_out_what_the_champion_was_trained_on(champion, contract):
    keys = pd.DataFrame({name: range(1000) if name == "order" else "x" for name in contract.columns})
    test = keys[is_test(keys[["order"]], 0.4)]
    chosen = select_duel_rows(champion, held_out(0.2), test, contract, Holdout())
    assert chosen.equals(keys[is_test(keys[["order"]], 0.2)])
    assert 0.4 * len(test) < len(chosen) < 0.6 * len(test)


def redescribe(contract, **columns):
    """Give the contract with columns described in another way; None: without the column."""
    described = contract.model_dump(exclude_unset=True)
    described["columns"] = {name: column for name, column in (described["columns"] | columns).items() if column}
    return Contract.model_validate(described)


TARGET, TEXT = {"role": "target", "type": "category"}, {"role": "key", "type": "text"}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"returned": None, "sold": TARGET}, "The champion predicts returned as boolean."),
        ({"returned": TARGET}, "The champion predicts returned as boolean."),
        ({"order": TEXT}, "The champion's test rows were chosen by other columns; it may have been trained on today's"),
        ({"order": None}, "The champion's test rows were chosen by other columns; it may have been trained on today's"),
        ({"price": None, "gift": None}, "The champion needs price, gift, which today's contract no longer has."),
    ],
)
def test_a_champion_of_another_contract_is_not_compared_which_fails_and_says_why(
    champion, contract, rows, columns, reason
):
    today = redescribe(contract, **columns)
    test = rows.assign(sold="yes")[today.used]
    verdict, duel = compare_with_champion(champion, held_out(0.3), test, pd.DataFrame(), today, read_params())
    assert (verdict.rule, verdict.passed, duel) == ("duel with the champion", False, None)
    assert verdict.found.startswith(f"not held: {reason}")
    assert 'type `make release NO_DUEL="the reason, for the ledger"`.' in verdict.meaning


def test_a_champion_is_compared_on_its_own_test_rows(champion, contract, rows):
    test, _ = find_violations(rows, contract)
    chosen = test[is_test(test[["order"]], 0.5)]
    answers = champion.predict(test)
    verdict, duel = compare_with_champion(champion, held_out(0.5), test, answers, contract, read_params())
    assert verdict.passed
    assert verdict.found == "roc_auc 0.5, version 1 0.5; at worst +0.0000"
    assert (duel.version, duel.metric, duel.margin) == ("1", "roc_auc", 0.015)
    assert len(chosen) not in (0, len(test))
    backwards = answers.loc[chosen.index].assign(
        **{f"probability_{late}": np.where(chosen["returned"] == late, 0.1, 0.9) for late in (True, False)}
    )
    verdict, duel = compare_with_champion(champion, held_out(0.5), test, backwards, contract, read_params())
    assert not verdict.passed
    assert verdict.found == "roc_auc 0, version 1 0.5; at worst -0.5000"


def test_a_champion_that_can_t_answer_or_knows_other_classes_is_not_compared(champion, contract, rows):
    test, _ = find_violations(rows, contract)
    others = champion.predict(test).rename(columns={"probability_True": "probability_maybe"})
    verdict, _ = compare_with_champion(champion, held_out(0.5), test, others, contract, read_params())
    assert (verdict.passed, verdict.found) == (False, "not held: The champion knows other classes.")
    broken = replace(champion, predictor=replace(champion.predictor, make_features=lambda made, _: made["seats"]))
    verdict, _ = compare_with_champion(broken, held_out(0.5), test, champion.predict(test), contract, read_params())
    assert (verdict.passed, verdict.found) == (False, "not held: The champion can't be asked: 'seats'")


def in_time(contract, boundary, refit=False):
    """What a release records of a model whose newest training row is of `boundary`."""
    return {"by": "time", "columns": ["at"], "share": 0.2, "refit": refit, "trained_until": boundary}


@pytest.fixture
def days(contract, rows):
    """30 test rows, one of each day of June."""
    test, _ = find_violations(rows.head(30), contract)
    return test.assign(at=pd.date_range("2024-06-01", periods=30))


def test_by_time_the_duel_is_on_rows_that_are_newer_than_both_models_training(champion, contract, days):
    by_time = Holdout(by="time")
    assert select_duel_rows(champion, in_time(contract, "2024-05-20"), days, contract, by_time).equals(days)
    back = select_duel_rows(champion, in_time(contract, "2024-06-10"), days, contract, by_time)
    assert back == "The test span begins before 2024-06-10, until when the champion was trained."


def test_a_champion_that_was_fitted_on_all_rows_is_compared_on_newer_ones(champion, contract, days):
    for holdout in (Holdout(by="time"), Holdout()):
        old = in_time(contract, "2024-06-10", refit=True) | {"by": holdout.by}
        old |= {"columns": ["at"] if holdout.by == "time" else ["order"]}
        chosen = select_duel_rows(champion, old, days, contract, holdout)
        assert (len(chosen), chosen["at"].min()) == (20, pd.Timestamp("2024-06-11"))
        none = select_duel_rows(champion, old | {"trained_until": "2024-06-30"}, days, contract, holdout)
        assert none == "No test row is newer than 2024-06-30, until when the champion was trained."


def test_rows_that_were_chosen_in_another_way_are_not_compared(champion, contract, days):
    told = select_duel_rows(champion, held_out(0.2), days, contract, Holdout(by="time"))
    assert told == "The champion's test rows were chosen by key, today's are by time."
    told = select_duel_rows(champion, held_out(0.2), days, contract, Holdout(columns=["shop"]))
    assert told.startswith("The champion's test rows were chosen by other columns")


def test_a_duel_on_few_rows_is_undecided_unless_the_model_is_surely_worse():
    random = np.random.default_rng(0)
    truth = random.normal(size=40)
    champion, same, worse = (
        pd.DataFrame({"prediction": truth + random.normal(0, error, 40)}) for error in (0.5, 0.5, 2)
    )
    duel = Duel(margin=0.01, confidence=0.95)
    assert judge_duel(duel, "1", truth, same, champion, 200)[0].state == "undecided"
    assert judge_duel(duel, "1", truth, worse, champion, 200)[0].state == "failed"


def test_rows_of_a_group_make_a_duel_less_sure():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 20)
    truth, errors = random.normal(size=600), random.normal(size=30)[groups]
    new, champion = (pd.DataFrame({"prediction": truth + errors * factor}) for factor in (1, 1.02))
    duel = Duel()
    _, alone = judge_duel(duel, "1", truth, new, champion, 300)
    _, together = judge_duel(duel, "1", truth, new, champion, 300, groups)
    assert together.differences.std() > 2 * alone.differences.std()
