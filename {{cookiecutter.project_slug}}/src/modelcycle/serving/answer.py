"""From rows to logged answers: predictions, feature attribution, and the requests that wait for both.

Requests that wait share one call of the model and one transaction of the log, both in a thread beside the loop's.
"""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from pydantic_core import to_json
from sqlalchemy import Connection, Engine

from modelcycle.serving.schema import Row, find_unusual_values, typical_value
from modelcycle.versions.bundle import Bundle
from modelcycle.versions.prediction_log import AnswerRow, connect_writer, utc_now, write_answers
from modelcycle.versions.questions import make_request_table

# How long a call waits for those who have just been answered and may ask again: a fraction of what the call takes.
LINGER_S = 0.002


@dataclass
class Job:
    """The rows of one request; `future` gets the answers, or the error, once `lines` are on disk."""

    rows: list[Row]
    caller: str
    bundle: Bundle  # the version whose contract the rows keep; it answers them as well
    future: "asyncio.Future[list[dict[str, Any]]]"
    arrival: float = field(default_factory=time.perf_counter)
    answers: list[dict[str, Any]] = field(default_factory=list)
    lines: list[AnswerRow] = field(default_factory=list)
    error: Exception | None = None


def predict_rows(bundle: Bundle, rows: list[Row]) -> tuple[list[Any], np.ndarray]:
    """Predict rows as the pipeline does: the predictions, and (n, c) probabilities or (n, 0) for amounts."""
    table = bundle.predict(make_request_table(rows, bundle.contract.inputs, bundle.contract))
    return table["prediction"].tolist(), table.iloc[:, 1:].to_numpy(float)


def make_ids(count: int) -> list[str]:
    """Make ids of 32 hexadecimal digits: the time, so that the log's index grows at its end, then 80 random bits.

    The idea is that of UUID version 7 (RFC 9562, section 5.7).
    """
    time_ms, random_digits = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10 * count).hex()
    return [time_ms + random_digits[20 * i : 20 * (i + 1)] for i in range(count)]


def answer_jobs(jobs: list[Job]) -> None:
    """Answer jobs of one version, with rows that are valid, in one batch; each answer gets an id.

    Where the batch fails, the jobs are tried one by one, so that only the faulty ones fail.
    """
    bundle, rows = jobs[0].bundle, [row for job in jobs for row in job.rows]
    classes = [str(name) for name in bundle.classes]
    try:
        predictions, probabilities = predict_rows(bundle, rows)
        row_probabilities = [dict(zip(classes, row, strict=False)) for row in probabilities.tolist()]
        warnings = find_unusual_values(rows, bundle.profile)
        results = zip(make_ids(len(rows)), rows, predictions, row_probabilities, warnings, strict=True)
        at = utc_now().isoformat(" ", "microseconds")
        for job in jobs:
            job.lines, job.answers = [], []  # the attempt in a batch may have failed
            duration_ms = round((time.perf_counter() - job.arrival) * 1000, 2)  # without the writing of this line
            for _ in job.rows:
                prediction_id, row, prediction, by_class, row_warnings = next(results)
                output = {"prediction": prediction, "probabilities": by_class}
                logged = to_json(output | {"milliseconds": duration_ms}).decode()
                texts = (to_json(row).decode(), logged, to_json(row_warnings).decode() if row_warnings else "[]")
                job.lines.append((prediction_id, at, bundle.version, job.caller, *texts))
                job.answers.append({"id": prediction_id, "version": bundle.version, **output, "unusual": row_warnings})
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].error = error  # an exception handler turns it into a response
        else:
            for job in jobs:
                answer_jobs([job])


def find_drivers(bundle: Bundle, row: Row) -> list[dict[str, Any]]:
    """Attribute an answer to columns: how it differs from the answer for the row with one typical value.

    The difference is in the probability of the predicted class, or in the amount. The largest three are given.
    """
    columns = bundle.contract.columns
    replacements = {
        name: value
        for name in bundle.contract.inputs
        if (value := typical_value(columns[name], bundle.profile.get(name, {}))) is not None and value != row.get(name)
    }
    variants = [{**row, name: value} for name, value in replacements.items()]
    predictions, probabilities = predict_rows(bundle, [row, *variants])
    if bundle.contract.is_classification:
        outputs = probabilities[:, probabilities[0].argmax()]
    else:
        outputs = np.array(predictions, dtype=float)
    effects = sorted(zip(replacements, outputs[0] - outputs[1:], strict=True), key=lambda pair: -abs(pair[1]))
    return [
        {"column": name, "found": row.get(name), "typical": replacements[name], "effect": float(effect)}
        for name, effect in effects[:3]
        if effect
    ]


class LogWriter:
    """Logs answered jobs, by one connection for as long as it works."""

    def __init__(self, log: Engine) -> None:
        """Note where; the first jobs connect."""
        self.log = log
        self.connection: Connection | None = None

    def write(self, jobs: list[Job]) -> None:
        """Log jobs: all at once or, where that fails, one by one; those that can't be logged get the error."""
        unlogged = [job for job in jobs if not job.error and not job.future.done()]  # done: it has timed out
        with suppress(Exception):
            self._write_lines(unlogged)
            unlogged = []
        for job in unlogged:
            if job.future.done():  # it has timed out meanwhile
                continue
            try:
                self._write_lines([job])
            except Exception as error:  # an exception handler turns it into a response
                job.error = error

    def _write_lines(self, jobs: list[Job]) -> None:
        self.connection = self.connection or connect_writer(self.log)
        try:
            write_answers(self.connection, [line for job in jobs for line in job.lines])
        except Exception:
            self.connection.invalidate()
            self.connection = None  # the next attempt connects again, perhaps to another database
            raise


def answer_and_log(jobs: list[Job], writer: LogWriter) -> None:
    """Answer jobs of one version and log the answers."""
    answer_jobs(jobs)
    writer.write(jobs)


async def collect_jobs(waiting_jobs: "asyncio.Queue[Job]", n_callers: int, max_rows: int) -> list[Job]:
    """Take the jobs that wait, at least one, until there are `max_rows` rows.

    n_callers: who has just been answered or waits. As long as fewer jobs are there, those of the others are waited for,
    for a moment: a call takes nearly as long for one row as for ten, and callers who share one will share the next.
    """
    jobs = [await waiting_jobs.get()]
    n_rows = len(jobs[0].rows)
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while n_rows < max_rows and (waiting_jobs.qsize() or len(jobs) < n_callers):
                jobs.append(await waiting_jobs.get())
                n_rows += len(jobs[-1].rows)
    return jobs


async def answer_waiting_jobs(waiting_jobs: "asyncio.Queue[Job]", log: Engine, max_rows: int) -> None:
    """Answer, log and resolve the jobs that wait, for ever, in batches of up to `max_rows` rows."""
    writer, n_callers = LogWriter(log), 1
    while True:
        batch = await collect_jobs(waiting_jobs, n_callers, max_rows)
        unanswered = [job for job in batch if not job.future.done()]  # the others have timed out
        for _, group in groupby(unanswered, key=lambda job: id(job.bundle)):
            jobs = list(group)
            await asyncio.to_thread(answer_and_log, jobs, writer)
            resolve_jobs(jobs)
        n_callers = len(batch) + waiting_jobs.qsize()


def resolve_jobs(jobs: list[Job], timeout: Exception | None = None) -> None:
    """Resolve the futures of jobs with their answers, `timeout` or their errors; those that are done stay."""
    for job in jobs:
        if job.future.done():
            continue
        if error := timeout or job.error:
            job.future.set_exception(error)
        else:
            job.future.set_result(job.answers)
