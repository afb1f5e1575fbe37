"""From rows to logged answers: predictions, feature attribution, and the requests that wait for both.

Requests that wait share one call of the model and one transaction of the log. Each of the two has a thread of its own.
"""

import asyncio
import os
import queue
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from pydantic_core import to_json
from sqlalchemy import Connection, Engine

from modelcycle.core.contract import make_request_table
from modelcycle.serving.schema import Row, find_unusual_values, typical_value
from modelcycle.tracking.bundle import Bundle
from modelcycle.tracking.prediction_log import AnswerRow, connect_writer, utc_now, write_answers


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


async def answer_waiting_jobs(
    waiting_jobs: "asyncio.Queue[Job]",
    answered_jobs: "queue.SimpleQueue[list[Job] | None]",
    max_rows: int,
) -> None:
    """Answer the jobs that wait, for ever: in batches of up to `max_rows` rows, which are passed on to be logged."""
    while True:
        batch = [await waiting_jobs.get()]
        n_rows = len(batch[0].rows)
        while not waiting_jobs.empty() and n_rows < max_rows:
            batch.append(waiting_jobs.get_nowait())
            n_rows += len(batch[-1].rows)
        if not (batch := [job for job in batch if not job.future.done()]):  # all have timed out
            continue
        for _, group in groupby(batch, key=lambda job: id(job.bundle)):
            jobs = list(group)
            await asyncio.to_thread(answer_jobs, jobs)
            answered_jobs.put(jobs)


def log_answered_jobs(
    log: Engine, answered_jobs: "queue.SimpleQueue[list[Job] | None]", loop: asyncio.AbstractEventLoop
) -> None:
    """Log answered jobs until None comes: all that wait at once or, where that fails, one by one."""
    connection: Connection | None = None

    def write(jobs: list[Job]) -> None:
        nonlocal connection
        connection = connection or connect_writer(log)
        try:
            write_answers(connection, [line for job in jobs for line in job.lines])
        except Exception:
            connection.invalidate()
            connection = None  # the next attempt connects again, perhaps to another database
            raise

    batches: list[list[Job] | None] = [[]]
    while batches[-1] is not None:
        batches = [answered_jobs.get()]
        while not answered_jobs.empty():
            batches.append(answered_jobs.get())
        jobs = [job for batch in batches for job in batch or []]
        unlogged = [job for job in jobs if not job.error and not job.future.done()]  # done: it has timed out
        with suppress(Exception):
            write(unlogged)
            unlogged = []
        for job in unlogged:
            if job.future.done():  # it has timed out meanwhile
                continue
            try:
                write([job])
            except Exception as error:  # an exception handler turns it into a response
                job.error = error
        if jobs:
            loop.call_soon_threadsafe(resolve_jobs, jobs)  # all at once: each call into the loop's thread costs


def resolve_jobs(jobs: list[Job], timeout: Exception | None = None) -> None:
    """Resolve the futures of jobs with their answers, `timeout` or their errors; those that are done stay."""
    for job in jobs:
        if job.future.done():
            continue
        if error := timeout or job.error:
            job.future.set_exception(error)
        else:
            job.future.set_result(job.answers)
