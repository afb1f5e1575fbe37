"""From rows to logged answers: the types of requests, predictions, unusual values, feature attribution.

Requests that wait are answered in a batch: one pass through the model, one transaction of the log. The event loop's
thread answers small batches, other threads answer large ones, and the log has a thread of its own.
"""

import asyncio
import math
import os
import queue
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model, with_config
from pydantic_core import to_json, to_jsonable_python
from sqlalchemy import Connection, Engine
from typing_extensions import TypedDict

from modelcycle.core.contract import Column, Contract, make_request_table
from modelcycle.serving.fast import SMALL_BATCH, FastPredict, Row
from modelcycle.tracking.bundle import Bundle
from modelcycle.tracking.prediction_log import AnswerRow, connect_writer, to_utc, utc_now, write_answers


def to_naive_utc(time: datetime) -> datetime:
    """Convert a time to UTC without a zone, as in the training data. Raises ValueError for what pandas can't hold."""
    if not 1700 <= time.year <= 2200:
        raise ValueError("a time between the years 1700 and 2200")
    return to_utc(time)


FIELD_TYPES: dict[str, Any] = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "datetime": Annotated[datetime, AfterValidator(to_naive_utc)],
}


@dataclass
class Job:
    """The rows of one request; `future` gets the answers, or the error, once `lines` are on disk."""

    rows: list[Row]
    caller: str
    future: "asyncio.Future[list[dict[str, Any]]]"
    served_model: Any = None  # the ServedModel that has validated the rows; it answers them as well
    arrival: float = field(default_factory=time.perf_counter)
    answers: list[dict[str, Any]] = field(default_factory=list)
    lines: list[AnswerRow] = field(default_factory=list)
    error: Exception | None = None


def make_row_type(contract: Contract, profile: dict[str, Any]) -> Any:
    """Make the type of a request's row from the contract: types, ranges, values, units, descriptions, examples."""
    fields: dict[str, Any] = {}
    for name in contract.names("key", "time", "feature"):
        column = contract.columns[name]
        value_type = Literal[tuple(column.values)] if column.values else FIELD_TYPES.get(column.type, str)
        optional = column.nullable or column.role == "key"
        limits: dict[str, Any] = {"ge": column.min, "le": column.max}
        if column.type == "integer":  # what 64 bits hold
            low, high = -(2**63), 2**63 - 1
            limits = {
                "ge": low if column.min is None else math.ceil(max(column.min, low)),
                "le": high if column.max is None else math.floor(min(column.max, high)),
            }
        example = typical_value(column, profile.get(name, {}))
        fields[name] = Annotated[
            value_type | None if optional else value_type,
            Field(
                default=None if optional else ...,
                allow_inf_nan=False if column.type == "number" else None,
                description=f"{column.description} [{column.unit}]" if column.unit else column.description,
                examples=None if example is None else [to_jsonable_python(example)],
                **limits,
            ),
        ]
    # Dictionaries, since instances of a model take twice the time.
    return with_config(ConfigDict(extra="forbid"))(cast(Any, TypedDict)("Row", fields))


def make_feedback_type(contract: Contract, profile: dict[str, Any]) -> type[BaseModel]:
    """Make the type of feedback: the id of a prediction and its outcome, a value of the target."""
    column = contract.columns[contract.target]
    outcome_type: Any = FIELD_TYPES.get(column.type, str)
    if column.type == "category":
        outcome_type = Literal[tuple(column.values or profile[contract.target]["shares"])]
    finite: dict[str, Any] = {"allow_inf_nan": False} if outcome_type is float else {}
    return create_model(
        "Feedback",
        __config__=ConfigDict(extra="forbid"),
        id=(str, Field(pattern="^[0-9a-f]{32}$", description="The id that came with the prediction")),
        outcome=(outcome_type, Field(description=f"What really happened: {contract.target}", **finite)),
        comment=(str, Field(default="", max_length=2000)),
    )


def typical_value(column: Column, statistics: dict[str, Any]) -> Any:
    """Give the median or the most frequent value of the training data; None where most are missing.

    statistics: of the column in the profile of the training data.
    """
    if statistics.get("missing_share", 1) > 0.5:
        return None
    if "median" in statistics:
        if column.type == "datetime":
            return datetime.fromisoformat(statistics["median"])
        return round(statistics["median"]) if column.type == "integer" else statistics["median"]
    if column.type in ("boolean", "category") and statistics.get("shares"):
        value = max(statistics["shares"], key=statistics["shares"].get)
        return value == "True" if column.type == "boolean" else value
    return None


def find_unusual_values(rows: list[Row], profile: dict[str, Any]) -> list[list[str]]:
    """List for each row the values that the training data never held, though the contract allows them."""
    warnings: list[list[str]] = [[] for _ in rows]
    for name in rows[0]:
        statistics = profile.get(name, {})
        if edges := statistics.get("edges"):
            low, high = edges[0], edges[-1]
            for row_warnings, row in zip(warnings, rows, strict=True):
                if (value := row.get(name)) is not None and not low <= value <= high:
                    row_warnings.append(f"{name} {value} is outside {low:g} to {high:g}")
        elif shares := statistics.get("shares"):
            for row_warnings, row in zip(warnings, rows, strict=True):
                if (value := row.get(name)) is not None and str(value) not in shares:
                    row_warnings.append(f"{name} {value} was never seen in training")
    return warnings


def predict_rows(bundle: Bundle, fast_predict: FastPredict | None, rows: list[Row]) -> tuple[list[Any], np.ndarray]:
    """Predict rows: the predictions, and (n, c) probabilities or (n, 0) for amounts."""
    if fast_predict is None:
        table = bundle.predict(make_request_table(rows, bundle.contract.inputs, bundle.contract))
        return table["prediction"].tolist(), table.iloc[:, 1:].to_numpy(float)
    outputs = fast_predict(rows)
    if not bundle.contract.is_classification:
        return outputs[:, 0].tolist(), outputs[:, :0]
    return bundle.model.classes_[outputs.argmax(axis=1)].tolist(), outputs


def make_ids(count: int) -> list[str]:
    """Make ids of 32 hexadecimal digits: the time, so that the log's index grows at its end, then 80 random bits.

    The idea is that of UUID version 7 (RFC 9562, section 5.7).
    """
    time_ms, random_digits = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10 * count).hex()
    return [time_ms + random_digits[20 * i : 20 * (i + 1)] for i in range(count)]


def answer_jobs(jobs: list[Job], bundle: Bundle, fast_predict: FastPredict | None) -> None:
    """Answer jobs, with rows that are valid, in one batch; each answer gets an id.

    Where the batch fails, the jobs are tried one by one, so that only the faulty ones fail.
    """
    rows = [row for job in jobs for row in job.rows]
    classes = [str(name) for name in getattr(bundle.model, "classes_", [])]
    try:
        predictions, probabilities = predict_rows(bundle, fast_predict, rows)
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
                answer_jobs([job], bundle, fast_predict)


def find_drivers(bundle: Bundle, fast_predict: FastPredict | None, row: Row) -> list[dict[str, Any]]:
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
    predictions, probabilities = predict_rows(bundle, fast_predict, [row, *variants])
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
        for _, group in groupby(batch, key=lambda job: id(job.served_model)):
            jobs = list(group)
            bundle, fast_predict = jobs[0].served_model.bundle, jobs[0].served_model.fast_predict
            if fast_predict and n_rows <= SMALL_BATCH:
                answer_jobs(jobs, bundle, fast_predict)
            else:
                await asyncio.to_thread(answer_jobs, jobs, bundle, fast_predict)
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
