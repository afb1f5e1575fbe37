import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import String, select, update

from modelcycle.core.contract import Contract, find_violations
from modelcycle.core.errors import InputError
from modelcycle.core.metrics import bootstrap_intervals
from modelcycle.core.params import Holdout
from modelcycle.core.team import Project
from modelcycle.monitoring.monitor import (
    describe_alerts,
    describe_difference,
    group_outcomes,
    judge_drift,
    judge_quality,
    judge_speed,
    read_time,
)
from modelcycle.monitoring.observations import read_observations, split_into_periods
from modelcycle.versions.bundle import Bundle, load_folder
from modelcycle.versions.params import Monitor
from modelcycle.versions.prediction_log import (
    ANSWERS,
    FEEDBACK,
    check_log,
    open_log,
    read_hourly_counts,
    read_monitoring_result,
    read_outcomes,
    write_feedback,
)
from modelcycle.versions.reference import make_monitoring_reference, make_profile

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
    return Bundle("1", {}, contract, None, Project(package="orders"), *known_then)


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


@pytest.mark.slow
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
    quality, speed = judge_quality([], served, LIMITS, 20, Holdout()), judge_speed(counted.latencies, LIMITS)
    differences = judge_drift(counted, "returned", LIMITS)
    assert sentence in describe_alerts(differences, quality, speed, LIMITS, served.contract, counted.profiles)


NUMBERS = {"edges": [0.5, 59.5], "std": 10.0}


@pytest.mark.parametrize(
    ("row", "profile", "sentence"),
    [
        (
            {"column": "price", "what": "values", "then": 30, "now": 24.9, "effect": 1.0},
            NUMBERS,
            "price is lower than in training: mean 24.9 EUR instead of 30.0",
        ),
        (
            {"column": "price", "what": "values", "then": 30, "now": 34.9, "effect": 1.0},
            NUMBERS,
            "price is spread in another way than in training, around a mean of 34.9 EUR (was 30.0)",
        ),
        (
            {"column": "price", "what": "values", "then": 1234.5, "now": 2234.5, "effect": 1.0},
            NUMBERS | {"std": 1000.0},
            "price is higher than in training: mean 2,234 EUR instead of 1,234",
        ),
        (
            {"column": "price", "what": "values", "then": 7, "now": 9, "effect": 2.0},
            NUMBERS | {"std": 0.0},
            "price is higher than in training: mean 9.00 EUR instead of 7.00",
        ),
        (
            {"column": "gift", "what": "prediction", "then": 0.2, "now": 0.31, "effect": 0.5},
            NUMBERS | {"std": 0.1, "of": "probability_True"},
            "the predicted probability that gift is True is higher than on the test data: mean 0.310 instead of 0.200",
        ),
        (
            {"column": "returned", "what": "prediction", "then": 20, "now": 31, "effect": 0.5},
            NUMBERS | {"of": "prediction"},
            "the predicted returned is higher than on the test data: mean 31.0 instead of 20.0",
        ),
        (
            {"column": "returned", "what": "prediction", "then": 0.2, "now": 0.25, "effect": 0.5, "category": "a"},
            {"of": "prediction"},
            "the predicted returned has other shares than on the test data: a in 25.0% of the cases instead of 20.0%",
        ),
        (
            {"column": "shop", "what": "values", "then": 0.0, "now": 0.25, "effect": 0.5, "category": ""},
            {},
            "shop has other shares than in training: what was never there in 25.0% of the cases instead of 0.0%",
        ),
    ],
)
def test_numbers_and_shares_are_told_with_their_direction_and_unit(contract, row, profile, sentence):
    assert describe_difference(row, contract, profile) == sentence


def test_what_is_wrong_comes_first_then_the_prediction_then_what_is_most_above_its_limit(contract):
    interval = {"value": 0.7, "low": 0.65, "high": 0.75}
    quality = {"alert": True, "metric": "roc_auc", "labels": 1200, "now": interval, "then": interval | {"value": 0.8}}
    speed = {"alert": True, "slow": 7, "answers": 100}
    rows = [
        {"column": "price", "what": "missing", "then": 0, "now": 0.2, "effect": 0.2, "limit": 0.1, "alert": True},
        {"column": "shop", "what": "missing", "then": 0, "now": 0.1, "effect": 0.1, "limit": 0.02, "alert": True},
        {"column": "gift", "what": "missing", "then": 0, "now": 0.5, "effect": 0.5, "limit": 0.05, "alert": False},
        {"column": "returned", "what": "prediction", "then": 3, "now": 9, "effect": 0.2, "limit": 0.1, "alert": True},
    ]
    profiles = {name: NUMBERS | {"of": "prediction"} for name in ("price", "shop", "gift", "returned")}
    assert describe_alerts(pd.DataFrame(rows), quality, speed, LIMITS, contract, profiles) == [
        "the answers have got worse: roc_auc 0.7 (0.65 to 0.75) on 1,200 cases whose outcome is known, "
        "0.8 (0.65 to 0.75) on the test data",
        "answers are slow: 7.0% took longer than 500 ms, where 5 % may",
        "the predicted returned is higher than on the test data: mean 9.0 instead of 3.0",
        "shop is missing in 10.0% of the cases, in training in 0.0%",
        "price is missing in 20.0% of the cases, in training in 0.0%",
    ]


def test_answers_that_come_true_as_on_the_test_data_are_no_alert(served):
    quality = judge_quality(outcomes(fill(served, 600, outcomes=500)), served, LIMITS, 50, Holdout())
    assert quality["labels"] == 500
    assert quality["now"]["low"] < quality["now"]["value"] < quality["now"]["high"]
    assert not quality["alert"]
    assert [point["labels"] for point in quality["over_time"]] == [100] * 5
    times = [point["at"] for point in quality["over_time"]]
    assert times == sorted(times)


def test_answers_that_no_longer_come_true_are_an_alert(served):
    known = outcomes(fill(served, 600, outcomes=500))
    shuffled = [row | {"outcome": other["outcome"]} for row, other in zip(known, known[1:] + known[:1], strict=True)]
    quality = judge_quality(shuffled, served, LIMITS, 50, Holdout())
    assert quality["alert"]
    assert quality["worse_for_certain"] > 0.1


def test_a_few_labels_are_not_judged_and_unreadable_ones_are_counted(served):
    known = outcomes(fill(served, 200, outcomes=99))
    quality = judge_quality(known, served, LIMITS, 50, Holdout())
    assert (quality["labels"], quality["alert"], "now" in quality) == (99, False, False)
    some = [row | {"outcome": None} for row in known[:40]]
    quality = judge_quality(some + known[40:], served, LIMITS, 50, Holdout())
    assert (quality["labels"], quality["unreadable"]) == (59, 40)


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
    assert judge_speed(pd.Series([499.0, 500, 500.5, 501]), LIMITS) == {
        **{"answers": 4, "slow": 2, "alert": False},
        **{"milliseconds_50": 500.25, "milliseconds_95": 500.925, "milliseconds_99": 500.985},
    }


@pytest.mark.parametrize(
    ("hours", "many"),
    [(0, 1), (30, 31), (47, 48), (48, 3), (24 * 20, 21), (24 * 59, 60), (24 * 60, 31), (24 * 1000, 59)],
)
def test_a_span_is_divided_into_few_periods(hours, many):
    assert len(split_into_periods(START, START + timedelta(hours=hours))) == many


def test_times_are_read_with_and_without_an_offset():
    assert read_time("2024-03-01", "--since") == START
    assert read_time("2024-03-01T02:00+02:00", "--since") == START
    with pytest.raises(InputError, match="--since is March; expected a date or time"):
        read_time("March", "--since")


FIRST_HALF, SECOND_HALF = ("2013-01-01", "2013-07-01"), ("2013-07-01", "2014-01-01")


def log_answers(project, exported: Path) -> None:
    """Log the champion's answers to a fifth of the year's flights, and the outcome of a third of these."""
    served = load_folder(exported)
    known, _ = find_violations(pd.read_csv(project.path / "example/flights.csv")[::5], served.contract)
    inputs = known[served.contract.inputs].astype({"scheduled_departure": "str"}).astype(object)
    answers = served.predict(known).to_dict("records")
    logged, said = [], []
    chance = np.random.default_rng(0)
    for row, given, at, late in zip(
        inputs.where(inputs.notna(), None).to_dict("records"),
        answers,
        known["scheduled_departure"].dt.to_pydatetime(),
        known["late"],
        strict=True,
    ):
        probabilities = {name: given[f"probability_{name}"] for name in ("False", "True")}
        facts = {"id": f"{len(logged):012x}{chance.bytes(10).hex()}", "at": at, "version": "1", "caller": ""}
        answer = {"prediction": given["prediction"], "probabilities": probabilities, "milliseconds": 5.0}
        logged.append(facts | {"inputs": row, "answer": answer, "unusual": []})
        if chance.random() < 0.33 and not pd.isna(late):
            said.append({"prediction_id": facts["id"], "at": at, "outcome": bool(late), "comment": ""})
    log = open_log(f"sqlite:///{project.path}/.mlflow/predictions.db")
    check_log(log)
    with log.begin() as transaction:
        transaction.execute(ANSWERS.insert(), logged)
        transaction.execute(FEEDBACK.insert(), said)
    log.dispose()


@pytest.fixture(scope="module")
def watched(first_release, tmp_path_factory):
    """A released project whose log holds answers of a year, of which only the first half is as in training."""
    project = first_release.copy_to(tmp_path_factory.mktemp("watched"))
    project.verb("export", str(project.path.parent / "exported"))
    log_answers(project, project.path.parent / "exported")
    return project


def monitor(project, span: tuple[str, str], status: int, **environment: str) -> tuple[str, dict]:
    """Give what is printed and what is in the JSON."""
    ended, printed = project.attempt("monitor", "--since", span[0], "--until", span[1], **environment)
    assert ended == status, printed
    return printed, json.loads(project.read("reports/monitoring.json"))


@pytest.mark.slow
def test_the_months_of_the_training_data_are_no_alert(watched):
    printed, found = monitor(watched, FIRST_HALF, 0)
    assert "no alert in 37 comparisons" in printed
    assert found["alerts"] == []
    assert found["answers"] == 3666 == sum(period["answers"] for period in found["periods"])
    assert found["looked_at"] == 3666
    page = watched.read("reports/monitoring.html")
    assert "Nothing to worry about.</strong> What is asked and answered is as in training, and the answers" in page
    quality = found["quality"]
    assert 1000 < quality["labels"] < 1400
    assert quality["now"]["low"] < quality["now"]["value"] < quality["now"]["high"]
    assert not quality["alert"]


@pytest.mark.slow
def test_the_months_after_are_an_alert_with_the_reasons_in_plain_words(watched):
    printed, found = monitor(watched, SECOND_HALF, 2)
    assert re.search(r"alert: temperature is higher than in training: mean 1\d\.\d\d °C instead of 10\.64\.", printed)
    assert re.search(r"alert: wind_gust is missing in 8\d\.\d% of the cases, in training in", printed)
    assert [f"alert: {reason}." for reason in found["alerts"]] == [x for x in printed.splitlines() if "alert" in x]
    temperature = next(row for row in found["differences"] if row["column"] == "temperature")
    assert temperature["effect"] > temperature["limit"] == 0.1
    assert temperature["p_adjusted"] < 0.01
    quality = found["quality"]
    assert quality["then"]["value"] > quality["now"]["value"]
    assert len(quality["over_time"]) == 8
    page = watched.read("reports/monitoring.html")
    assert f"<strong>{len(found['alerts'])} things have changed that a person should look at</strong>" in page
    assert page.count("<svg") == 4
    assert all(f"<li>{reason}</li>" in page for reason in found["alerts"])
    assert read_monitoring_result(open_log(f"sqlite:///{watched.path}/.mlflow/predictions.db")) == found


@pytest.mark.slow
def test_a_sample_alerts_for_the_same_columns_and_all_answers_are_counted(watched, tmp_path):
    _, everything = monitor(watched, SECOND_HALF, 2)
    project = watched.copy_to(tmp_path)
    project.replace("params.yaml", "sample: 50000", "sample: 2000")
    printed, found = monitor(project, SECOND_HALF, 2)
    assert f"{found['answers']:,} answers of version 1 from 2013-07-01 00:00 to 2014-01-01 00:00 UTC" in printed
    assert f"{found['looked_at']:,} looked at, {found['quality']['labels']:,} outcomes known\n" in printed
    assert 1850 < found["looked_at"] < 2150 < found["answers"] == everything["looked_at"] == everything["answers"]
    assert [period["answers"] for period in found["periods"]] == [row["answers"] for row in everything["periods"]]
    effects = [{(row["column"], row["what"]): row for row in result["differences"]} for result in (everything, found)]
    for comparison, row in effects[0].items():  # one that is far from its limit
        if not row["limit"] * 0.7 < row["effect"] < row["limit"] * 1.5:
            assert effects[1][comparison]["alert"] == row["alert"], comparison
    assert f"was read of {found['looked_at']:,} of them, a sample spread evenly" in project.read(
        "reports/monitoring.html"
    )


@pytest.mark.slow
def test_outcomes_the_other_way_round_are_an_alert(watched, tmp_path):
    """As after a mistake in the feed."""
    project = watched.copy_to(tmp_path)
    log = open_log(f"sqlite:///{project.path}/.mlflow/predictions.db")
    with log.begin() as transaction:
        for outcome in (True, False):
            change = update(FEEDBACK).where(
                FEEDBACK.c.comment == "", FEEDBACK.c.outcome.cast(String) == str(outcome).lower()
            )
            transaction.execute(change.values(outcome=not outcome, comment="turned"))
    printed, found = monitor(project, FIRST_HALF, 2)
    (alert,) = found["alerts"]
    assert re.match(
        r"the answers have got worse: roc_auc 0\.1\d+ \(0\.\d+ to 0\.\d+\) on 1,\d+ cases whose outcome", alert
    )
    assert f"alert: {alert}." in printed
    page = project.read("reports/monitoring.html")
    assert "<strong>Something has changed that a person should look at</strong>" in page


@pytest.mark.slow
def test_a_fault_in_the_settings_of_the_service_does_not_stop_monitoring(watched):
    monitor(watched, ("2013-03-01", "2013-04-01"), 2, SERVE_PORT="high", SERVE_KEYS="?")


@pytest.mark.slow
def test_few_labels_are_said_to_be_few_and_two_days_are_divided_into_hours(watched):
    printed, found = monitor(watched, ("2013-02-01", "2013-02-02T23:00"), 2)
    assert re.search(r"looked at, \d\d outcomes known: not enough labels yet, 100 are needed\n", printed)
    assert f"Not enough labels yet: {found['quality']['labels']}, of each class some; 100 are needed." in watched.read(
        "reports/monitoring.html"
    )
    assert len(found["periods"]) > 24


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--since", "yesterday"], "--since is yesterday; expected a date or time, such as 2024-01-31T12:00."),
        (["--until", "2013-13-01"], "--until is 2013-13-01; expected a date or time"),
        (["--until", "0999-01-01"], "--until is 0999-01-01; expected a date or time"),
        (["--until", "9999-01-01"], "--until is 9999-01-01; expected a date or time"),
        (
            ["--since", "2013-03-01", "--until", "2013-02-01"],
            "--since 2013-03-01 00:00:00 is not before --until 2013-02-01",
        ),
        (["--since", "2013-03-01", "--until", "2013-03-01"], "--since 2013-03-01 00:00:00 is not before --until"),
        (
            ["--until", "2020-02-01"],
            "no answer of the champion, version 1, from 2020-01-02 00:00 to 2020-02-01 00:00 UTC.",
        ),
    ],
)
def test_a_span_that_can_not_be_is_named(watched, arguments, sentence):
    status, printed = watched.attempt("monitor", *arguments)
    assert (status, len(printed.splitlines())) == (1, 1)
    assert sentence in printed


def test_a_log_out_of_reach_and_a_missing_champion_are_named(watched, reproduced, tmp_path):
    printed = watched.verb("monitor", fails=True, DATABASE_URL=f"sqlite:///{tmp_path}/no/folder/log.db")
    assert printed.startswith("error: The prediction log (DATABASE_URL) can't be read: ")
    project = reproduced.copy_to(tmp_path)
    assert "There is no champion yet; `make release` makes one." in project.verb("monitor", fails=True)


@pytest.mark.slow
def test_the_answers_of_another_version_are_left_out_and_named(watched, tmp_path):
    project = watched.copy_to(tmp_path)
    log = open_log(f"sqlite:///{project.path}/.mlflow/predictions.db")
    with log.begin() as transaction:
        transaction.execute(update(ANSWERS).where(ANSWERS.c.at >= datetime(2013, 6, 1)).values(version="0"))
    _, found = monitor(project, FIRST_HALF, 2)  # without June it is colder
    others = found["answers_of_other_versions"]["0"]
    assert found["answers"] + others == 3666
    assert f"; version 0 gave {others:,} more, which are left out" in project.read("reports/monitoring.html")
    printed = project.verb("monitor", "--since", "2013-06-01", "--until", "2013-07-01", fails=True)
    assert printed.endswith(" UTC. Other versions gave some: 0.\n")


def test_outcomes_of_a_group_or_a_span_of_time_are_judged_together(contract):
    known = contract.model_dump()
    known["columns"]["shop"] = {"role": "group", "type": "category"}
    contract = Contract.model_validate(known)
    shops = ["Köln", "NO", "Köln", None, None]
    rows = [
        {"at": START + timedelta(hours=i), "inputs": {"price": 1.0} | ({"shop": shop} if shop else {})}
        for i, shop in enumerate(shops)
    ]
    assert group_outcomes(rows, Holdout(), contract) is None
    assert group_outcomes(rows, Holdout(by="group"), contract).tolist() == [0, 1, 0, 2, 3]
    blocks = group_outcomes(
        [rows[0] | {"at": START + timedelta(hours=i)} for i in range(40)], Holdout(by="time"), contract
    )
    assert blocks.tolist() == [i // 2 for i in range(40)]
