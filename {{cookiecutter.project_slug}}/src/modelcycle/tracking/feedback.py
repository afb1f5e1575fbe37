"""Feedback: rows whose outcome became known in production, a data file of its own beside the source.

`retrain` writes it, typed by the contract, and `ingest` adds it to the source's rows, so that DVC and `trace` treat it
like any data. The source, which is the team's, stays as it is.
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype
from ruamel.yaml import YAML

from modelcycle.core.contract import Column, Contract, convert_columns, convert_values, find_violations
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import write_atomically
from modelcycle.core.paths import FEEDBACK

PIPELINE = Path("dvc.yaml")
POINTER = Path(f"{FEEDBACK}.dvc")  # DVC's, which is in git
BOOLEAN = Column(role="feature", type="boolean")


def has_feedback() -> bool:
    """Say whether this commit has feedback. A file that neither DVC nor dvc.yaml names is another commit's."""
    return POINTER.exists() or FEEDBACK.as_posix() in dependencies("ingest")


def read_feedback(contract: Contract) -> pd.DataFrame:
    """Read the feedback, (m, k) in the contract's types; a column that it lacks is missing in every row.

    Raises InputError when the file is missing or damaged.
    """
    if not FEEDBACK.exists():
        raise InputError(f"{FEEDBACK} is missing, which DVC tracks; `uv run dvc pull` brings it.")
    try:
        rows = pd.read_parquet(FEEDBACK)
    except (OSError, ValueError) as error:
        remedy = f"`uv run dvc checkout --force {POINTER}` brings it back"
        raise InputError(f"{FEEDBACK} can't be read: {first_line(error)}; {remedy}.") from None
    return convert_columns(rows.reindex(columns=contract.used), contract.used, contract)


def merge_feedback(known: pd.DataFrame, new: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Add (m, k) new rows to (n, k) known ones, sorted by what identifies a row. Of the same, the new one counts."""
    rows = pd.concat([known, new]) if len(known) else new
    return rows.drop_duplicates(contract.identity, keep="last").sort_values(contract.identity, ignore_index=True)


def add_to_source(rows: pd.DataFrame, feedback: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Put (m, k) typed feedback below (n, j) rows as the source has them; gives them all, (n + at most m, j).

    What the source holds already is left out, compared as it is read from here on: a time format may hold but the day.
    So is what does not keep the contract, which may have changed since. Raises InputError where values do not fit.
    """
    both = {}
    for name, found in rows.items():
        kept = found.astype(pd.array(found[:0].to_numpy()).dtype) if found.dtype.kind in "biu" else found  # may miss
        try:
            new = as_found(feedback[name], contract.columns[str(name)], found) if name in feedback else None
        except (ArithmeticError, ValueError) as error:
            raise InputError(f"{FEEDBACK}: {name} does not fit into the source: {first_line(error)}") from None
        new = pd.Series(None, feedback.index, kept.dtype) if new is None else new
        both[name] = pd.concat([kept, new], ignore_index=True)
    table = pd.DataFrame(both)
    added = table.tail(len(feedback))
    typed, broken = find_violations(added, contract)
    is_lost = (typed.isna().to_numpy() & feedback[typed.columns].notna().to_numpy()).any(axis=1)
    is_known = convert_columns(table, contract.identity, contract).duplicated()[added.index]
    left_out = added.index[is_known | is_lost | added.index.isin(broken["index"])]
    return pd.DataFrame(table.drop(index=left_out)).reset_index(drop=True)


def as_found(values: pd.Series, column: Column, found: pd.Series) -> pd.Series:
    """Write (m,) values of a contract's column as the source's (n,) values are: in their type, or as text.

    What such a type can't hold becomes missing. Raises ValueError or ArithmeticError where it is out of range.
    """
    text = as_text(values, column)
    times = values if column.type == "datetime" else text
    if is_datetime64_any_dtype(found):
        return pd.to_datetime(times, errors="coerce", utc=True).dt.tz_convert(found.dt.tz).astype(found.dtype)
    if is_bool_dtype(found):
        return convert_values(text, BOOLEAN)
    if is_numeric_dtype(found):
        is_number = column.type in ("number", "integer")
        return values if is_number else pd.to_numeric(text, errors="coerce", dtype_backend="numpy_nullable")
    match infer_dtype(found, skipna=True):
        case "date":
            days = pd.to_datetime(times, errors="coerce", format=None if times is values else "ISO8601").dt.date
            return days.astype("object").where(days.notna(), None)
        case "decimal":
            return text.map(Decimal, na_action="ignore")
    return text


def as_text(values: pd.Series, column: Column) -> pd.Series:
    """Write (m,) values of a contract's column as text that `convert_values` reads, times in the column's format."""
    text: pd.Series = values
    match column.type:
        case "datetime" if column.format:
            text = values.dt.tz_localize("UTC").dt.strftime(column.format)
        case "datetime":
            text = values.map(pd.Timestamp.isoformat, na_action="ignore")
        case "boolean":
            text = values.astype("Int64")  # 0 and 1 are read as no and yes, and columns of numbers hold them too
    return text.astype("str").where(values.notna())


def delete_feedback() -> None:
    """Delete the feedback on another table; git and DVC's cache still have it."""
    remove_dependency("ingest", FEEDBACK)
    for path in (FEEDBACK, POINTER):
        path.unlink(missing_ok=True)


def dependencies(stage: str) -> list[str]:
    """List what a stage of dvc.yaml depends on; nothing where there is no such stage."""
    return list(_load(PIPELINE.read_text(encoding="utf-8"), stage)) if PIPELINE.exists() else []


def add_dependency(stage: str, path: Path) -> None:
    """Let a stage of dvc.yaml depend on a file. Raises InputError where the stage has no list to put it into."""
    text, wanted = PIPELINE.read_bytes().decode(), [path.as_posix(), *dependencies(stage)]
    if path.as_posix() in wanted[1:]:
        return
    try:  # in front of the first: in a list on one line, or as a line of its own
        found = _load(text, stage)
        line, column = found.lc.item(0)
        lines = text.split("\n")
        before, rest = lines[line][:column], lines[line][column:]
        end = "\r\n" if rest.endswith("\r") else "\n"
        lines[line] = f"{before}{path.as_posix()}{', ' if found.fa.flow_style() else end + before}{rest}"
        _write("\n".join(lines), stage, wanted)
    except (AttributeError, LookupError, TypeError):
        raise InputError(f"dvc.yaml: add {path.as_posix()} to the deps of the stage {stage}.") from None


def remove_dependency(stage: str, path: Path) -> None:
    """Let a stage of dvc.yaml no longer depend on a file."""
    wanted = [other for other in dependencies(stage) if other != path.as_posix()]
    if wanted != dependencies(stage):
        name = re.escape(path.as_posix())
        text = re.sub(
            rf"^ *- *{name} *(#.*)?\r?\n|{name} *, *|, *{name}", "", PIPELINE.read_bytes().decode(), flags=re.M
        )
        _write(text, stage, wanted)


def _load(text: str, stage: str) -> Any:
    return ((YAML().load(text) or {}).get("stages", {}).get(stage) or {}).get("deps") or []


def _write(text: str, stage: str, wanted: list[str]) -> None:
    """Write dvc.yaml, if the stage now has the wanted dependencies. Raises InputError where it has not."""
    if list(_load(text, stage)) != wanted:
        raise InputError(f"dvc.yaml: the stage {stage} should have the deps {', '.join(wanted)}; write them there.")
    with write_atomically(PIPELINE) as draft:
        draft.write_bytes(text.encode())
