"""Infer a contract from a table: what each column holds, and what it is for."""

import difflib
import re
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype

from modelcycle.adopt.choose_holdout import find_time, find_units, make_group
from modelcycle.core.contract import BOOLEAN_WORDS, Column, Contract, DatePart, convert_values
from modelcycle.core.errors import InputError
from modelcycle.core.leaks import Leak, find_leaks

DATES = ["%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d", "%Y/%m/%d", "%d-%m-%Y", "%d %b %Y", "%Y%m%d"]
DATES += ["%d.%m.%y", "%d/%m/%y", "%m/%d/%y"]
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DATE_FORMATS = ["", *(date + clock for date in DATES for clock in CLOCKS)]
IDENTIFIER_NAME = re.compile(r"(^|[\W_])(id|nr|no|number|nummer|index|key|uuid|guid)$", re.IGNORECASE)
NUMBER_WITH_UNIT = re.compile(r"-?([€$£¥]\s?\d[\d.,]*|\d[\d.,]*(\s?[€$£¥%]|\s[^\W\d]{1,3}))")
MAX_CLASSES = 20  # an integer target with more values than this is an amount
MAX_LISTED_VALUES = 10  # in a comment
MIN_DAYS_OF_SEASONS = 2 * 365  # in less, what happened once would pass for a season
MIN_DAYS_OF_WEEKDAYS = 4 * 7


@dataclass
class Wishes:
    """What the columns are for, as a person says, and how to read them where that is no matter of course.

    kind: class or amount, of the target. dates: the format of dates that could be read in two ways.
    """

    target: str
    key: list[str] = field(default_factory=list)
    time: str = ""
    group: list[str] = field(default_factory=list)
    weight: str = ""
    kind: str = ""
    dates: str = ""


def infer_column(values: pd.Series, dates: str = "") -> Column:
    """Infer a column's type and nullability from (n,) values as read from the source.

    dates: the format to try first. Codes with leading zeros are no numbers; numbers with few typing errors are.
    """
    known = values.dropna()
    facts: dict[str, Any] = {"role": "feature", "nullable": len(known) < len(values)}
    if known.nunique() < 2:
        return _make_ignored(f"is always {known.iloc[0]}" if len(known) else "is always empty")
    words = set(known.unique().astype("str")) if known.nunique() <= 4 else set()
    if {word.strip().lower() for word in words} in [set(pair) for pair in BOOLEAN_WORDS]:
        return Column(type="boolean", **facts)
    if not is_datetime64_any_dtype(known) and are_numbers(known):
        numbers = pd.to_numeric(known, errors="coerce").dropna()
        finite = numbers[np.isfinite(numbers.astype("float64"))]
        low, high = float(finite.min()), float(finite.max())
        integers = bool((finite % 1 == 0).all()) and -(2**63) <= low <= high < 2**63
        counts_up = high - low == len(known) - 1 or IDENTIFIER_NAME.search(str(values.name))
        if integers and known.is_unique and counts_up and len(known) > 20:
            return _make_ignored("is different in every row, like an identifier")
        return Column(type="integer" if integers else "number", **facts)
    if (date_format := infer_date_format(known, dates)) is not None:
        return Column(type="datetime", format=date_format, **facts)
    if known.nunique() > max(20, len(known) / 2):
        if have_units(known):
            return _make_ignored(f"holds numbers with a unit, such as {known.iloc[0]}: leave out the unit to use them")
        return _make_ignored("is different in nearly every row, like an identifier or free text")
    return Column(type="category", **facts)


def are_numbers(known: pd.Series) -> bool:
    """Say whether (n,) known values are numbers, at most 5 % with typing errors; codes such as 00123 are none."""
    is_number = pd.to_numeric(known, errors="coerce").notna()
    if not pd.api.types.is_string_dtype(known):
        return bool(is_number.all())
    wrong = known[~is_number]
    is_typo = wrong.str.contains(r"\d").all() and len(wrong) <= 0.05 * len(known)
    return bool(is_typo and not known.str.fullmatch(r"0\d+").any())


def have_units(known: pd.Series) -> bool:
    """Say whether nearly all of (n,) known texts are numbers with a sign or a unit, such as 12 % or € 1.50."""
    return bool(known.str.strip().str.fullmatch(NUMBER_WITH_UNIT).mean() > 0.9)


def describe_doubts(values: pd.Series, column: Column) -> list[str]:
    """Tell what may be wrong in how (n,) values as read from the source are understood, each with examples."""
    known, told = values.dropna(), []
    lost = known[convert_values(known, column).isna()] if column.type not in ("category", "text") else known[:0]
    if len(lost):
        cells = ", ".join(f"{value} in row {row}" for row, value in zip(lost.index[:3] + 1, lost, strict=False))
        told.append(f"is no {column.type} in {len(lost):,} rows, which prepare will reject: {cells}")
    if column.type == "datetime" and "%d" in column.format and "%m" in column.format:
        other = re.sub("%([dm])", lambda found: {"d": "%m", "m": "%d"}[found[1]], column.format)
        if convert_values(known, column.model_copy(update={"format": other})).notna().all():
            told.append(f"{known.iloc[0]} is read as {column.format}; if that is wrong, add --dates '{other}'")
    if column.type == "category" and column.role == "feature" and have_units(known):
        told.append(f"holds numbers with a unit, such as {known.iloc[0]}, which stay text: leave it out to use them")
    if column.type == "datetime" and pd.api.types.is_string_dtype(known):
        with_zone = known[known.str.contains(r"\d(?:Z|[+-]\d\d:?\d\d)$")]
        if len(with_zone):
            told.append(f"is converted to UTC in {len(with_zone):,} rows, e.g. {with_zone.iloc[0]}")
    return told


def describe_sample(values: pd.Series, column: Column) -> str:
    """Say in one line what a column of a contract held in (n,) values as read from the source; empty for others."""
    known = convert_values(values, column).dropna()
    if column.type in ("number", "integer", "datetime") and len(known):
        return f"the sample: {known.min()} to {known.max()}"
    if column.type == "category":
        texts = sorted(known.unique())
        more = f" and {len(texts) - MAX_LISTED_VALUES:,} more" if len(texts) > MAX_LISTED_VALUES else ""
        return f"the sample: {texts[:MAX_LISTED_VALUES]}{more}"
    return ""


def find_left_out_parts(values: pd.Series, column: Column, has_row_time: bool) -> dict[str, list[str]]:
    """List by reason the parts of a date that (n,) values as read from the source can teach nothing about.

    has_row_time: whether the rows have a time besides, up to which an age can be counted.
    """
    times = convert_values(values, column).dropna()
    days = (times.max() - times.min()).days
    too_long = ["year", "month", "day_of_year"] if days < MIN_DAYS_OF_SEASONS else []
    too_long += ["weekday"] if days < MIN_DAYS_OF_WEEKDAYS else []
    reasons = {
        f"the data spans {days:,} days": too_long,
        "the time of day is always the same": ["hour"] if (times - times.dt.normalize()).nunique() < 2 else [],
        "no other column has the role time": [] if has_row_time else ["age"],
    }
    return {reason: parts for reason, parts in reasons.items() if parts}


def infer_parts(values: pd.Series, column: Column, has_row_time: bool) -> Column:
    """Give a column of dates the parts that `find_left_out_parts` leaves; a feature without any is ignored."""
    left_out = list(chain(*find_left_out_parts(values, column, has_row_time).values()))
    parts = [part for part in get_args(DatePart) if part not in left_out]
    if column.role == "feature" and not parts:
        return _make_ignored("is a date of which no part can teach anything")
    return column.model_copy(update={"parts": parts})


def infer_date_format(known: pd.Series, first: str = "") -> str | None:
    """Find the format in which (n,) known values are dates; empty for ISO 8601, None where they are no dates.

    first: the format to try before all others.
    """
    start = known.head(1000)
    if pd.api.types.is_string_dtype(start) and not start.str.contains(r"\d").all():
        return None
    for date_format in [first, *DATE_FORMATS]:
        column = Column(role="feature", type="datetime", format=date_format)
        if convert_values(start, column).notna().all() and convert_values(known, column).notna().mean() > 0.99:
            return date_format
    return None


def _make_ignored(reason: str) -> Column:
    return Column(role="ignored", type="text", nullable=True, reason=reason)


def _list_categories(values: pd.Series) -> list[str]:
    return sorted(convert_values(values.dropna(), Column(role="feature", type="category")).unique())


def infer_target(values: pd.Series, kind: str = "") -> Column:
    """Infer the target's type: text and few integers are classes, all other numbers an amount of any size.

    kind: class or amount, where a person has said so.
    """
    column = infer_column(values.rename(""))
    nullable = bool(values.isna().any())
    numbers = pd.to_numeric(values.dropna(), errors="coerce") if column.type != "datetime" else pd.Series([np.nan])
    if column.type == "boolean":
        return Column(role="target", type="boolean", nullable=nullable)
    is_amount = values.nunique() > min(MAX_CLASSES, len(values) / 5) or (numbers % 1 != 0).any()
    if kind == "amount" and not numbers.notna().all():
        raise InputError(
            f"The target '{values.name}' holds no numbers, e.g. {values.dropna().iloc[0]}: no --as amount."
        )
    if numbers.notna().all() and (kind == "amount" or (is_amount and kind != "class")):
        return Column(role="target", type="integer" if (numbers % 1 == 0).all() else "number", nullable=nullable)
    texts = _list_categories(values)
    if not 2 <= len(texts) <= 100:
        raise InputError(f"The target '{values.name}' has {len(texts):,} values; expected numbers or 2 to 100 classes.")
    return Column(role="target", type="category", nullable=nullable, values=texts)


def ignore_leaks(leaks: list[Leak], contract: Contract) -> None:
    """Give the role ignored, and the reason, to the features that give the target away."""
    for leak in leaks:
        for name in leak.columns if leak.blocks else ():
            others = " and ".join(other for other in leak.columns if other != name)
            reason = f"tells {contract.target} all by itself, like a copy or what is known too late"
            if others:
                reason = f"tells {contract.target} together with {others}: {leak.rule}"
            if contract.columns[name].role == "feature":
                contract.columns[name] = _make_ignored(reason)


def require_named(wishes: Wishes, rows: pd.DataFrame, source: str) -> None:
    """Raise InputError where a column that is named for a role is not in (n, m) rows, or has two."""
    named = [wishes.target, *wishes.key, *wishes.group, *filter(None, [wishes.time, wishes.weight])]
    for name in named:
        if name not in rows:
            similar = difflib.get_close_matches(name, map(str, rows.columns), 1)
            hint = f" Did you mean '{similar[0]}'?" if similar else ""
            shown = ", ".join(map(str, rows.columns[:20]))
            raise InputError(f"{source} has no column '{name}'.{hint} Columns: {shown}.")
        if named.count(name) > 1:
            raise InputError(f"'{name}' is named for two roles; expected different columns for each.")


def require_input(columns: dict[str, Column], wishes: Wishes, source: str) -> None:
    """Raise InputError where no column is left from which the target can be predicted."""
    if any(column.role == "feature" or (column.role == "time" and column.parts) for column in columns.values()):
        return
    reasons = "; ".join(f"{name} {column.reason}" for name, column in columns.items() if column.reason)
    raise InputError(f"{source} leaves no column to predict '{wishes.target}' from. {reasons or 'There is no other'}.")


def infer_contract(rows: pd.DataFrame, source: str, wishes: Wishes) -> tuple[Contract, list[Leak]]:
    """Infer a contract from (n, m) rows as read from the source, and find what may give the target away.

    Raises InputError when a named column does not exist or can't have its role, or when no feature is left.
    """
    require_named(wishes, rows, source)
    target = wishes.target
    columns = {str(name): infer_column(rows[name], wishes.dates) for name in rows if name != target}
    columns[target] = infer_target(rows[target], wishes.kind)
    for name in wishes.key:
        columns[name] = Column(role="key", type="integer" if pd.api.types.is_integer_dtype(rows[name]) else "text")
    features = [name for name, column in columns.items() if column.role == "feature" and not column.nullable]
    for name in wishes.group or find_units(rows, features)[:1]:
        columns[name] = make_group(rows[name])
    if wishes.weight:
        columns[wishes.weight] = Column(role="weight", type="number", min=0)
    if time := wishes.time or find_time(rows, columns):
        if (date_format := infer_date_format(rows[time].dropna(), wishes.dates)) is None:
            raise InputError(f"{source}: the column '{time}' holds no readable dates, e.g. {rows[time].iloc[0]}.")
        columns[time] = Column(role="time", type="datetime", format=date_format)
    dates = {name: column for name, column in columns.items() if column.type == "datetime"}
    columns |= {name: infer_parts(rows[name], column, time not in ("", name)) for name, column in dates.items()}
    columns = {str(name): columns[str(name)] for name in rows}  # in the table's order
    description = f"Predicts {target} from the columns of {Path(source).name}."
    require_input(columns, wishes, source)
    contract = Contract(description=description, columns=columns)
    leaks = find_leaks(rows, contract)
    ignore_leaks(leaks, contract)
    require_input(contract.columns, wishes, source)
    return Contract(description=description, columns=contract.columns), leaks
