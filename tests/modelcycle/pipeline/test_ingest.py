import pandas as pd
import pytest

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.pipeline.ingest import rows_until


def test_until_takes_the_rows_before_and_keeps_what_has_no_readable_time(rows, contract):
    rows.loc[0, "at"] = "soon"
    taken = rows_until(rows, contract, "2024-03-03")
    assert set(taken["at"]) == {"soon", "01.03.2024", "02.03.2024"}
    assert len(rows_until(rows, contract, "2024-03-03T00:00:00+00:00")) == len(taken)
    with pytest.raises(InputError, match="the first row is of 2024-03-01"):
        rows_until(rows.drop(index=0), contract, "2020-01-01")


def test_until_needs_a_time_and_without_it_all_rows_are_taken(rows, contract):
    assert rows_until(rows, contract, None) is rows
    columns = {name: column for name, column in contract.columns.items() if name != "at"}
    with pytest.raises(InputError, match=r"ingest\.until is set, but no column of contract\.yaml has the role time"):
        rows_until(rows, Contract(description="", columns=columns), pd.Timestamp("2024-03-03"))
