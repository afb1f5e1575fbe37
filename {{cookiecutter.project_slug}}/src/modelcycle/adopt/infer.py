"""Infer a contract from a table, and how a CSV file is written: encoding, delimiter, numbers, missing values."""

import codecs
import csv
import re
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype

from modelcycle.core.contract import BOOLEAN_WORDS, Column, Contract, DatePart, convert_values
from modelcycle.core.errors import InputError
from modelcycle.core.leaks import Leak, find_leaks

DATES = ["%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d %b %Y", "%Y%m%d"]
DATE_FORMATS = ["", *(date + clock for date in DATES for clock in ("", " %H:%M", " %H:%M:%S"))]
IDENTIFIER_NAME = re.compile(r"(^|[\W_])(id|nr|no|number|nummer|index|key|uuid|guid)$", re.IGNORECASE)
MAX_CLASSES = 20  # an integer target with more values than this is an amount
MAX_LISTED_VALUES = 10  # in a comment
MIN_DAYS_OF_SEASONS = 2 * 365  # in less, what happened once would pass for a season
MIN_DAYS_OF_WEEKDAYS = 4 * 7


def infer_column(values: pd.Series) -> Column:
    """Infer a column's type and nullability from (n,) values as read from the source."""
    known = values.dropna()
    facts: dict[str, Any] = {"role": "feature", "nullable": len(known) < len(values)}
    if known.nunique() < 2:
        return _make_ignored(f"is always {known.iloc[0]}" if len(known) else "is always empty")
    words = set(known.unique().astype("str")) if known.nunique() <= 4 else set()
    if {word.strip().lower() for word in words} in [set(pair) for pair in BOOLEAN_WORDS]:
        return Column(type="boolean", **facts)
    if not is_datetime64_any_dtype(known) and (numbers := pd.to_numeric(known, errors="coerce")).notna().all():
        finite = numbers[np.isfinite(numbers.astype("float64"))]
        low, high = float(finite.min()), float(finite.max())
        integers = bool((finite % 1 == 0).all()) and -(2**63) <= low <= high < 2**63
        counts_up = high - low == len(known) - 1 or IDENTIFIER_NAME.search(str(values.name))
        if integers and known.is_unique and counts_up and len(known) > 20:
            return _make_ignored("is different in every row, like an identifier")
        return Column(type="integer" if integers else "number", **facts)
    if (date_format := infer_date_format(known)) is not None:
        return Column(type="datetime", format=date_format, **facts)
    if known.nunique() > max(20, len(known) / 2):
        return _make_ignored("is different in nearly every row, like an identifier or free text")
    return Column(type="category", **facts)


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


def infer_date_format(known: pd.Series) -> str | None:
    """Find the format in which (n,) known values are dates; empty for ISO 8601, None where they are no dates."""
    for date_format in DATE_FORMATS:
        column = Column(role="feature", type="datetime", format=date_format)
        if (
            convert_values(known.head(1000), column).notna().all()
            and convert_values(known, column).notna().mean() > 0.99
        ):
            return date_format
    return None


def _make_ignored(reason: str) -> Column:
    return Column(role="ignored", type="text", nullable=True, reason=reason)


def _list_categories(values: pd.Series) -> list[str]:
    return sorted(convert_values(values.dropna(), Column(role="feature", type="category")).unique())


def infer_target(values: pd.Series) -> Column:
    """Infer the target's type: text and few integers are classes, all other numbers an amount of any size."""
    column = infer_column(values.rename(""))
    nullable = bool(values.isna().any())
    numbers = pd.to_numeric(values.dropna(), errors="coerce") if column.type != "datetime" else pd.Series([np.nan])
    if column.type == "boolean":
        return Column(role="target", type="boolean", nullable=nullable)
    if numbers.notna().all() and (values.nunique() > min(MAX_CLASSES, len(values) / 5) or (numbers % 1 != 0).any()):
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


def infer_contract(
    rows: pd.DataFrame, source: str, target: str, key: list[str], time: str | None
) -> tuple[Contract, list[Leak]]:
    """Infer a contract from (n, m) rows as read from the source, and find what may give the target away.

    Raises InputError when a named column does not exist or can't have its role, or when no feature is left.
    """
    named = [target, *key, *([time] if time else [])]
    for name in named:
        if name not in rows:
            raise InputError(f"{source} has no column '{name}'. Columns: {', '.join(map(str, rows.columns[:20]))}.")
        if named.count(name) > 1:
            raise InputError(f"'{name}' is named for two roles; expected different columns for target, key and time.")
    columns = {str(name): infer_target(rows[name]) if name == target else infer_column(rows[name]) for name in rows}
    for name in key:
        columns[name] = Column(role="key", type="integer" if pd.api.types.is_integer_dtype(rows[name]) else "text")
    if time:
        if (date_format := infer_date_format(rows[time].dropna())) is None:
            raise InputError(f"{source}: the column '{time}' holds no readable dates, e.g. {rows[time].iloc[0]}.")
        columns[time] = Column(role="time", type="datetime", format=date_format)
    dates = {name: column for name, column in columns.items() if column.type == "datetime"}
    columns |= {name: infer_parts(rows[name], column, time not in (None, name)) for name, column in dates.items()}
    description = f"Predicts {target} from the columns of {Path(source).name}."
    if any(column.role == "feature" for column in columns.values()):
        contract = Contract(description=description, columns=columns)
        leaks = find_leaks(rows, contract)
        ignore_leaks(leaks, contract)
        columns = contract.columns
    if all(column.role != "feature" for column in columns.values()):
        reasons = "; ".join(f"{name} {column.reason}" for name, column in columns.items() if column.reason)
        raise InputError(f"{source} leaves no column to predict '{target}' from. {reasons or 'There is no other'}.")
    return Contract(description=description, columns=columns), leaks


def detect_csv_format(path: Path) -> dict[str, Any]:
    """Find out the encoding and the delimiter of a CSV file, as options of pandas.read_csv.

    Raises InputError when it is no text.
    """
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in content[:1_000_000] and not wide:
        raise InputError(f"{path} is no text file; expected a table as CSV, not compressed, or Parquet.")
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    csv.field_size_limit(2**31 - 1)
    lines = text[:1_000_000].splitlines()[:200]

    def regularity(delimiter: str) -> int:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if len(row) > 1)
        return max(widths.values(), default=0)

    return {"sep": max(";\t|,", key=regularity), "encoding": encoding}


def detect_number_format(rows: pd.DataFrame) -> dict[str, Any]:
    """Find out how (n, m) columns of text write numbers, as options of pandas.read_csv."""
    texts = pd.concat([rows[name].dropna().head(1000) for name in rows])
    by_comma = texts.str.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")  # 1,234 and 1,234.5
    by_point = texts.str.fullmatch(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?")
    commas = texts.str.fullmatch(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+") & ~by_comma
    points = texts.str.fullmatch(r"[+-]?(\d+|\d{1,3}(,\d{3})+)\.\d+") & ~by_point
    if commas.sum() > points.sum():
        return {"decimal": ","} | ({"thousands": "."} if by_point.any() else {})
    return {"thousands": ","} if by_comma.any() else {}


def find_missing_words(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Find words such as '?' that stand for a missing number in (n, m) columns of text, column by column."""
    found: dict[str, list[str]] = {}
    for name in rows:
        values = rows[name].dropna()
        strange = values[pd.to_numeric(values, errors="coerce").isna()]
        words = sorted(word for word in strange.unique() if not re.search(r"\d", word))
        if len(strange) <= len(values) / 5 and strange.nunique() <= 3 and words:
            found[str(name)] = words
    return found
