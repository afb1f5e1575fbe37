import asyncio
import json
import re
import time
from dataclasses import replace
from datetime import datetime

import pytest
from fastapi import HTTPException
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from modelcycle.serving.answer import (
    Job,
    LogWriter,
    answer_jobs,
    answer_waiting_jobs,
    collect_jobs,
    find_drivers,
    make_ids,
    predict_rows,
    resolve_jobs,
)
from modelcycle.serving.schema import typical_value
from modelcycle.versions.prediction_log import open_log, read_answer
from modelcycle.versions.questions import make_request_table

ORDER = {"at": "2024-03-01T10:00:00", "price": 9.5, "shop": "Köln", "gift": True}
ROW = {"at": datetime(2024, 3, 1, 10), "price": 60.0, "pieces": 4, "shop": "NO", "city": "Rome", "gift": False}


# Predictions


@pytest.mark.parametrize(("kind", "n_classes"), [("two classes", 2), ("three classes", 3), ("an amount", 0)])
def test_predictions_and_probabilities_are_those_of_the_version(train_version, kind, n_classes):
    version = train_version(kind, max_iter=40)
    predictions, probabilities = predict_rows(version, [ROW] * 2)
    table = version.predict(make_request_table([ROW] * 2, version.contract.inputs, version.contract))
    assert predictions == table["prediction"].tolist()
    assert probabilities.shape == (2, n_classes)
    assert probabilities.tolist() == table.iloc[:, 1:].to_numpy(float).tolist()


def test_ids_are_of_one_form_differ_and_grow_with_time():
    ids = make_ids(1000)
    assert all(re.fullmatch("[0-9a-f]{32}", given) for given in ids)
    assert len({given[12:] for given in ids}) == 1000
    assert len({given[:12] for given in ids}) == 1
    assert abs(int(ids[0][:12], 16) / 1000 - time.time()) < 60
    time.sleep(0.002)
    assert make_ids(1)[0] > max(ids)


def make_job(bundle, *rows, caller="key 1", future=None):
    return Job(list(rows), caller, bundle, future)


@pytest.fixture
def version(train_version):
    return train_version("two classes", max_iter=40)


def test_jobs_are_answered_in_a_batch_and_noted_for_the_log(version):
    odd = ROW | {"city": "Paris", "number": 7}
    jobs = [make_job(version, ROW, odd), make_job(version, ROW, caller="local")]
    jobs[0].arrival -= 5  # seconds ago
    answer_jobs(jobs)
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
    assert 5000 <= logged.pop("milliseconds") < 10_000
    assert logged == {name: second[name] for name in ("prediction", "probabilities")}
    assert (unusual, line[6]) == (second["unusual"], "[]")


def test_a_faulty_job_fails_alone(version):
    jobs = [make_job(version, row) for row in (ROW, ROW | {"at": "tomorrow"}, ROW)]
    answer_jobs(jobs)
    assert [len(job.answers) for job in jobs] == [1, 0, 1]
    assert [len(job.lines) for job in jobs] == [1, 0, 1]
    assert [isinstance(job.error, ValueError) for job in jobs] == [False, True, False]


def typical_value_of(version, name):
    return typical_value(version.contract.columns[name], version.profile[name])


def test_what_drove_an_answer_is_told_by_the_rows_with_one_typical_value(version):
    row = {"at": datetime(2024, 3, 1, 2), "price": 5.0, "pieces": 1, "shop": "Köln", "city": "Bonn", "gift": True}
    (prediction,), (probabilities,) = predict_rows(version, [row])
    index, expected = version.classes.index(prediction), []
    for name in row:
        typical = typical_value_of(version, name)
        _, (others,) = predict_rows(version, [row | {name: typical}])
        effect = probabilities[index] - others[index]
        expected.append({"column": name, "found": row[name], "typical": typical, "effect": pytest.approx(effect)})
    largest = sorted(expected, key=lambda driver: -abs(driver["effect"].expected))
    assert find_drivers(version, row) == largest[:3]


def test_a_typical_row_has_no_drivers_and_an_amount_has_those_of_the_amount(version, train_version):
    usual = {name: typical_value_of(version, name) for name in version.contract.inputs}
    assert find_drivers(version, usual) == []
    amounts = train_version("an amount", max_iter=20)
    (driver,) = find_drivers(amounts, usual | {"city": "Rome" if usual["city"] != "Rome" else "Bonn"})
    assert driver["column"] == "city"
    assert abs(driver["effect"]) > 5  # of 20 in the truth


# Waiting, answering, logging


@pytest.fixture
def log(tmp_path):
    return open_log(f"sqlite:///{tmp_path}/log.db")


@pytest.fixture
def answer_in_loop(log, monkeypatch):
    """Let jobs wait, some of them timed out, until they are resolved; gives the batches that were logged."""

    async def run(jobs, max_rows, timed_out=()):
        waiting, batches = asyncio.Queue(), []
        monkeypatch.setattr(LogWriter, "write", lambda _, jobs: batches.append(jobs))
        for number, job in enumerate(jobs):
            job.future = asyncio.get_running_loop().create_future()
            waiting.put_nowait(job)
            if number in timed_out:
                job.future.cancel()
        task = asyncio.create_task(answer_waiting_jobs(waiting, log, max_rows))
        await asyncio.wait([job.future for job in jobs])
        task.cancel()
        return batches

    return lambda *arguments: asyncio.run(run(*arguments))


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
def test_waiting_jobs_are_answered_together_up_to_the_most_rows(bundle, answer_in_loop, sizes, timed_out, batches):
    answered = answer_in_loop([make_job(bundle, *[ORDER] * size) for size in sizes], 5, timed_out)
    assert [[len(job.rows) for job in batch] for batch in answered] == batches
    assert all(job.future.result() == job.answers != [] for batch in answered for job in batch)


def test_jobs_that_two_versions_have_validated_are_answered_by_each_of_them(bundle, answer_in_loop):
    first, second = (replace(bundle, version=number) for number in "12")
    batches = answer_in_loop([make_job(version, ORDER) for version in (first, first, second)], 5)
    assert [[job.answers[0]["version"] for job in batch] for batch in batches] == [["1", "1"], ["2"]]


@pytest.mark.parametrize(("n_callers", "together"), [(1, 1), (3, 3)])
def test_a_call_waits_a_moment_for_those_who_were_answered_together(bundle, n_callers, together):
    async def run():
        waiting = asyncio.Queue()
        collecting = asyncio.create_task(collect_jobs(waiting, n_callers, 5))
        for _ in range(4):
            waiting.put_nowait(make_job(bundle, ORDER))
            for _ in range(3):  # the loop's turns that it takes to take it
                await asyncio.sleep(0)
        return len(await collecting)

    assert asyncio.run(run()) == together


def test_a_call_waits_no_longer_than_a_moment_for_those_who_do_not_come_back(bundle):
    async def run():
        waiting = asyncio.Queue()
        waiting.put_nowait(make_job(bundle, ORDER))
        return len(await asyncio.wait_for(collect_jobs(waiting, 8, 5), 5))

    assert asyncio.run(run()) == 1


def log_in_thread(log, *rounds, prepare=lambda jobs: None, between=lambda: None):
    """Log jobs round by round and resolve them; gives the result or error of each job's future."""

    async def run():
        writer = LogWriter(log)
        for jobs in rounds:
            for job in jobs:
                job.future = asyncio.get_running_loop().create_future()
            prepare(jobs)
            await asyncio.to_thread(writer.write, jobs)
            resolve_jobs(jobs)
            between()
        futures = [job.future for jobs in rounds for job in jobs]
        return ["cancelled" if future.cancelled() else future.exception() or future.result() for future in futures]

    return asyncio.run(run())


def answered_jobs(bundle, count):
    """Give jobs of a row each with their answers and lines."""
    jobs = [make_job(bundle, ORDER) for _ in range(count)]
    answer_jobs(jobs)
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
        jobs = [make_job(None, future=loop.create_future()) for _ in range(3)]
        jobs[0].answers = [{"id": "a"}]
        jobs[1].error = ValueError("odd")
        resolve_jobs(jobs[:2])
        resolve_jobs(jobs, timeout)
        return jobs[0].future.result(), str(jobs[1].future.exception()), jobs[2].future.exception() is timeout

    assert asyncio.run(run()) == ([{"id": "a"}], "odd", True)
