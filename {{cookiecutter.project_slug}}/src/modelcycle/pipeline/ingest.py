"""Read the source, and the feedback, into data/raw.parquet."""

from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from modelcycle.core.contract import Contract, convert_values, read_contract, require_columns
from modelcycle.core.errors import InputError
from modelcycle.core.output import report_line, write_atomically
from modelcycle.core.params import Ingest, read_params
from modelcycle.core.paths import FEEDBACK, RAW
from modelcycle.core.table import read_source

HOW_TO_ADD = "docs/crisp-dm/2_data_understanding.md"


def read_rows(ingest: Ingest, contract: Contract) -> tuple[pd.DataFrame, int, list[str]]:
    """Read the contract's columns of the source, with the feedback below it.

    Returns (n, m) rows, how many of them are feedback, and the columns of the source that the contract does not know.
    Raises InputError when one of the two can't be read, or when the source lacks a column.
    """
    rows = read_source(ingest, contract)
    require_columns(rows.columns, contract, ingest.source)
    unknown = [str(name) for name in rows if name not in contract.columns]
    rows = rows[[name for name in contract.columns if name in rows]]
    if not find_spec("modelcycle.tracking.feedback"):  # the scope exploration has none
        if Path(f"{FEEDBACK}.dvc").exists():
            raise InputError(f"{FEEDBACK} is read by the scope product alone: type `make update SET=scope=product`.")
        return rows, 0, unknown
    from modelcycle.tracking.feedback import add_to_source, has_feedback, read_feedback

    if not has_feedback():
        return rows, 0, unknown
    both = add_to_source(rows, read_feedback(contract), contract)
    return both, len(both) - len(rows), unknown


def rows_until(rows: pd.DataFrame, contract: Contract, until: date | None) -> pd.DataFrame:
    """Keep the rows before `until`; a row whose time can't be read stays, for `prepare` to reject."""
    if until is None:
        return rows
    if contract.time is None:
        raise InputError("params.yaml: ingest.until is set, but no column of contract.yaml has the role time.")
    times = convert_values(rows[contract.time], contract.columns[contract.time])
    kept = rows[~(times >= pd.to_datetime(until, utc=True).tz_localize(None))]
    if kept.empty:
        raise InputError(f"params.yaml: ingest.until is {until}, but the first row is of {times.min()}.")
    return kept.reset_index(drop=True)


def ingest() -> None:
    """Read the source that params.yaml names, and the feedback, and write data/raw.parquet."""
    contract, params = read_contract(), read_params().ingest
    rows, from_feedback, unknown = read_rows(params, contract)
    taken = rows_until(rows, contract, params.until)
    with write_atomically(RAW) as draft:
        taken.to_parquet(draft, index=False)
    report_line("ingest", f"{len(taken):,} rows of {len(rows):,}, {len(taken.columns)} columns", RAW)
    if from_feedback:
        report_line("", f"{from_feedback:,} of these rows are feedback that the source does not hold", FEEDBACK)
    if unknown:
        report_line("", f"not used, since contract.yaml does not know them: {', '.join(unknown)}", HOW_TO_ADD)
