import pandas as pd
import pytest
from pydantic import ValidationError

from modelcycle.core.contract import (
    Column,
    Contract,
    convert_values,
    find_violations,
    require_columns,
    require_unique_keys,
)
from modelcycle.core.errors import InputError


def test_rows_that_keep_the_contract_have_no_violation(rows, contract):
    typed, broken = find_violations(rows, contract)
    assert broken.empty
    assert typed["price"].tolist()[:2] == [0.5, 1.5]
    assert typed["at"].iloc[0] == pd.Timestamp("2024-03-01")
    assert "note" not in typed


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("price", "cheap", "is no number"),
        ("price", "-1", "is below 0 EUR"),
        ("price", "1000", "is above 100 EUR"),
        ("price", "inf", "is no number"),
        ("shop", "Bonn", "is none of the allowed values"),
        ("shop", None, "is missing"),
        ("gift", "perhaps", "is no boolean"),
        ("at", "31.02.2024", "is no datetime"),
        ("order", "1.5", "is no integer"),
    ],
)
def test_a_value_that_breaks_the_contract_is_named_with_its_rule(rows, contract, column, value, rule):
    rows.loc[3, column] = value
    _, broken = find_violations(rows, contract)
    assert broken[["index", "column", "rule"]].to_numpy().tolist() == [[3, column, rule]]


def test_a_row_that_repeats_another_is_a_violation_and_a_shared_key_an_error(rows, contract):
    typed, broken = find_violations(pd.concat([rows, rows.tail(1)], ignore_index=True), contract)
    assert broken["index"].tolist() == [60]
    typed.loc[0, ["order", "at"]] = typed.loc[1, ["order", "at"]]
    with pytest.raises(InputError, match="should identify a row"):
        require_unique_keys(typed.head(60), contract)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1.0", "2", None], "category", ["1.0", "2", None]),
        ([1.0, 2.0, None], "category", ["1", "2", None]),
        ([1, 0], "boolean", [True, False]),
        (["Ja", " nein "], "boolean", [True, False]),
        (["12345678901234567", None], "integer", [12345678901234567, None]),
        (["2024-01-01T12:00:00+02:00", "2024-01-01"], "datetime", ["2024-01-01 10:00", "2024-01-01"]),
    ],
)
def test_values_get_the_type_that_the_contract_names(values, kind, expected):
    converted = convert_values(pd.Series(values), Column(role="feature" if kind != "text" else "key", type=kind))
    expected = [pd.Timestamp(value) for value in expected] if kind == "datetime" else expected
    assert [None if pd.isna(value) else value for value in converted] == expected


@pytest.mark.parametrize(
    ("column", "complaint"),
    [
        ({"role": "time", "type": "number"}, "a time column has type datetime"),
        ({"role": "feature", "type": "text"}, "a feature can't be text"),
        ({"role": "feature", "type": "category", "min": 1}, "min and max are for numbers"),
        ({"role": "feature", "type": "number", "min": 2, "max": 1}, "min 2 is above max 1"),
        ({"role": "key", "type": "text", "nullable": True}, "can't be nullable"),
        ({"role": "feature", "type": "number", "values": ["a"]}, "values are for categories"),
        ({"role": "target", "type": "text"}, "a target has type"),
        ({"role": "target", "type": "number"}, "exactly one column with role target, found returned, x"),
    ],
)
def test_a_contract_that_does_not_hold_together_is_refused(contract, column, complaint):
    columns = contract.model_dump()["columns"] | {"x": column}
    with pytest.raises(ValidationError, match=complaint):
        Contract.model_validate({"description": "", "columns": columns})


def test_a_missing_column_is_named_with_its_role_and_what_there_is(rows, contract):
    with pytest.raises(InputError, match=r"no column 'returned', which contract.yaml names as target. Columns: order"):
        require_columns(rows.drop(columns=["returned", "note"]).columns, contract, "orders.csv")
