"""From rows to logged answers: what a request may hold, what is answered, what is unusual, what drove it.

Requests that wait are answered together: one pass through the model, one transaction of the log. The loop's thread
answers what takes little time; whatever takes longer is answered in threads, and the log has a thread of its own.
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
from modelcycle.serving.fast import FEW, FastPredict, Row
from modelcycle.tracking.bundle import Bundle
from modelcycle.tracking.log import Line, connect_writer, in_utc, now, write_lines


def usual_time(time: datetime) -> datetime:
    """Give a time in UTC without a zone, as the training data has it. Raises ValueError for what pandas can't hold."""
    if not 1700 <= time.year <= 2200:
        raise ValueError("a time between the years 1700 and 2200")
    return in_utc(time)


TYPES: dict[str, Any] = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "datetime": Annotated[datetime, AfterValidator(usual_time)],
}


@dataclass
class Job:
    """Rows of one request on their way; `answers`, or what went wrong, are given to `done` once `lines` are on disk."""

    rows: list[Row]
    caller: str
    done: "asyncio.Future[list[dict[str, Any]]]"
    served: Any = None  # the version that has checked the rows, with bundle and fast; it answers them as well
    arrived: float = field(default_factory=time.perf_counter)
    answers: list[dict[str, Any]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    error: Exception | None = None


def row_type(contract: Contract, profile: dict[str, Any]) -> Any:
    """Make the type of a request's row from the contract: types, ranges, values, units, descriptions, examples."""
    fields: dict[str, Any] = {}
    for name, column in contract.columns.items():
        if column.role not in ("key", "time", "feature"):
            continue
        kind = Literal[tuple(column.values)] if column.values else TYPES.get(column.type, str)
        optional = column.nullable or column.role == "key"
        limits: dict[str, Any] = {"ge": column.min, "le": column.max}
        if column.type == "integer":  # what 64 bits hold
            low, high = -(2**63), 2**63 - 1
            limits = {
                "ge": low if column.min is None else math.ceil(max(column.min, low)),
                "le": high if column.max is None else math.floor(min(column.max, high)),
            }
        example = typical(column, profile.get(name, {}))
        fields[name] = Annotated[
            kind | None if optional else kind,
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


def feedback_model(contract: Contract, profile: dict[str, Any]) -> type[BaseModel]:
    """Make the model of feedback: which prediction, and what really happened, as in the target."""
    column = contract.columns[contract.target]
    outcome: Any = TYPES.get(column.type, str)
    if column.type == "category":
        outcome = Literal[tuple(column.values or profile[contract.target]["shares"])]
    finite: dict[str, Any] = {"allow_inf_nan": False} if outcome is float else {}
    return create_model(
        "Feedback",
        __config__=ConfigDict(extra="forbid"),
        id=(str, Field(pattern="^[0-9a-f]{32}$", description="The id that came with the prediction")),
        outcome=(outcome, Field(description=f"What really happened: {contract.target}", **finite)),
        comment=(str, Field(default="", max_length=2000)),
    )


def typical(column: Column, known: dict[str, Any]) -> Any:
    """Give the median or the most frequent value of the training data; None where most are missing."""
    if known.get("missing_share", 1) > 0.5:
        return None
    if "median" in known:
        if column.type == "datetime":
            return datetime.fromisoformat(known["median"])
        return round(known["median"]) if column.type == "integer" else known["median"]
    if column.type in ("boolean", "category") and known.get("shares"):
        value = max(known["shares"], key=known["shares"].get)
        return value == "True" if column.type == "boolean" else value
    return None


def unusual(rows: list[Row], profile: dict[str, Any]) -> list[list[str]]:
    """List for each row what the training data never held, though the contract allows it."""
    found: list[list[str]] = [[] for _ in rows]
    for name in rows[0]:
        known = profile.get(name, {})
        if edges := known.get("edges"):
            low, high = edges[0], edges[-1]
            for said, row in zip(found, rows, strict=True):
                if (value := row.get(name)) is not None and not low <= value <= high:
                    said.append(f"{name} {value} is outside {low:g} to {high:g}")
        elif shares := known.get("shares"):
            for said, row in zip(found, rows, strict=True):
                if (value := row.get(name)) is not None and str(value) not in shares:
                    said.append(f"{name} {value} was never seen in training")
    return found


def predict_rows(bundle: Bundle, fast: FastPredict | None, rows: list[Row]) -> tuple[list[Any], np.ndarray]:
    """Predict rows: the predictions, and (n, c) probabilities or (n, 0) for amounts."""
    if fast is None:
        table = bundle.predict(make_request_table(rows, bundle.contract.inputs, bundle.contract))
        return table["prediction"].tolist(), table.iloc[:, 1:].to_numpy(float)
    found = fast(rows)
    if not bundle.contract.is_classification:
        return found[:, 0].tolist(), found[:, :0]
    return bundle.model.classes_[found.argmax(axis=1)].tolist(), found


def new_ids(count: int) -> list[str]:
    """Make up ids of 32 hexadecimal digits: the time, so that the log's index grows at its end, then 80 random bits.

    The idea is that of UUID version 7 (RFC 9562, section 5.7).
    """
    time_ms, chance = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10 * count).hex()
    return [time_ms + chance[20 * i : 20 * (i + 1)] for i in range(count)]


def answer(jobs: list[Job], bundle: Bundle, fast: FastPredict | None) -> None:
    """Answer jobs together, whose rows the row type has accepted; each answer has an id of its own.

    Where that fails, they are tried one by one, so that only those fail that have to.
    """
    rows = [row for job in jobs for row in job.rows]
    classes = [str(name) for name in getattr(bundle.model, "classes_", [])]
    try:
        predictions, probabilities = predict_rows(bundle, fast, rows)
        shares = [dict(zip(classes, given, strict=False)) for given in probabilities.tolist()]
        facts = zip(new_ids(len(rows)), rows, predictions, shares, unusual(rows, bundle.profile), strict=True)
        at = now().isoformat(" ", "microseconds")
        for job in jobs:
            job.lines, job.answers = [], []  # an attempt together with others may have failed
            taken_ms = round((time.perf_counter() - job.arrived) * 1000, 2)  # without the write of this very line
            for _ in job.rows:
                given_id, row, prediction, share, odd = next(facts)
                said = {"prediction": prediction, "probabilities": share}
                logged = to_json(said | {"milliseconds": taken_ms}).decode()
                texts = (to_json(row).decode(), logged, to_json(odd).decode() if odd else "[]")
                job.lines.append((given_id, at, bundle.version, job.caller, *texts))
                job.answers.append({"id": given_id, "version": bundle.version, **said, "unusual": odd})
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].error = error  # the request gets it and says what it means
        else:
            for job in jobs:
                answer([job], bundle, fast)


def drivers(bundle: Bundle, fast: FastPredict | None, row: Row) -> list[dict[str, Any]]:
    """Say what drove an answer: how it differs from the answer for a row with one column as it typically is.

    The difference is in the probability of the predicted class, or in the amount. The largest three are given.
    """
    columns = bundle.contract.columns
    instead = {
        name: value
        for name in bundle.contract.inputs
        if (value := typical(columns[name], bundle.profile.get(name, {}))) is not None and value != row.get(name)
    }
    predictions, found = predict_rows(bundle, fast, [row, *({**row, name: value} for name, value in instead.items())])
    figures = found[:, found[0].argmax()] if found.shape[1] else np.array(predictions, dtype=float)
    effects = sorted(zip(instead, figures[0] - figures[1:], strict=True), key=lambda pair: -abs(pair[1]))
    return [
        {"column": name, "found": row.get(name), "typical": instead[name], "effect": float(effect)}
        for name, effect in effects[:3]
        if effect
    ]


async def answer_waiting(
    jobs: "asyncio.Queue[Job]",
    answered: "queue.SimpleQueue[list[Job] | None]",
    most: int,
) -> None:
    """Answer jobs without end: all that wait, together, up to `most` rows. They go on to the log as `answered`."""
    while True:
        batch = [await jobs.get()]
        rows = len(batch[0].rows)
        while not jobs.empty() and rows < most:
            batch.append(jobs.get_nowait())
            rows += len(batch[-1].rows)
        if not (batch := [job for job in batch if not job.done.done()]):  # all have waited for too long
            continue
        for _, some in groupby(batch, key=lambda job: id(job.served)):
            together = list(some)
            bundle, fast = together[0].served.bundle, together[0].served.fast
            if fast and rows <= FEW:
                answer(together, bundle, fast)
            else:
                await asyncio.to_thread(answer, together, bundle, fast)
            answered.put(together)


def log_answered(log: Engine, answered: "queue.SimpleQueue[list[Job] | None]", loop: asyncio.AbstractEventLoop) -> None:
    """Log what is answered until None comes: all that waits, at once or, where that fails, job by job."""
    connection: Connection | None = None

    def write(jobs: list[Job]) -> None:
        nonlocal connection
        connection = connection or connect_writer(log)
        try:
            write_lines(connection, [line for job in jobs for line in job.lines])
        except Exception:
            connection.invalidate()
            connection = None  # the database may be another one by the next time
            raise

    batches: list[list[Job] | None] = [[]]
    while batches[-1] is not None:
        batches = [answered.get()]
        while not answered.empty():
            batches.append(answered.get())
        jobs = [job for batch in batches for job in batch or []]
        unlogged = [job for job in jobs if not job.error and not job.done.done()]  # done: it has waited for too long
        with suppress(Exception):
            write(unlogged)
            unlogged = []
        for job in unlogged:
            if job.done.done():  # has waited for too long meanwhile
                continue
            try:
                write([job])
            except Exception as error:  # the request gets it and says what it means
                job.error = error
        if jobs:
            loop.call_soon_threadsafe(settle, jobs)  # all at once: each call into the loop's thread costs


def settle(jobs: list[Job], late: Exception | None = None) -> None:
    """Let requests go on, with their answers or with what went wrong; nothing happens to those that have gone on."""
    for job in jobs:
        if job.done.done():
            continue
        if error := late or job.error:
            job.done.set_exception(error)
        else:
            job.done.set_result(job.answers)
