"""Choose how a table's hold-out set is drawn: as production will differ from training, by group, by time or by key."""

import math
import re
from typing import Any

import pandas as pd

from modelcycle.core.contract import Column, Contract, convert_values
from modelcycle.core.errors import InputError

UNIT_NAME = re.compile(
    r"(^|[\W_])(id|nr|no|number|uuid|unit|engine|machine|device|sensor|vehicle|batch|lot|patient|subject|person|child|"
    r"user|customer|client|household|school)"
    r"(_?(id|nr|no|number))?$",
    re.IGNORECASE,
)
MIN_UNITS, MIN_TIMES = 10, 20
NEEDS = {
    "group": "--holdout group needs the column that says which rows belong together: --group NAME.",
    "time": "--holdout time needs the column that says when a row happened: --time NAME.",
}


def find_units(rows: pd.DataFrame, names: list[str]) -> list[str]:
    """Find those of the named columns of (n, m) rows that say of which unit a row is, by their name and their order."""
    return [name for name in names if UNIT_NAME.search(name) and repeats_in_blocks(rows[name])]


def find_time(rows: pd.DataFrame, columns: dict[str, Column]) -> str:
    """Find the one column of dates by which (n, m) rows are sorted, as a log is; empty where there is none."""
    dates = [name for name, column in columns.items() if column.type == "datetime" and not column.nullable]
    times = [convert_values(rows[name], columns[name]).dropna() for name in dates]
    is_sorted = [moments.is_monotonic_increasing or moments.is_monotonic_decreasing for moments in times]
    found = [name for name, moments, in_order in zip(dates, times, is_sorted, strict=True) if in_order]
    return found[0] if len(found) == 1 and times[dates.index(found[0])].nunique() >= MIN_TIMES else ""


def repeats_in_blocks(values: pd.Series) -> bool:
    """Say whether each of (n,) values stands in several rows that follow one another, as in the log of machines."""
    n_values = values.nunique()
    n_blocks = int((values != values.shift()).sum())
    return n_values >= MIN_UNITS and n_blocks <= 1.1 * n_values and n_values <= len(values) / 3


def choose_holdout(rows: pd.DataFrame, contract: Contract, by: str = "") -> tuple[dict[str, Any], str]:
    """Choose `prepare.holdout` for (n, m) rows as read from the source, with a sentence about it and the others.

    by: what a person wants. Raises InputError where the contract does not have what that needs.
    """
    drawn = ", ".join(contract.names("key")) or "all inputs together"
    identity = {} if contract.names("key") else {"columns": contract.identity}
    choices = {"key": ({"by": "key"} | identity, f"rows drawn by {drawn}, as if they were independent")}
    if groups := contract.names("group") or find_units(rows, contract.names("key")):
        named = {"columns": groups} if groups != contract.names("group") else {}
        whole = f"all rows of some {', '.join(groups)}, since the rows of one are alike"
        choices["group"] = ({"by": "group"} | named, whole)
    n_times = 0
    if contract.time:
        times = convert_values(rows[contract.time], contract.columns[contract.time]).dropna()
        n_times, last = times.nunique(), describe_span(times.max() - times.quantile(0.8))
        choices["time"] = ({"by": "time", "last": last, "gap": "0d"}, f"the last {last}, as in production")
    by = by or ("group" if groups else "time" if n_times >= MIN_TIMES else "key")
    if by not in choices:
        raise InputError(NEEDS[by])
    holdout, held_out = choices.pop(by)
    others = "".join(f"; --holdout {other}: {text}" for other, (_, text) in choices.items())
    return holdout, f"held out for testing by {by}: {held_out}{others}"


def describe_span(span: pd.Timedelta) -> str:
    """Write a span of time, rounded up to whole days or, if it is shorter than two, to hours."""
    hours = math.ceil(span / pd.Timedelta(hours=1)) or 1
    return f"{math.ceil(hours / 24)}d" if hours > 48 else f"{hours}h"


def make_group(values: pd.Series) -> Column:
    """Describe a column of (n,) values as a group."""
    return Column(role="group", type="integer" if pd.api.types.is_integer_dtype(values) else "text")
