import pandas as pd
import pytest

from modelcycle.adopt.infer import infer_column, infer_contract
from modelcycle.core.contract import Column, Contract, find_violations
from modelcycle.core.errors import InputError


@pytest.mark.parametrize(
    ("values", "kind", "role"),
    [
        (["1", "2", "2"], "integer", "feature"),
        (["1.5", "2", None], "number", "feature"),
        (["yes", "no", "no"], "boolean", "feature"),
        (["Ja", "Nein", None], "boolean", "feature"),
        (["red", "green", "red"], "category", "feature"),
        (["31.01.2024", "01.02.2024", "01.02.2024"], "datetime", "feature"),
        (["2024-01-31T10:00", "2024-02-01T11:30", "2024-02-02T00:00"], "datetime", "feature"),
        (["same", "same", "same"], "text", "ignored"),
        ([None, None, None], "text", "ignored"),
        ([str(i) for i in range(50)], "text", "ignored"),
        ([f"comment {i}" for i in range(50)], "text", "ignored"),
    ],
)
def test_a_column_is_what_its_values_say(values, kind, role):
    column = infer_column(pd.Series(values, name="x"))
    assert (column.type, column.role) == (kind, role)
    assert role == "feature" or column.reason
    assert column.nullable == (role == "ignored" or None in values)


def test_ranges_are_wider_than_the_sample_but_do_not_cross_zero():
    column = infer_column(pd.Series(["10", "20", "30"]))
    assert (column.min, column.max) == (0, 40)
    assert infer_column(pd.Series(["-10", "10", "3"])).min == -20


@pytest.mark.parametrize(
    "values",
    [
        [52.5101, 52.5207, 52.5312],  # a range that is small beside its values
        [100400, 100439, 100420],
        [2**53 + 1, 2**53 + 8, 2**53 + 30],
        [str(2**64 + 7 * i) for i in range(9)],
        [1e-9, 3e-9, 2e-9],
        [1.5, float("inf"), 2.5],
    ],
)
def test_a_column_keeps_the_contract_that_was_inferred_from_it(values):
    rows = pd.DataFrame({"x": values, "y": [True, False, True] * (len(values) // 3)})
    columns = {"x": infer_column(rows["x"]), "y": Column(role="target", type="boolean")}
    broken = find_violations(rows, Contract(description="", columns=columns))[1]
    assert broken["found"].tolist() == (["inf"] if float("inf") in values else [])


def test_a_column_that_tells_the_target_is_ignored_with_the_reason():
    rows = pd.DataFrame({"x": ["1", "2", "3", "4", "5"] * 18, "y": ["yes", "no", "no"] * 30})
    rows["paid_back"] = rows["y"].map({"yes": "1", "no": "0"})
    contract = infer_contract(rows, "loans.csv", "y", [], None)
    assert contract.columns["paid_back"].role == "ignored"
    assert "tells y all by itself" in contract.columns["paid_back"].reason
    assert contract.columns["x"].role == "feature"


@pytest.mark.parametrize(
    ("target", "key", "time", "complaint"),
    [
        ("z", [], None, "has no column 'z'. Columns: x, y"),
        ("y", ["y"], None, "named for two roles"),
        ("y", [], "x", "holds no readable dates, e.g. 0"),
        ("constant", [], None, "has 1 values; expected numbers or 2 to 100 classes"),
    ],
)
def test_a_wrong_name_is_answered_with_what_there_is(target, key, time, complaint):
    rows = pd.DataFrame({"x": [str(i % 7) for i in range(90)], "y": ["a", "b", "c"] * 30, "constant": ["1"] * 90})
    with pytest.raises(InputError, match=complaint):
        infer_contract(rows, "table.csv", target, key, time)
