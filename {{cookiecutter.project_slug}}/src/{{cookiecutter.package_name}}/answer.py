"""From rows to logged answers: what a request may hold, what is answered, what is unusual, what drove it.

Requests that wait are answered together: one pass through the model, one transaction of the log.
"""

import asyncio
import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from sqlalchemy import Engine

from .bundle import Bundle
from .contract import Column, Contract, request_table
from .fast import FastPredict, Row
from .log import check_log, in_utc, now, write_answers


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

Answers = list[dict[str, Any]]


@dataclass
class Job:
    """Rows of one request on their way through the worker; `done` gets the answers or the error."""

    rows: list[Row]
    caller: str
    done: "asyncio.Future[Answers]"
    arrived: float = field(default_factory=time.perf_counter)


def row_model(contract: Contract, profile: dict[str, Any]) -> type[BaseModel]:
    """Make the model of a request's row from the contract: types, ranges, values, units, descriptions, examples."""
    fields: dict[str, Any] = {}
    for number, (name, column) in enumerate(contract.columns.items()):
        if column.role not in ("key", "time", "feature"):
            continue
        kind = Literal[tuple(column.values)] if column.values else TYPES.get(column.type, str)
        optional = column.nullable or column.role == "key"
        limits: dict[str, Any] = {"ge": column.min, "le": column.max}
        if column.type == "integer":  # what 64 bits hold
            low, high = -(2**63), 2**63 - 1
            limits = {
                "ge": low if column.min is None else max(column.min, low),
                "le": high if column.max is None else min(column.max, high),
            }
        example = typical(column, profile.get(name, {}))
        fields[f"column_{number}"] = (
            kind | None if optional else kind,
            Field(
                default=None if optional else ...,
                alias=name,
                allow_inf_nan=False if column.type == "number" else None,
                description=f"{column.description} [{column.unit}]" if column.unit else column.description,
                examples=None if example is None else [example],
                **limits,
            ),
        )
    return create_model("Row", __config__=ConfigDict(extra="forbid"), **fields)


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
        return round(known["median"]) if column.type == "integer" else known["median"]
    if column.type in ("boolean", "category") and known.get("shares"):
        value = max(known["shares"], key=known["shares"].get)
        return value == "True" if column.type == "boolean" else value
    return None


def unusual(row: Row, profile: dict[str, Any]) -> list[str]:
    """List what the training data never held, though the contract allows it."""
    found = []
    for name, value in row.items():
        known = profile.get(name)
        if known is None or value is None:
            continue
        if known.get("edges") and not known["edges"][0] <= value <= known["edges"][-1]:
            found.append(f"{name} {value} is outside {known['edges'][0]:g} to {known['edges'][-1]:g}")
        elif not known.get("edges") and str(value) not in known.get("shares", [str(value)]):
            found.append(f"{name} {value} was never seen in training")
    return found


def predict_rows(bundle: Bundle, fast: FastPredict | None, rows: list[Row]) -> tuple[list[Any], np.ndarray]:
    """Predict rows: the predictions, and (n, c) probabilities or (n, 0) for amounts."""
    if fast is None:
        table = bundle.predict(request_table(rows, bundle.contract.inputs, bundle.contract))
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


def answer(bundle: Bundle, fast: FastPredict | None, rows: list[Row]) -> list[dict[str, Any]]:
    """Answer rows that the row model has accepted; each answer has an id of its own."""
    predictions, probabilities = predict_rows(bundle, fast, rows)
    ids = new_ids(len(rows))
    classes = [str(name) for name in getattr(bundle.model, "classes_", [])]
    return [
        {
            "id": given_id,
            "version": bundle.version,
            "prediction": prediction,
            "probabilities": dict(zip(classes, given, strict=False)),
            "unusual": unusual(row, bundle.profile),
        }
        for given_id, row, prediction, given in zip(ids, rows, predictions, probabilities.tolist(), strict=True)
    ]


def drivers(bundle: Bundle, fast: FastPredict | None, row: Row) -> list[dict[str, Any]]:
    """Say what drove an answer: how it differs from the answer for a row with one column as it typically is.

    The difference is in the probability of the predicted class, or in the amount. The largest three are given.
    """
    columns = bundle.contract.columns
    instead = {
        name: value
        for name in bundle.contract.names("feature")
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


def answer_and_log(batch: list[Job], bundle: Bundle, fast: FastPredict | None, log: Engine) -> list[Answers]:
    """Answer the jobs of a batch together and log the answers; gives each job's answers once they are on disk."""
    rows = [row for job in batch for row in job.rows]
    jobs = [job for job in batch for _ in job.rows]
    answers, at, ready = answer(bundle, fast, rows), now(), time.perf_counter()
    write_answers(
        log,
        [
            {
                **{name: given[name] for name in ("id", "version", "unusual")},
                "at": at,
                "caller": job.caller,
                "inputs": row,
                "answer": {
                    **{name: given[name] for name in ("prediction", "probabilities")},
                    "milliseconds": round((ready - job.arrived) * 1000, 2),  # without the write of this very line
                },
            }
            for row, given, job in zip(rows, answers, jobs, strict=True)
        ],
    )
    left = iter(answers)
    return [[next(left) for _ in job.rows] for job in batch]


def settle(batch: list[Job], results: list[Answers | Exception]) -> None:
    """Let the requests of a batch go on, with their answers or with what went wrong."""
    for job, result in zip(batch, results, strict=True):
        if job.done.done():  # it has waited for too long
            continue
        if isinstance(result, Exception):
            job.done.set_exception(result)
        else:
            job.done.set_result(result)


def work(
    jobs: "queue.Queue[Job | None]", current: Callable[[], tuple[Bundle, FastPredict | None]], log: Engine, most: int
) -> None:
    """Answer jobs until None comes: all that wait, together, up to `most` rows. A batch that fails is tried one by one.

    The log's tables are looked for at the start and after each failure: the database may be another one by then.
    """
    sound = False

    def results_of(batch: list[Job]) -> list[Answers | Exception]:
        nonlocal sound
        try:
            if not sound:
                check_log(log)
            results: list[Answers | Exception] = [*answer_and_log(batch, *current(), log)]
            sound = True
            return results
        except Exception as error:  # the request gets it and says what it means
            sound = False
            return [error] if len(batch) == 1 else [result for job in batch for result in results_of([job])]

    job = jobs.get()
    while job is not None:
        batch = [job]
        while not jobs.empty() and sum(len(other.rows) for other in batch) < most:
            if (job := jobs.get()) is None:
                break
            batch.append(job)
        batch = [one for one in batch if not one.done.done()]  # some have waited for too long
        if batch:  # all are woken at once: each call into the loop's thread costs
            batch[0].done.get_loop().call_soon_threadsafe(settle, batch, results_of(batch))
        if job is not None:
            job = jobs.get()
