import asyncio
import json
import queue
import re
import threading
import time
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import HTTPException
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from modelcycle.core.contract import Column, Contract, make_request_table
from modelcycle.serving.answer import (
    Job,
    answer_jobs,
    answer_waiting_jobs,
    find_drivers,
    find_unusual_values,
    log_answered_jobs,
    make_feedback_type,
    make_ids,
    make_row_type,
    predict_rows,
    resolve_jobs,
    typical_value,
)
from modelcycle.serving.fast import make_fast_predict
from modelcycle.tracking.prediction_log import open_log, read_answer

ORDER = {"at": "2024-03-01T10:00:00", "price": 9.5, "shop": "Köln", "gift": True}
ROW = {"at": datetime(2024, 3, 1, 10), "price": 60.0, "pieces": 4, "shop": "NO", "city": "Rome", "gift": False}


# The types of requests


@pytest.fixture
def validate(contract):
    """Validate the row of an order, which keeps the contract but for the given changes."""
    adapter = TypeAdapter(make_row_type(contract, {}))
    return lambda **changes: adapter.validate_json(json.dumps(ORDER | changes))


def test_a_row_has_the_types_of_the_contract_and_may_lack_what_is_nullable_and_the_key(validate):
    assert validate() == ORDER | {"at": datetime(2024, 3, 1, 10), "order": None}
    assert validate(price=None, order=7) == ORDER | {"at": datetime(2024, 3, 1, 10), "price": None, "order": 7}


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"price": -0.01}, "price", "greater than or equal to 0"),
        ({"price": 100.01}, "price", "less than or equal to 100"),
        ({"price": float("nan")}, "price", "finite number"),
        ({"price": "much"}, "price", "valid number"),
        ({"shop": "Rome"}, "shop", "'Köln' or 'NO'"),
        ({"gift": None}, "gift", "valid boolean"),
        ({"order": 2**63}, "order", f"less than or equal to {2**63 - 1}"),
        ({"order": -(2**63) - 1}, "order", f"greater than or equal to {-(2**63)}"),
        ({"order": 1.5}, "order", "valid integer"),
        ({"at": "tomorrow"}, "at", "valid datetime"),
        ({"at": "1699-12-31T23:59:59"}, "at", "a time between the years 1700 and 2200"),
        ({"at": "2201-01-01T00:00:00"}, "at", "a time between the years 1700 and 2200"),
        ({"note": "x"}, "note", "not permitted"),
        ({"returned": True}, "returned", "not permitted"),
    ],
)
def test_a_value_that_breaks_the_contract_is_named_with_what_is_expected(validate, changes, field, expected):
    with pytest.raises(ValidationError) as raised:
        validate(**changes)
    (fault,) = raised.value.errors()
    assert fault["loc"] == (field,)
    assert expected in fault["msg"]


def test_a_time_with_a_zone_becomes_utc_and_the_limits_of_years_are_allowed(validate):
    assert validate(at="2024-03-01T10:00:00+02:00")["at"] == datetime(2024, 3, 1, 8)
    assert validate(at="1700-01-01T00:00:00")["at"].year == 1700
    assert validate(at="2200-12-31T00:00:00")["at"].year == 2200


@pytest.mark.parametrize(
    ("limits", "fits", "breaks"),
    [
        ({"min": 1.5, "max": 3.5}, [2, 3], [1, 4]),
        ({"min": -1e30, "max": 1e30}, [-(2**63), 2**63 - 1], [-(2**63) - 1, 2**63]),
    ],
)
def test_an_integer_s_limits_are_whole_and_fit_into_64_bits(contract, limits, fits, breaks):
    known = contract.model_dump()
    known["columns"]["price"] = {"role": "feature", "type": "integer", **limits}
    adapter = TypeAdapter(make_row_type(Contract.model_validate(known), {}))
    assert [adapter.validate_python(ORDER | {"price": value})["price"] for value in fits] == fits
    for value in breaks:
        with pytest.raises(ValidationError):
            adapter.validate_python(ORDER | {"price": value})


def test_the_schema_tells_descriptions_units_and_typical_values(contract):
    profile = {"price": {"median": 9.5, "missing_share": 0}, "shop": {"shares": {"NO": 1.0}, "missing_share": 0}}
    contract.columns["price"].description = "Paid"
    schema = TypeAdapter(make_row_type(contract, profile)).json_schema()["properties"]
    assert schema["price"]["description"] == "Paid [EUR]"
    assert schema["shop"]["description"] == ""
    assert (schema["price"]["examples"], schema["shop"]["examples"]) == ([9.5], ["NO"])
    assert "examples" not in schema["gift"]
    assert schema["shop"]["enum"] == ["Köln", "NO"]


@pytest.mark.parametrize(
    ("target", "fits", "breaks"),
    [
        ({"type": "boolean"}, True, "late"),
        ({"type": "category", "values": ["low", "high"]}, "low", "seen"),
        ({"type": "category"}, "seen", "low"),
        ({"type": "number"}, 1.5, float("inf")),
        ({"type": "integer"}, 2, 1.5),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else str(value),
)
def test_an_outcome_is_a_value_of_the_target(contract, target, fits, breaks):
    contract.columns["returned"] = Column(role="target", **target)
    feedback = make_feedback_type(contract, {"returned": {"shares": {"seen": 1.0}}})
    known = {"id": "0" * 32}
    accepted = feedback.model_validate(known | {"outcome": fits})
    assert (accepted.outcome, accepted.comment) == (fits, "")
    with pytest.raises(ValidationError):
        feedback.model_validate(known | {"outcome": breaks})


@pytest.mark.parametrize(
    "faulty", [{"id": "0" * 31}, {"id": "G" * 32}, {"comment": "x" * 2001}, {"odd": 1}, {"outcome": None}]
)
def test_feedback_of_another_form_is_refused(contract, faulty):
    feedback = make_feedback_type(contract, {})
    fits = {"id": "0123456789abcdef" * 2, "outcome": False, "comment": "x" * 2000}
    feedback.model_validate(fits)
    with pytest.raises(ValidationError):
        feedback.model_validate(fits | faulty)


# What is typical and what is unusual


@pytest.mark.parametrize(
    ("kind", "statistics", "expected"),
    [
        ("number", {"median": 2.5}, 2.5),
        ("integer", {"median": 2.6}, 3),
        ("datetime", {"median": "2024-03-01T10:00"}, datetime(2024, 3, 1, 10)),
        ("category", {"shares": {"a": 0.2, "b": 0.8}}, "b"),
        ("boolean", {"shares": {"False": 0.2, "True": 0.8}}, True),
        ("boolean", {"shares": {"False": 0.8, "True": 0.2}}, False),
        ("category", {"shares": {}}, None),
        ("number", {"median": 2.5, "missing_share": 0.5}, 2.5),
        ("number", {"median": 2.5, "missing_share": 0.51}, None),
    ],
)
def test_the_typical_value_is_the_median_or_the_most_frequent_one(kind, statistics, expected):
    value = typical_value(Column(role="feature", type=kind), {"missing_share": 0.1} | statistics)
    assert (value, type(value)) == (expected, type(expected))


def test_without_statistics_nothing_is_typical():
    assert typical_value(Column(role="feature", type="number"), {}) is None


def test_values_that_training_never_held_are_unusual():
    profile = {"price": {"edges": [1, 5, 20.0]}, "shop": {"shares": {"NO": 1.0}}, "gift": {"shares": {"True": 1.0}}}
    rows = [
        {"price": 1, "shop": "NO", "gift": True, "at": "x"},
        {"price": 20, "shop": None, "gift": None, "at": "x"},
        {"price": None, "shop": "Rome", "gift": False, "at": "x"},
        {"price": 0.5, "shop": "NO", "gift": True, "at": "x"},
        {"price": 20.5, "shop": "Oslo", "gift": True, "at": "x"},
    ]
    assert find_unusual_values(rows, profile) == [
        [],
        [],
        ["shop Rome was never seen in training", "gift False was never seen in training"],
        ["price 0.5 is outside 1 to 20"],
        ["price 20.5 is outside 1 to 20", "shop Oslo was never seen in training"],
    ]


# Predictions


@pytest.mark.parametrize(
    ("kind", "n_classes", "is_fast"),
    [
        ("two classes", 2, True),
        ("two classes", 2, False),
        ("three classes", 3, False),
        ("an amount", 0, True),
        ("an amount", 0, False),
    ],
)
def test_predictions_and_probabilities_are_those_of_the_version(train_version, kind, n_classes, is_fast):
    version = train_version(kind, max_iter=40)
    predictions, probabilities = predict_rows(version, make_fast_predict(version) if is_fast else None, [ROW] * 2)
    table = version.predict(make_request_table([ROW] * 2, version.contract.inputs, version.contract))
    expected = table["prediction"].tolist()
    assert predictions == (expected if n_classes else pytest.approx(expected))
    assert probabilities.shape == (2, n_classes)
    assert probabilities == pytest.approx(table.iloc[:, 1:].to_numpy(float), abs=1e-12)


def test_ids_are_of_one_form_differ_and_grow_with_time():
    ids = make_ids(1000)
    assert all(re.fullmatch("[0-9a-f]{32}", given) for given in ids)
    assert len({given[12:] for given in ids}) == 1000
    assert len({given[:12] for given in ids}) == 1
    assert abs(int(ids[0][:12], 16) / 1000 - time.time()) < 60
    time.sleep(0.002)
    assert make_ids(1)[0] > max(ids)


def make_job(*rows, caller="key 1", future=None):
    return Job(list(rows), caller, future)


@pytest.fixture
def version(train_version):
    return train_version("two classes", max_iter=40)


def test_jobs_are_answered_in_a_batch_and_noted_for_the_log(version):
    odd = ROW | {"city": "Paris", "number": 7}
    jobs = [make_job(ROW, odd), make_job(ROW, caller="local")]
    answer_jobs(jobs, version, None)
    (first, second), (third,) = jobs[0].answers, jobs[1].answers
    assert list(first) == ["id", "version", "prediction", "probabilities", "unusual"]
    assert (first["version"], first["unusual"]) == ("1", [])
    assert second["unusual"] == ["city Paris was never seen in training"]
    assert first["probabilities"].keys() == {"False", "True"}
    assert first["prediction"] is (first["probabilities"]["True"] > 0.5)
    assert third["probabilities"] == first["probabilities"]
    (line, odd_line), (other,) = jobs[0].lines, jobs[1].lines
    assert (line[0], line[2], line[3], other[3]) == (first["id"], "1", "key 1", "local")
    assert datetime.fromisoformat(line[1]).tzinfo is None
    inputs, logged, unusual = map(json.loads, odd_line[4:])
    assert inputs == odd | {"at": "2024-03-01T10:00:00"}
    assert logged.pop("milliseconds") >= 0
    assert logged == {name: second[name] for name in ("prediction", "probabilities")}
    assert (unusual, line[6]) == (second["unusual"], "[]")


def test_a_faulty_job_fails_alone(version):
    jobs = [make_job(ROW), make_job(ROW | {"price": "much"}), make_job(ROW)]
    answer_jobs(jobs, version, make_fast_predict(version))
    assert [len(job.answers) for job in jobs] == [1, 0, 1]
    assert [len(job.lines) for job in jobs] == [1, 0, 1]
    assert [isinstance(job.error, ValueError) for job in jobs] == [False, True, False]


def typical_value_of(version, name):
    return typical_value(version.contract.columns[name], version.profile[name])


def test_what_drove_an_answer_is_told_by_the_rows_with_one_typical_value(version):
    row = {"at": datetime(2024, 3, 1, 2), "price": 5.0, "pieces": 1, "shop": "Köln", "city": "Bonn", "gift": True}
    (prediction,), (probabilities,) = predict_rows(version, None, [row])
    index, expected = list(version.model.classes_).index(prediction), []
    for name in row:
        typical = typical_value_of(version, name)
        _, (others,) = predict_rows(version, None, [row | {name: typical}])
        effect = probabilities[index] - others[index]
        expected.append({"column": name, "found": row[name], "typical": typical, "effect": pytest.approx(effect)})
    largest = sorted(expected, key=lambda driver: -abs(driver["effect"].expected))
    assert find_drivers(version, None, row) == largest[:3]


def test_a_typical_row_has_no_drivers_and_an_amount_has_those_of_the_amount(version, train_version):
    usual = {name: typical_value_of(version, name) for name in version.contract.inputs}
    assert find_drivers(version, None, usual) == []
    amounts = train_version("an amount", max_iter=20)
    (driver,) = find_drivers(amounts, None, usual | {"city": "Rome" if usual["city"] != "Rome" else "Bonn"})
    assert driver["column"] == "city"
    assert abs(driver["effect"]) > 5  # of 20 in the truth


# Waiting, answering, logging


def answer_in_loop(bundle, sizes, max_rows, fast_predict=None, timed_out=()):
    """Let jobs of so many rows wait, some of them timed out; gives the answered batches, as the log gets them."""

    async def run():
        waiting, answered, loop = asyncio.Queue(), queue.SimpleQueue(), asyncio.get_running_loop()
        served = SimpleNamespace(bundle=bundle, fast_predict=fast_predict)
        jobs = [Job([ORDER] * size, "x", loop.create_future(), served) for size in sizes]
        for number, job in enumerate(jobs):
            waiting.put_nowait(job)
            if number in timed_out:
                job.future.cancel()
        task = asyncio.create_task(answer_waiting_jobs(waiting, answered, max_rows))
        batches = []
        while sum(map(len, batches)) < len(jobs) - len(timed_out):
            await asyncio.sleep(0.001)
            batches += [answered.get() for _ in range(answered.qsize())]
        task.cancel()
        return batches

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("sizes", "timed_out", "batches"),
    [
        ([2, 2, 1], [], [[2, 2, 1]]),
        ([2, 2, 2, 2], [], [[2, 2, 2], [2]]),  # the last one that fits in part is taken whole
        ([5, 1], [], [[5], [1]]),
        ([2, 2, 2], [1], [[2, 2]]),
        ([5, 1, 2], [0], [[1, 2]]),
    ],
)
def test_waiting_jobs_are_answered_together_up_to_the_most_rows(bundle, sizes, timed_out, batches):
    answered = answer_in_loop(bundle, sizes, 5, timed_out=timed_out)
    assert [[len(job.rows) for job in batch] for batch in answered] == batches
    assert all(len(job.answers) == len(job.rows) for batch in answered for job in batch)


def test_jobs_that_two_versions_have_validated_are_answered_by_each_of_them(bundle):
    async def run():
        waiting, answered, loop = asyncio.Queue(), queue.SimpleQueue(), asyncio.get_running_loop()
        versions = [SimpleNamespace(bundle=replace(bundle, version=number), fast_predict=None) for number in "12"]
        for served in (versions[0], versions[0], versions[1]):
            waiting.put_nowait(Job([ORDER], "x", loop.create_future(), served))
        task = asyncio.create_task(answer_waiting_jobs(waiting, answered, 5))
        while answered.qsize() < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        return [[job.answers[0]["version"] for job in answered.get()] for _ in range(2)]

    assert asyncio.run(run()) == [["1", "1"], ["2"]]


@pytest.mark.parametrize(("n_rows", "is_in_loop"), [(50, True), (51, False)])
def test_a_small_batch_on_the_fast_path_needs_no_other_thread(bundle, n_rows, is_in_loop):
    threads = []

    def fast_predict(rows):
        threads.append(threading.current_thread() is threading.main_thread())
        return np.full((len(rows), 2), 0.5)

    answer_in_loop(bundle, [n_rows], 1000, fast_predict)
    assert threads == [is_in_loop]


@pytest.fixture
def log(tmp_path):
    return open_log(f"sqlite:///{tmp_path}/log.db")


def log_in_thread(log, *rounds, prepare=lambda jobs: None, between=lambda: None):
    """Log jobs that wait in batches of one, round by round; gives the result or error of each job's future."""

    async def run():
        answered, loop, writer = queue.SimpleQueue(), asyncio.get_running_loop(), None
        for jobs in rounds:
            for job in jobs:
                job.future = loop.create_future()
            prepare(jobs)
            for job in jobs:
                answered.put([job])
            writer = writer or asyncio.create_task(asyncio.to_thread(log_answered_jobs, log, answered, loop))
            await asyncio.wait([job.future for job in jobs])
            between()
        answered.put(None)
        await writer
        futures = [job.future for jobs in rounds for job in jobs]
        return ["cancelled" if future.cancelled() else future.exception() or future.result() for future in futures]

    return asyncio.run(run())


def answered_jobs(bundle, count):
    """Give jobs of a row each with their answers and lines."""
    jobs = [make_job(ORDER) for _ in range(count)]
    answer_jobs(jobs, bundle, None)
    return jobs


def test_jobs_are_resolved_with_their_answers_once_a_transaction_holds_them(bundle, log):
    jobs, inserts = answered_jobs(bundle, 3), []

    @event.listens_for(log, "after_cursor_execute")
    def note(connection, cursor, statement, *_):
        inserts.extend(re.findall("(?i)insert into predictions", statement))

    assert log_in_thread(log, jobs[:2], jobs[2:]) == [job.answers for job in jobs]
    assert len(inserts) == 2  # one for each round
    for job in jobs:
        logged = read_answer(log, job.answers[0]["id"])
        assert logged["inputs"] == ORDER
        assert (logged["caller"], logged["version"]) == ("key 1", "1")


def test_a_job_that_can_not_be_logged_fails_alone(bundle, log):
    jobs = answered_jobs(bundle, 4)
    (line,) = jobs[3].lines
    jobs[3].lines = [line, line]  # one id twice
    first, second, third, failed = log_in_thread(log, jobs)
    assert [first, second, third] == [job.answers for job in jobs[:3]]
    assert "UNIQUE" in str(failed)
    assert [read_answer(log, job.lines[0][0]) is not None for job in jobs] == [True, True, True, False]


def test_what_failed_or_has_timed_out_is_not_logged(bundle, log):
    jobs = answered_jobs(bundle, 3)
    jobs[0].error = ValueError("odd")
    jobs[1].lines = jobs[1].lines * 2  # so that all are tried one by one as well

    def time_out(jobs):
        jobs[2].future.cancel()

    results = log_in_thread(log, jobs, prepare=time_out)
    assert (str(results[0]), results[2]) == ("odd", "cancelled")
    assert [read_answer(log, job.lines[0][0]) for job in jobs] == [None] * 3


def test_a_log_that_was_out_of_reach_is_used_as_soon_as_it_is_back(bundle, tmp_path):
    log = open_log(f"sqlite:///{tmp_path}/away/log.db")
    jobs = answered_jobs(bundle, 3)
    results = log_in_thread(log, jobs[:2], jobs[2:], between=lambda: (tmp_path / "away").mkdir(exist_ok=True))
    assert [type(result) for result in results[:2]] == [OperationalError] * 2
    assert results[2] == jobs[2].answers


def test_a_resolved_job_stays_as_it_is_and_a_timeout_comes_before_all_else():
    async def run():
        loop, timeout = asyncio.get_running_loop(), HTTPException(503)
        jobs = [make_job(future=loop.create_future()) for _ in range(3)]
        jobs[0].answers = [{"id": "a"}]
        jobs[1].error = ValueError("odd")
        resolve_jobs(jobs[:2])
        resolve_jobs(jobs, timeout)
        return jobs[0].future.result(), str(jobs[1].future.exception()), jobs[2].future.exception() is timeout

    assert asyncio.run(run()) == ([{"id": "a"}], "odd", True)
