from pathlib import Path

import pandas as pd
import pytest

from modelcycle.core.contract import Column, Contract
from modelcycle.core.errors import InputError
from modelcycle.core.params import Ingest
from modelcycle.monitoring import retrain
from modelcycle.monitoring.retrain import labelled_rows

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


@pytest.fixture
def add_logged(tmp_path, monkeypatch):
    """A folder with a source, and how to let cases be known; DVC is left out."""
    monkeypatch.chdir(tmp_path)
    ran, cases = [], []
    monkeypatch.setattr(retrain, "run", lambda *command: ran.append(command))
    monkeypatch.setattr(retrain, "read_labelled_inputs", lambda log: cases)
    Path("dvc.yaml").write_text("stages:\n  ingest:\n    cmd: x\n    deps: [orders.csv]\n")
    Path("orders.csv").write_text("order;at;price;returned\n1;01.02.2024;5,0;ja\n")

    def add(*known, source="orders.csv"):
        cases[:] = known
        ran.clear()
        return retrain.add_feedback(Ingest(source=source), CONTRACT), [command[:2] for command in ran]

    return add


def test_the_log_becomes_a_file_of_its_own_once(add_logged):
    known = [case(1, "2024-02-01", True), case(2, "2024-02-02", True)]
    added = (2, [("dvc", "add")])
    assert add_logged(*known) == added
    content = Path("data/feedback.parquet").read_bytes()
    assert "deps: [data/feedback.parquet, orders.csv]" in Path("dvc.yaml").read_text()
    assert add_logged(*known) == (0, [])
    assert add_logged(known[1]) == (0, [])  # what the log has given up stays known
    assert add_logged(case(3, "2024-02-01", True), case(2, "2024-02-02", False)) == added
    assert pd.read_parquet("data/feedback.parquet")[["order", "returned"]].to_numpy().tolist() == [
        [1, True],
        [2, False],
        [3, True],
    ]
    assert Path("orders.csv").read_text() == "order;at;price;returned\n1;01.02.2024;5,0;ja\n"
    Path("data/feedback.parquet").unlink()
    Path("dvc.yaml").write_text("stages:\n  ingest:\n    cmd: x\n    deps: [orders.csv]\n")
    assert add_logged(*reversed(known)) == added
    assert Path("data/feedback.parquet").read_bytes() == content  # whatever the order in which it became known


def test_without_known_cases_or_with_a_query_there_is_no_file(add_logged):
    assert add_logged() == (0, [])
    assert add_logged(case(None, "2024-02-01", True)) == (0, [])
    assert add_logged(case(1, "2024-02-01", True), source="orders.sql") == (0, [])
    assert not Path("data").exists()


def test_the_source_is_never_overwritten(add_logged):
    with pytest.raises(InputError, match=r"ingest.source is data/feedback.parquet, which retrain writes; rename"):
        add_logged(case(1, "2024-02-01", True), source="data/feedback.parquet")
