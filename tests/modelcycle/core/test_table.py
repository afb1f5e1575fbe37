import sqlite3

import pandas as pd
import pytest

from modelcycle.core.contract import Column, Contract
from modelcycle.core.errors import InputError
from modelcycle.core.params import Ingest
from modelcycle.core.table import read_source


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


@pytest.mark.parametrize(
    ("options", "texts", "numbers"),
    [
        ({"decimal": ","}, ["1,5", "-2,", "+1,5e3", None, "few"], ["1.5", "-2.", "+1.5e3", None, "few"]),
        ({"thousands": ","}, ["1,234", "1,234.5", "999", None, "x,y"], ["1234", "1234.5", "999", None, "x,y"]),
        ({"thousands": ","}, ["1,23", "1,234", "5", None, ""], ["1,23", "1,234", "5", None, None]),
        ({"thousands": ".", "decimal": ","}, ["1.2.2024", "1", "2", None, ","], ["1.2.2024", "1", "2", None, ","]),
        ({}, ["1,5", "2", "3", None, "4"], ["1,5", "2", "3", None, "4"]),
    ],
)
def test_a_column_of_numbers_gets_decimal_points_where_all_are_written_that_way(tmp_path, options, texts, numbers):
    pd.DataFrame({"x": texts}).to_csv(tmp_path / "t.csv", sep=";", index=False, quoting=1)
    read = read_source(Ingest(source=str(tmp_path / "t.csv"), csv={"sep": ";"} | options))["x"]
    assert read.astype(object).where(read.notna(), None).tolist() == numbers


def test_a_word_for_a_missing_value_is_one_where_numbers_or_dates_belong_and_a_value_among_texts(tmp_path):
    path = tmp_path / "shops.csv"
    path.write_text("country,price,at,open\nNA,n/a,NULL,?\nDE,1.5,2024-01-01,yes\nNone,-,NaN,--\n,,,\n")
    kinds = {"country": "category", "price": "number", "at": "datetime", "open": "boolean"}
    columns = {name: Column(role="feature", type=kind) for name, kind in kinds.items()}
    columns["price"].role = "target"
    rows = read_source(Ingest(source=str(path)), Contract(description="", columns=columns))
    assert rows["country"].fillna("missing").tolist() == ["NA", "DE", "None", "missing"]
    for name in ("price", "at", "open"):
        assert rows[name].isna().tolist() == [True, False, True, True], name


def test_words_that_params_yaml_names_are_missing_in_all_columns_or_in_those_it_names(tmp_path):
    path = tmp_path / "shops.csv"
    path.write_text("country,price\nNA,-999\nDE,1\n-999,NA\n")
    everywhere = read_source(Ingest(source=str(path), csv={"na_values": ["NA", -999]}))
    assert everywhere.isna().to_numpy().tolist() == [[True, True], [False, False], [True, True]]
    in_one = read_source(Ingest(source=str(path), csv={"na_values": {"price": ["NA", -999]}}))
    assert in_one.isna().to_numpy().tolist() == [[False, True], [False, False], [False, True]]


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\r\n', ""])
def test_the_line_with_the_separator_that_excel_writes_is_no_row(tmp_path, start, line):
    path = tmp_path / "export.csv"
    path.write_text(f"{start}{line}a;b\n1;x\n2;y\n", newline="")
    options = {} if line else {"sep": ";"}
    rows = read_source(Ingest(source=str(path), csv={"encoding": "utf-8-sig"} | options))
    assert rows.to_dict("list") == {"a": ["1", "2"], "b": ["x", "y"]}


def test_a_sheet_of_an_excel_file_is_read_with_its_types(tmp_path):
    days = pd.to_datetime(["2024-01-31"] * 3)
    table = pd.DataFrame({"country": ["NA", "DE", None], "price": [1.5, None, 3], "at": days})
    with pd.ExcelWriter(tmp_path / "book.xlsx") as book:
        pd.DataFrame({"about": ["read me"]}).to_excel(book, sheet_name="notes", index=False)
        table.to_excel(book, sheet_name="sales", index=False)
    rows = read_source(Ingest(source=str(tmp_path / "book.xlsx"), csv={"sheet_name": "sales"}))
    assert rows["country"].fillna("missing").tolist() == ["NA", "DE", "missing"]
    assert rows["price"].fillna(0).tolist() == [1.5, 0, 3]
    assert rows["at"].tolist() == [pd.Timestamp("2024-01-31")] * 3
    assert list(read_source(Ingest(source=str(tmp_path / "book.xlsx")))) == ["about"]


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
    assert read["tags"].tolist()[0] == "['a']"
    read.to_parquet(tmp_path / "plain.parquet")


def test_every_column_has_a_name_of_its_own(tmp_path):
    (tmp_path / "twice.csv").write_text("a ,a,b\n1,2,3\n")
    with pytest.raises(InputError, match=r"twice\.csv has more than one column 'a'; expected a name for each\."):
        read_source(Ingest(source=str(tmp_path / "twice.csv")))
    pd.DataFrame([[1, 2]], columns=[7, 8]).to_parquet(tmp_path / "numbered.parquet")
    assert list(read_source(Ingest(source=str(tmp_path / "numbered.parquet")))) == ["7", "8"]


def test_a_file_that_dvc_tracks_can_be_pulled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        read_source(Ingest(source="data.csv"))
    assert str(error.value) == "params.yaml: ingest.source is data.csv, which does not exist; expected a file."
    (tmp_path / "data.csv.dvc").touch()
    with pytest.raises(InputError, match=r"expected a file\. If DVC tracks it, run `uv run dvc pull`\.$"):
        read_source(Ingest(source="data.csv"))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("missing.csv", None, "does not exist"),
        ("empty.csv", b"", "can't be read"),
        ("header.csv", b"a,b\n", "holds no row"),
        ("broken.csv", b"a,b\n1,2\n1,2,3\n", "can't be read"),
        ("surplus.csv", b"a,b\n007,2,3\n1,2,3\n", "has rows with more fields than its header has names"),
        ("surplus.csv", b"a,b\n1,2,3,4\n1,2,3,4\n", "has rows with more fields"),
        ("surplus.csv", b"a,b\n1,2,3\n1,2\n", "has rows with more fields"),
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


@pytest.mark.parametrize("content", ["a;b\n007;2;\n1;;\n", "a;b;\n007;2;\n1;;\n"])
def test_an_empty_field_at_the_end_of_each_row_does_no_harm(tmp_path, content):
    (tmp_path / "rows.csv").write_text(content)
    rows = read_source(Ingest(source=str(tmp_path / "rows.csv"), csv={"sep": ";"}))
    assert rows["a"].tolist() == ["007", "1"]
    assert rows["b"].fillna("missing").tolist() == ["2", "missing"]
