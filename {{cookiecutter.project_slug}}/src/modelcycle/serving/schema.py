"""The types of requests, made from the contract, and what is usual in them, by the profile of the training data."""

import math
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, cast

import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, with_config
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from modelcycle.core.contract import Column, Contract, convert_values
from modelcycle.versions.prediction_log import to_utc

Row = dict[str, Any]


def to_naive_utc(time: datetime) -> datetime:
    """Convert a time to UTC without a zone, as in the training data. Raises ValueError for what pandas can't hold."""
    if not 1700 <= time.year <= 2200:
        raise ValueError("a time between the years 1700 and 2200")
    return to_utc(time)


def read_time(value: Any, column: Column) -> datetime:
    """Read a time of a request, as `to_naive_utc` gives it. Raises ValueError."""
    return to_naive_utc(parse_time(value, column))


def parse_time(value: Any, column: Column) -> datetime:
    """Parse a time in the contract's format, in ISO 8601 or in whatever else the source is read. Raises ValueError."""
    if column.format:
        with suppress(ValueError):
            return datetime.strptime(str(value), column.format)
    with suppress(ValueError):
        return datetime.fromisoformat(str(value))
    time = convert_values(pd.Series([str(value)]), column)[0]
    if pd.isna(time):
        raise ValueError(f"a time in ISO 8601{f' or written as {column.format}' if column.format else ''}")
    return cast(datetime, time.to_pydatetime())


FIELD_TYPES: dict[str, Any] = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "datetime": datetime,
}


def make_row_type(contract: Contract, profile: dict[str, Any]) -> Any:
    """Make the type of a request's row from the contract: types, ranges, values, units, descriptions, examples."""
    fields: dict[str, Any] = {}
    for name in contract.requested:
        column = contract.columns[name]
        value_type = Literal[tuple(column.values)] if column.values else FIELD_TYPES.get(column.type, str)
        optional = column.nullable or name not in contract.inputs
        limits: dict[str, Any] = {"ge": column.min, "le": column.max}
        unit = f"[{column.unit}]" if column.unit else ""
        if column.type == "datetime":
            value_type = Annotated[value_type, BeforeValidator(partial(read_time, column=column))]
            unit = f"(ISO 8601 or {column.format})" if column.format else ""
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
                description=f"{column.description} {unit}".strip(),
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
