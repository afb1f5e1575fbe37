import sqlite3

import pandas as pd
import pytest

from modelcycle.core.contract import Column, Contract
from modelcycle.core.errors import InputError
from modelcycle.core.params import Ingest
from modelcycle.core.table import read_source
from modelcycle.pipeline.ingest import rows_until


def test_a_csv_file_is_read_with_the_options_of_pandas(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_bytes("Straße;Preis;Menge\nKöln;1.234,5;7\nBonn;;8\n".encode("latin-1"))
    options = {"sep": ";", "decimal": ",", "thousands": ".", "encoding": "latin-1"}
    rows = read_source(Ingest(source=str(path), csv=options))
    assert rows["Preis"].tolist()[0] == "1234.5"
    assert rows["Straße"].tolist() == ["Köln", "Bonn"]
    assert rows["Preis"].isna().tolist() == [False, True]


GERMAN = {"sep": ";", "decimal": ",", "thousands": "."}


def test_only_numbers_lose_their_separators(tmp_path):
    path = tmp_path / "orders.csv"
    lines = ["id;at;price;version;place", "1.000;01.01.2024;1.234,50;1.2;52.520", "7,50;02.01.2024;8,00;1.234;9.99"]
    path.write_text("\n".join(lines))
    rows = read_source(Ingest(source=str(path), csv=GERMAN))
    assert rows["price"].tolist() == ["1234.50", "8.00"]
    assert rows["at"].tolist() == ["01.01.2024", "02.01.2024"]
    assert rows["version"].tolist() == ["1.2", "1.234"]
    assert rows["place"].tolist() == ["52.520", "9.99"]
    columns = {
        "id": Column(role="key", type="text"),
        "at": Column(role="time", type="datetime", format="%d.%m.%Y"),
        "price": Column(role="target", type="number"),
        "version": Column(role="feature", type="number"),
    }
    contract = Contract(description="", columns=columns)
    known = read_source(Ingest(source=str(path), csv=GERMAN), contract)
    assert known["id"].tolist() == ["1.000", "7,50"]
    assert known.drop(columns="id").equals(rows.drop(columns="id"))


def test_parquet_and_a_query_give_the_same_rows(tmp_path, rows, monkeypatch):
    rows.to_parquet(tmp_path / "orders.parquet")
    with sqlite3.connect(tmp_path / "shop.db") as database:
        rows.to_sql("orders", database, index=False)
    (tmp_path / "orders.sql").write_text("select * from orders where note like '%' -- a comment")
    monkeypatch.setenv("SHOP", str(tmp_path / "shop.db"))
    queried = read_source(Ingest(source=str(tmp_path / "orders.sql"), database="sqlite:///$SHOP"))
    assert queried.equals(read_source(Ingest(source=str(tmp_path / "orders.parquet"))))


def test_values_that_not_every_format_has_become_plain(tmp_path):
    rows = pd.DataFrame(
        {
            "lasted": pd.to_timedelta(["90s", None]),
            "size": pd.Categorical(["S", "M"]),
            "tags": [["a"], None],
            " spaced ": [1, 2],
        },
        index=pd.Index([7, 8], name="order"),
    )
    rows.to_parquet(tmp_path / "odd.parquet")
    read = read_source(Ingest(source=str(tmp_path / "odd.parquet")))
    assert list(read) == ["order", "lasted", "size", "tags", "spaced"]
    assert read["lasted"].tolist()[0] == 90
    assert read["lasted"].isna().tolist() == read["tags"].isna().tolist() == [False, True]
    read.to_parquet(tmp_path / "plain.parquet")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("missing.csv", None, "does not exist"),
        ("empty.csv", b"", "can't be read"),
        ("header.csv", b"a,b\n", "holds no row"),
        ("broken.csv", b"a,b\n1,2\n1,2,3\n", "can't be read"),
        ("broken.parquet", b"PAR1", "can't be read"),
        ("latin.csv", "ä,b\n1,2".encode("latin-1"), "can't be read"),
        ("query.sql", b"select 1", "ingest.database is empty"),
    ],
)
def test_a_source_that_can_not_be_read_is_named_with_the_reason(tmp_path, name, content, complaint):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=complaint) as error:
        read_source(Ingest(source=str(tmp_path / name)))
    assert name in str(error.value) or "ingest.database" in str(error.value)


def test_until_takes_the_rows_before_and_keeps_what_has_no_readable_time(rows, contract):
    rows.loc[0, "at"] = "soon"
    taken = rows_until(rows, contract, "2024-03-03")
    assert set(taken["at"]) == {"soon", "01.03.2024", "02.03.2024"}
    assert len(rows_until(rows, contract, "2024-03-03T00:00:00+00:00")) == len(taken)
    with pytest.raises(InputError, match="the first row is of 2024-03-01"):
        rows_until(rows.drop(index=0), contract, "2020-01-01")
