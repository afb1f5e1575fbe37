import pandas as pd
import pytest

from modelcycle.core.contract import Column, Contract
from modelcycle.core.errors import InputError
from modelcycle.core.params import Ingest
from modelcycle.monitoring.retrain import append, labelled_rows, not_in

COLUMNS = {
    "order": Column(role="key", type="integer"),
    "at": Column(role="time", type="datetime", format="%d.%m.%Y"),
    "price": Column(role="feature", type="number"),
    "returned": Column(role="target", type="boolean"),
}
CONTRACT = Contract(description="Orders.", columns=COLUMNS)


def case(order, at, outcome):
    return {"inputs": {"order": order, "at": at, "price": 5.0}, "outcome": outcome}


def test_logged_times_are_read_whatever_form_the_source_has():
    cases = [case(1, "2024-02-01 10:00:00", True), case(2, "2024-02-03 00:00:00.250000", False)]
    rows = labelled_rows(cases, CONTRACT)
    assert rows["at"].tolist() == [pd.Timestamp("2024-02-01 10:00"), pd.Timestamp("2024-02-03 00:00:00.25")]
    assert rows["returned"].tolist() == [True, False]


def test_the_latest_outcome_counts_and_a_case_without_a_key_does_not():
    cases = [case(1, "2024-02-01", True), case(None, "2024-02-01", True), case(1, "2024-02-01", False)]
    rows = labelled_rows(cases, CONTRACT)
    assert rows[["order", "returned"]].to_numpy().tolist() == [[1, False]]


def source_of(path):
    path.write_text("order;at;price;returned\n1;01.02.2024;5,0;ja\n", encoding="cp1252")
    return Ingest(source=str(path), csv={"sep": ";", "decimal": ",", "thousands": ".", "encoding": "cp1252"})


def test_what_the_source_holds_already_is_not_new(tmp_path):
    rows = labelled_rows([case(1, "2024-02-01", True), case(2, "2024-02-01", True)], CONTRACT)
    assert not_in(rows, source_of(tmp_path / "orders.csv"), CONTRACT)["order"].tolist() == [2]


def test_what_is_written_with_less_than_was_logged_is_new_only_once(tmp_path):
    columns = COLUMNS | {"order": Column(role="ignored", type="text", nullable=True)}
    contract = Contract(description="Orders without a key.", columns=columns)
    cases = [case(1, f"2024-02-03 10:00:0{second}", True) for second in range(3)]
    ingest, rows = source_of(tmp_path / "orders.csv"), labelled_rows(cases, contract)
    new = not_in(rows, ingest, contract)
    assert len(new) == 1  # in the source there is but the day
    append(new, tmp_path / "orders.csv", ingest.csv, contract)
    assert (tmp_path / "orders.csv").read_text().endswith(";03.02.2024;5,0;True\n")
    assert not_in(rows, ingest, contract).empty


def test_rows_end_as_the_others_do(tmp_path):
    ingest = source_of(path := tmp_path / "orders.csv")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").rstrip())
    append(labelled_rows([case(2, "2024-02-01", True)], CONTRACT), path, ingest.csv, CONTRACT)
    assert path.read_bytes().endswith(b";ja\r\n2;01.02.2024;5,0;True\r\n")


def test_a_key_is_told_from_another_as_the_source_will_be_read(tmp_path):
    contract = Contract(description="", columns=COLUMNS | {"order": Column(role="key", type="text")})
    ingest = source_of(tmp_path / "orders.csv")
    rows = labelled_rows([case(key, "2024-02-01", True) for key in ("1.234", "1,5", " A", "A", "NA", "1")], contract)
    new = not_in(rows, ingest, contract)
    assert new["order"].tolist() == ["1.234", "1,5", " A"]
    append(new, tmp_path / "orders.csv", ingest.csv, contract)
    assert not_in(rows, ingest, contract).empty
    strange = labelled_rows([case("Łódź", "2024-02-01", True)], contract)
    with pytest.raises(InputError, match="is written in cp1252, which has no 'Ł'"):
        append(strange, tmp_path / "orders.csv", ingest.csv, contract)
