from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select, update

from modelcycle.core.contract import Contract, find_violations
from modelcycle.core.errors import InputError
from modelcycle.core.metrics import bootstrap_intervals
from modelcycle.core.params import Monitor
from modelcycle.core.project import Project
from modelcycle.monitoring.monitor import (
    describe_alerts,
    judge_drift,
    judge_quality,
    judge_speed,
    read_time,
)
from modelcycle.monitoring.observations import read_observations, split_into_periods
from modelcycle.pipeline.evaluate import make_monitoring_reference
from modelcycle.pipeline.prepare import make_profile
from modelcycle.tracking.bundle import Bundle
from modelcycle.tracking.prediction_log import (
    ANSWERS,
    FEEDBACK,
    check_log,
    open_log,
    read_hourly_counts,
    read_outcomes,
    write_feedback,
)

START = datetime(2024, 3, 1)
LIMITS = Monitor()
TARGETS = {
    "two classes": {"type": "boolean"},
    "three classes": {"type": "category"},
    "an amount": {"type": "number"},
}
random = np.random.default_rng(0)


@pytest.fixture(params=TARGETS)
def served(request, contract, rows) -> Bundle:
    """A champion that was trained on 1,200 orders, for each kind of target."""
    known = contract.model_dump()
    known["columns"]["returned"] = {"role": "target", **TARGETS[request.param]}
    contract = Contract.model_validate(known)
    many = pd.concat([rows] * 20, ignore_index=True)
    many["returned"] = [answered(request.param)[1] for _ in range(len(many))]
    typed, _ = find_violations(many, contract)
    predictions = pd.DataFrame(
        [{"prediction": a["prediction"], **prefixed(a)} for a, _ in (answered(request.param) for _ in range(2000))]
    )
    truth = np.array([answered(request.param, p)[1] for p in predictions["prediction"]])
    figures = bootstrap_intervals(truth, predictions, 50)
    known_then = make_profile(typed, contract), make_monitoring_reference(predictions, figures)
    return Bundle("1", {}, contract, None, None, Project(package="orders"), *known_then)


def prefixed(answer: dict) -> dict:
    return {f"probability_{name}": p for name, p in answer["probabilities"].items()}


def answered(kind: str, prediction: object = None) -> tuple[dict, object]:
    """Give an answer and what happened, which agrees with the answer in 9 of 10 cases."""
    wrong = random.random() < 0.1
    if kind == "an amount":
        prediction = float(random.normal(10, 3)) if prediction is None else prediction
        return {"prediction": prediction, "probabilities": {}}, prediction + random.normal()
    classes = [False, True] if kind == "two classes" else ["a", "b", "c"]
    prediction = classes[random.integers(len(classes))] if prediction is None else prediction
    probabilities = {str(name): 0.8 if name == prediction else 0.2 / (len(classes) - 1) for name in classes}
    truth = classes[random.integers(len(classes))] if wrong else prediction
    return {"prediction": prediction, "probabilities": probabilities}, truth


def fill(served: Bundle, rows: int, outcomes: int = 0, **change: object):
    """Log answers over ten days, with the outcome of the first of them."""
    log = open_log("sqlite://")
    kind = next(name for name, column in TARGETS.items() if column["type"] == served.contract.columns["returned"].type)
    inputs = {"price": 30.5, "shop": "NO", "gift": True}
    logged, happened, ids = [], [], [f"{i:012x}{random.bytes(10).hex()}" for i in range(rows)]
    for i in range(rows):
        answer, outcome = answered(kind)
        row = inputs | {"price": i % 60 + 0.5, "shop": ["Köln", "NO", "NO"][i % 3]} | change
        at = START + timedelta(days=10 * i / rows)
        entry = {"id": ids[i], "at": at, "version": "1", "caller": "", "inputs": row, "unusual": []}
        logged.append(entry | {"answer": answer | {"milliseconds": 5.0}})
        happened.append(outcome)
    check_log(log)
    said = [{"prediction_id": ids[i], "at": START, "outcome": happened[i], "comment": ""} for i in range(outcomes)]
    with log.begin() as transaction:
        transaction.execute(ANSWERS.insert(), logged)
        if said:
            transaction.execute(FEEDBACK.insert(), said)
    return log


def observe(log, served: Bundle, sample: int = LIMITS.sample):
    return read_observations(log, served, START, START + timedelta(days=20), sample)


def outcomes(log, most: int = 1000):
    return read_outcomes(log, "1", START, START + timedelta(days=20), most)


def test_what_is_asked_as_in_training_is_no_alert(served):
    counted = observe(fill(served, 1200), served)
    assert not judge_drift(counted, "returned", LIMITS)["alert"].any()
    assert counted.histograms["price"].rows.tolist() == [120] * 10
    assert counted.histograms["returned"].rows.sum() == counted.n_sampled == 1200


def test_a_sample_finds_what_all_answers_show_and_the_answers_are_all_counted(served):
    log = fill(served, 6000, price=33.5)
    whole, part = observe(log, served), observe(log, served, 1000)
    assert 850 < part.n_sampled < 1150 < whole.n_sampled == 6000
    assert part.answers.tolist() == whole.answers.tolist() == [600] * 10
    assert part.histograms["returned"].rows.min() > 60  # spread evenly over the ten days
    found = [judge_drift(counted, "returned", LIMITS) for counted in (whole, part)]
    assert found[1].loc[found[1]["alert"], "column"].tolist() == found[0].loc[found[0]["alert"], "column"].tolist()
    assert "price" in found[1].loc[found[1]["alert"], "column"].tolist()
    assert (
        observe(log, served, 1000).histograms["price"].inside == part.histograms["price"].inside
    ).all()  # the same ones each time


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"price": 99.5}, "price is higher than in training: mean 99.5 EUR instead of 30.0"),
        ({"price": 99.5}, "price is outside what training held, 0.5 to 59.5, in 100.0% of the cases"),
        ({"price": None}, "price is missing in 100.0% of the cases, in training in 0.0%"),
        ({"shop": "NO"}, "shop has other shares than in training: NO in 100.0% of the cases instead of 66.7%"),
        ({"shop": "Ulm"}, "shop has values that training never held in 100.0% of the cases"),
        ({"gift": False}, "gift has values that training never held in 100.0% of the cases"),
    ],
)
def test_a_difference_is_said_in_plain_words(served, change, sentence):
    counted = observe(fill(served, 300, **change), served)
    quality, speed = judge_quality([], served, LIMITS, 20), judge_speed(counted.latencies, LIMITS)
    differences = judge_drift(counted, "returned", LIMITS)
    assert sentence in describe_alerts(differences, quality, speed, LIMITS, served.contract, counted.profiles)


def test_answers_that_come_true_as_on_the_test_data_are_no_alert(served):
    quality = judge_quality(outcomes(fill(served, 600, outcomes=500)), served, LIMITS, 50)
    assert quality["labels"] == 500
    assert quality["now"]["low"] < quality["now"]["value"] < quality["now"]["high"]
    assert not quality["alert"]
    assert len(quality["over_time"]) == 5


def test_answers_that_no_longer_come_true_are_an_alert(served):
    known = outcomes(fill(served, 600, outcomes=500))
    shuffled = [row | {"outcome": other["outcome"]} for row, other in zip(known, known[1:] + known[:1], strict=True)]
    quality = judge_quality(shuffled, served, LIMITS, 50)
    assert quality["alert"]
    assert quality["worse_for_certain"] > 0.1


def test_a_few_labels_are_not_judged_and_unreadable_ones_are_counted(served):
    known = outcomes(fill(served, 200, outcomes=99))
    quality = judge_quality(known, served, LIMITS, 50)
    assert (quality["labels"], quality["alert"], "now" in quality) == (99, False, False)
    assert judge_quality([row | {"outcome": None} for row in known], served, LIMITS, 50)["unreadable"] == 99


def test_the_last_feedback_counts_and_the_latest_answers_first(served):
    log = fill(served, 30, outcomes=20)
    with log.connect() as connection:
        fourth = connection.scalar(select(ANSWERS.c.id).order_by(ANSWERS.c.at).offset(3))
    write_feedback(log, fourth, "corrected", "")
    known = outcomes(log, 17)
    assert len(known) == 17
    assert known[-1]["outcome"] == "corrected"


def test_answers_are_counted_by_version_and_hour(served):
    log = fill(served, 480)
    with log.begin() as transaction:
        transaction.execute(update(ANSWERS).where(ANSWERS.c.at >= START + timedelta(hours=1)).values(version="2"))
    volumes = read_hourly_counts(log, START, START + timedelta(hours=3))
    assert volumes == [("1", "2024-03-01 00", 2), ("2", "2024-03-01 01", 2), ("2", "2024-03-01 02", 2)]
    assert observe(log, served).answers_of_others == {"2": 478}


def test_a_few_slow_answers_are_no_alert_and_many_are():
    took = pd.Series([5.0] * 94 + [900.0] * 6)
    assert not judge_speed(took, LIMITS)["alert"]
    assert judge_speed(pd.concat([took] * 100), LIMITS)["alert"]
    assert judge_speed(took[:0], LIMITS) == {"answers": 0, "alert": False}


@pytest.mark.parametrize(("hours", "many"), [(0, 1), (30, 31), (24 * 20, 21), (24 * 1000, 59)])
def test_a_span_is_divided_into_few_periods(hours, many):
    assert len(split_into_periods(START, START + timedelta(hours=hours))) == many


def test_times_are_read_with_and_without_an_offset():
    assert read_time("2024-03-01", "--since") == START
    assert read_time("2024-03-01T02:00+02:00", "--since") == START
    with pytest.raises(InputError, match="--since is March; expected a date or time"):
        read_time("March", "--since")
