from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from modelcycle.core.contract import Column, Contract, convert_values
from modelcycle.core.errors import InputError
from modelcycle.core.params import Ingest
from modelcycle.pipeline.ingest import read_rows
from modelcycle.tracking.feedback import add_to_source, as_text, has_feedback, merge_feedback

COLUMNS = {
    "order": Column(role="key", type="text"),
    "at": Column(role="time", type="datetime", format="%d.%m.%Y"),
    "price": Column(role="feature", type="number", nullable=True),
    "note": Column(role="ignored", type="text", nullable=True),
    "returned": Column(role="target", type="boolean"),
}
CONTRACT = Contract(description="Orders.", columns=COLUMNS)
SOURCE = pd.DataFrame(
    {"order": ["1"], "at": ["01.02.2024"], "price": ["5,0"], "note": ["-"], "returned": ["ja"]}, dtype="str"
)


def feedback(*rows):
    table = pd.DataFrame(rows, columns=["order", "at", "price", "returned"])
    table["at"] = pd.to_datetime(table["at"], format="ISO8601")
    return pd.DataFrame({name: convert_values(table[name], COLUMNS[name]) for name in table})


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (Column(role="feature", type="number"), [*np.random.default_rng(0).normal(size=1000), 1e300, -0.0, None]),
        (Column(role="feature", type="integer"), [2**62 + 1, -7, None]),
        (Column(role="feature", type="boolean"), [True, False, None]),
        (Column(role="feature", type="category"), ["007", "NA", " A", "Köln;\"'\n", None]),
        (Column(role="feature", type="datetime"), ["2024-02-29T23:59:59.000001", "1900-01-01", None]),
        (Column(role="feature", type="datetime", format="%d.%m.%y %H:%M:%S.%f"), ["2024-02-29T23:59:59.25", None]),
        (Column(role="feature", type="datetime", format="%Y-%m-%d %H:%M:%S %z"), ["2024-02-29T23:59:59", None]),
    ],
)
def test_values_written_as_text_are_read_as_the_same(column, values):
    iso = Column(role="feature", type=column.type)
    typed = convert_values(pd.Series(values, dtype="object"), iso)
    text = as_text(typed, column)
    assert text.dtype == "str"
    pd.testing.assert_series_equal(convert_values(text, column), typed)


NUMBER, INTEGER = Column(role="feature", type="number"), Column(role="feature", type="integer")
BOOLEAN, CATEGORY = Column(role="feature", type="boolean"), Column(role="feature", type="category")
TIME, DAY = Column(role="feature", type="datetime"), Column(role="feature", type="datetime", format="%Y%m%d")


@pytest.mark.parametrize(
    ("column", "found", "value", "stored"),
    [
        (NUMBER, pd.Series([1.5]), 2.5, "double"),
        (NUMBER, pd.Series([1, 2]), 2.5, "double"),
        (NUMBER, pd.Series([Decimal("1.50")]), 2.25, "decimal128(3, 2)"),
        (INTEGER, pd.Series([2**62 + 1]), 2**62 + 3, "int64"),
        (INTEGER, pd.Series([1.0, None]), 3, "double"),
        (BOOLEAN, pd.Series([True]), False, "bool"),
        (BOOLEAN, pd.Series([0, 1]), True, "int64"),
        (BOOLEAN, pd.Series(["ja"], dtype="str"), False, "large_string"),
        (CATEGORY, pd.Series([1, 2]), "7", "int64"),
        (CATEGORY, pd.Series([True]), "False", "bool"),
        (TIME, pd.Series(pd.to_datetime(["2024-01-01"])).astype("datetime64[ns]"), "2024-02-01T10:00", "timestamp[ns]"),
        (
            TIME,
            pd.Series(pd.to_datetime(["2024-01-01"])).dt.tz_localize("Europe/Berlin"),
            "2024-02-01T10:00",
            "timestamp[us, tz=Europe/Berlin]",
        ),
        (TIME, pd.Series([date(2024, 1, 1)]), "2024-02-01", "date32[day]"),
        (DAY, pd.Series([20240101]), "2024-02-01", "int64"),
    ],
)
def test_values_have_the_type_of_the_source_and_are_read_as_the_same(tmp_path, column, found, value, stored):
    typed = convert_values(pd.Series([value, None], dtype="object"), Column(role="feature", type=column.type))
    columns = {"key": Column(role="key", type="integer"), "x": column.model_copy(update={"nullable": True})}
    contract = Contract(description="", columns=columns | {"y": Column(role="target", type="boolean")})
    source = pd.DataFrame({"key": range(len(found)), "x": found, "y": "no"})
    rows = add_to_source(source, pd.DataFrame({"key": [8, 9], "x": typed, "y": True}), contract)
    rows.to_parquet(tmp_path / "raw.parquet", index=False)
    assert str(pq.read_schema(tmp_path / "raw.parquet").field("x").type) == stored
    again = convert_values(pd.read_parquet(tmp_path / "raw.parquet")["x"], column)
    expected = pd.concat([convert_values(found, column), typed], ignore_index=True)
    pd.testing.assert_series_equal(again, expected, check_names=False)


def test_the_source_wins_and_its_rows_stay_as_they_are():
    rows = add_to_source(
        SOURCE, feedback(("1", "2024-02-01", 9, False), ("2", "2024-02-02T10:00", None, True)), CONTRACT
    )
    assert rows[:1].equals(SOURCE)
    assert rows[1:].to_numpy(object, na_value=None).tolist() == [["2", "02.02.2024", None, None, "1"]]


def test_rows_that_are_the_same_as_they_are_read_count_once():
    columns = COLUMNS | {"order": Column(role="ignored", type="text", nullable=True)}
    contract = Contract(description="Orders without a key.", columns=columns)
    seconds = feedback(*[("1", f"2024-02-03 10:00:0{second}", 5.0, True) for second in range(3)])
    assert (
        len(add_to_source(SOURCE, seconds.drop(columns="order"), contract)) == 2
    )  # in the source there is but the day
    keys = feedback(*[(key, "2024-02-01", 5.0, True) for key in ("1.234", "1,5", " A", "A", "NA", "1")])
    assert add_to_source(SOURCE, keys, CONTRACT)["order"].tolist() == ["1", "1.234", "1,5", " A", "A", "NA"]


def test_rows_that_do_not_keep_the_present_contract_are_left_out():
    columns = COLUMNS | {"price": Column(role="feature", type="number", max=10, nullable=True)}
    contract = Contract(description="Orders.", columns=columns)
    rows = feedback(("2", "2024-02-01", 11, True), ("3", "2024-02-01", 9, True), ("4", "2024-02-01", None, None))
    assert add_to_source(SOURCE, rows, contract)["order"].tolist() == ["1", "3"]


def test_what_the_source_can_not_hold_is_left_out_or_named():
    typed = SOURCE.assign(order=[7], returned=[True])
    rows = feedback(("8", "2024-02-01", 5.0, True), ("A", "2024-02-01", 5.0, True))
    assert add_to_source(typed, rows, CONTRACT)["order"].tolist() == [7, 8]
    nanoseconds = SOURCE.assign(at=pd.to_datetime(["2024-02-01"]).astype("datetime64[ns]"))
    with pytest.raises(InputError, match=r"data/feedback\.parquet: at does not fit into the source: "):
        add_to_source(nanoseconds, feedback(("8", "3024-02-01", 5.0, True)), CONTRACT)


def test_of_the_same_rows_the_new_one_counts_and_the_order_is_always_the_same():
    known, new = (
        feedback(("2", "2024-02-01", 5, True)),
        feedback(("3", "2024-02-01", 5, True), ("2", "2024-02-01", 5, False)),
    )
    rows = merge_feedback(known, new, CONTRACT)
    assert rows[["order", "returned"]].to_numpy().tolist() == [["2", False], ["3", True]]
    assert merge_feedback(rows, new[::-1], CONTRACT).equals(rows)
    assert merge_feedback(known[:0], new, CONTRACT).equals(rows)


def test_feedback_is_read_where_the_commit_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    SOURCE.to_csv("orders.csv", index=False)
    ingest = Ingest(source="orders.csv", csv={"decimal": ","})
    feedback(("2", "2024-02-02", 5.5, True)).to_parquet("data/feedback.parquet")
    assert not has_feedback()  # another branch's, for which there is no pointer here
    assert read_rows(ingest, CONTRACT)[1] == 0
    Path("data/feedback.parquet.dvc").touch()
    rows, added, _ = read_rows(ingest, CONTRACT)
    assert rows["price"].tolist() == ["5.0", "5.5"]
    assert added == 1
    Path("data/feedback.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"can't be read: .*`uv run dvc checkout --force data/feedback.parquet.dvc`"):
        read_rows(ingest, CONTRACT)
    Path("data/feedback.parquet").unlink()
    with pytest.raises(InputError, match="is missing, which DVC tracks; `uv run dvc pull` brings it"):
        read_rows(ingest, CONTRACT)
    Path("data/feedback.parquet.dvc").unlink()
    Path("dvc.yaml").write_text("stages:\n  ingest:\n    cmd: x\n    deps: [data/feedback.parquet]\n")
    with pytest.raises(InputError, match="is missing, which DVC tracks"):
        read_rows(ingest, CONTRACT)
