import pandas as pd

from {{ cookiecutter.package_name }}.contract import Column, Contract
from {{ cookiecutter.package_name }}.retrain import labelled_rows, not_in

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


def test_what_the_source_holds_already_is_not_new():
    rows = labelled_rows([case(1, "2024-02-01", True), case(2, "2024-02-01", True)], CONTRACT)
    source = rows.head(1)[["order"]].astype("str")
    assert not_in(rows, source, CONTRACT)["order"].tolist() == [2]
