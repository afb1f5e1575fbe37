from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from modelcycle.core.contract import (
    BOOLEAN_WORDS,
    Column,
    Contract,
    convert_columns,
    convert_values,
    extract_target,
    find_violations,
    read_table,
    require_columns,
    require_unique_keys,
    select_rejects,
)
from modelcycle.core.errors import InputError
from modelcycle.versions.questions import make_request_table


def test_rows_that_keep_the_contract_have_no_violation(rows, contract):
    typed, broken = find_violations(rows, contract)
    assert broken.empty
    assert typed["price"].tolist()[:2] == [0.5, 1.5]
    assert typed["at"].iloc[0] == pd.Timestamp("2024-03-01")
    assert "note" not in typed


def test_the_columns_of_a_role_come_in_the_contracts_order(contract):
    assert contract.names("target", "key", "time") == ["order", "at", "returned"]
    assert contract.inputs == ["at", "price", "shop", "gift"]
    assert contract.used == ["order", "at", "price", "shop", "gift", "returned"]
    assert (contract.time, contract.target, contract.identity) == ("at", "returned", ["order"])
    assert contract.is_classification
    columns = {name: column for name, column in contract.columns.items() if name not in ("order", "at", "returned")}
    keyless = Contract(description="", columns=columns | {"sum": Column(role="target", type="number")})
    assert keyless.identity == keyless.inputs == ["price", "shop", "gift"]
    assert keyless.time is None
    assert not keyless.is_classification


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("price", "cheap", "is no number"),
        ("price", "-0.01", "is below 0 EUR"),
        ("price", "100.01", "is above 100 EUR"),
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
    assert value is None or broken["found"].tolist() == [str(float(value)) if rule.endswith(" EUR") else value]


def test_the_ends_of_a_range_belong_to_it(rows, contract):
    rows.loc[:2, "price"] = ["0", "100", "-0.0"]
    typed, broken = find_violations(rows, contract)
    assert broken.empty
    assert not np.signbit(typed["price"][2])  # keys are hashed: 0.0 and -0.0 would be two


def test_a_row_with_several_violations_is_rejected_once_with_all_reasons(rows, contract):
    rows.loc[3, ["price", "gift"]] = ["-1", "perhaps"]
    rows.loc[5, "shop"] = "Bonn"
    rejects = select_rejects(rows, find_violations(rows, contract)[1])
    assert rejects["reason"].to_dict() == {
        3: "gift is no boolean; price is below 0 EUR",
        5: "shop is none of the allowed values",
    }
    assert list(rejects) == ["reason", *rows]
    assert rejects["gift"].tolist() == ["perhaps", "yes"]


def test_a_row_that_repeats_another_is_a_violation_and_a_shared_key_an_error(rows, contract):
    typed, broken = find_violations(pd.concat([rows, rows.tail(1)], ignore_index=True), contract)
    assert broken["index"].tolist() == [60]
    typed.loc[0, ["order", "at"]] = typed.loc[1, ["order", "at"]]
    with pytest.raises(InputError, match="should identify a row"):
        require_unique_keys(typed.head(60), contract)


def test_rows_that_are_equal_once_they_are_read_repeat_each_other(rows, contract):
    again = rows.tail(2).assign(price=["58.50", "5.95e1"], gift="Ja", note="another")
    typed, broken = find_violations(pd.concat([rows, again], ignore_index=True), contract)
    assert broken[["index", "rule"]].to_numpy().tolist() == [
        [60, "repeats an earlier row"],
        [61, "repeats an earlier row"],
    ]
    require_unique_keys(typed.drop(index=broken["index"]), contract)


def test_a_row_that_can_not_be_read_is_repeated_by_none(rows, contract):
    again = rows.tail(1).assign(price=None)
    rows.loc[59, "price"] = "much"
    _, broken = find_violations(pd.concat([rows, again], ignore_index=True), contract)
    assert broken[["index", "rule"]].to_numpy().tolist() == [[59, "is no number"]]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1.0", "2", None], "category", ["1.0", "2", None]),
        ([1.0, 2.0, None], "category", ["1", "2", None]),
        ([1, 0], "boolean", [True, False]),
        (["Ja", " nein "], "boolean", [True, False]),
        ([True, None], "boolean", [True, None]),
        (["2", "maybe"], "boolean", [None, None]),
        (["12345678901234567", None], "integer", [12345678901234567, None]),
        (["9223372036854775807", "9223372036854775808"], "integer", [2**63 - 1, None]),
        ([2.0, 2.5], "integer", [2, None]),
        (["1e3", "-inf", "x"], "number", [1000, None, None]),
        ([1.5, 2.0], "category", ["1.5", "2.0"]),
        (pd.to_datetime(["2024-01-01 12:00+02:00"]), "datetime", ["2024-01-01 10:00"]),
        (["2024-01-01T12:00:00+02:00", "2024-01-01"], "datetime", ["2024-01-01 10:00", "2024-01-01"]),
        (["now", "today", None], "datetime", [None, None, None]),
    ],
)
def test_values_get_the_type_that_the_contract_names(values, kind, expected):
    converted = convert_values(pd.Series(values), Column(role="feature" if kind != "text" else "key", type=kind))
    expected = [value and pd.Timestamp(value) for value in expected] if kind == "datetime" else expected
    assert [None if pd.isna(value) else value for value in converted] == expected


def test_a_date_is_read_in_the_declared_format_and_in_iso_8601_and_in_no_other():
    column = Column(role="feature", type="datetime", format="%d.%m.%Y")
    texts = ["31.12.2024", "2024-12-31T10:00:00+02:00", "2024-12-31", "12/31/2024", "2024", "now", None]
    times = convert_values(pd.Series(texts, index=[0] * len(texts)), column)
    read = [pd.Timestamp(text) for text in ("2024-12-31", "2024-12-31 08:00", "2024-12-31")]
    assert times.head(3).tolist() == read
    assert times.tail(4).isna().all()
    assert times.dtype == "datetime64[us]"


def test_dates_have_weekday_and_hour_where_the_contract_names_no_parts():
    assert Column(role="time", type="datetime").parts == ["weekday", "hour"]
    assert Column(role="time", type="datetime", parts=[]).parts == []
    assert Column(role="feature", type="number").parts is None


def test_yes_and_no_are_read_in_several_languages():
    column = Column(role="feature", type="boolean")
    for pair in BOOLEAN_WORDS:
        assert convert_values(pd.Series([word.upper() for word in pair]), column).tolist() == [True, False], pair


def test_only_the_named_columns_are_converted(rows, contract):
    converted = convert_columns(rows.set_index("order"), ["gift", "price"], contract)
    assert list(converted) == ["gift", "price"]
    assert converted["price"].to_dict()["59"] == 59.5


def test_the_times_of_requests_are_in_iso_format_whatever_the_source_has(contract):
    table = make_request_table([{"at": "2024-03-01T10:00:00", "price": 1.0, "more": 1}], ["at", "price"], contract)
    assert table.to_dict("records") == [{"at": pd.Timestamp("2024-03-01 10:00"), "price": 1.0}]


@pytest.mark.parametrize(
    ("column", "complaint"),
    [
        ({"role": "time", "type": "number"}, "a time column has type datetime"),
        ({"role": "feature", "type": "text"}, "a feature can't be text"),
        ({"role": "feature", "type": "category", "min": 1}, "min and max are for numbers"),
        ({"role": "feature", "type": "number", "min": 2, "max": 1}, "min 2 is above max 1"),
        ({"role": "key", "type": "text", "nullable": True}, "a key column can't be nullable"),
        ({"role": "time", "type": "datetime", "nullable": True}, "a time column can't be nullable"),
        ({"role": "time", "type": "datetime"}, "at most one column with role time, found at, x"),
        ({"role": "feature", "type": "datetime", "format": "%Q"}, "format is %Q, .*; expected one such as %d.%m.%Y"),
        ({"role": "feature", "type": "number", "values": ["a"]}, "values are for categories"),
        ({"role": "feature", "type": "number", "parts": ["year"]}, "parts are for type datetime, not for type number"),
        ({"role": "feature", "type": "datetime", "parts": ["decade"]}, "'year', 'month', .* or 'age'"),
        ({"role": "target", "type": "text"}, "a target has type"),
        ({"role": "target", "type": "number"}, "exactly one column with role target, found returned, x"),
    ],
)
def test_a_contract_that_does_not_hold_together_is_refused(contract, column, complaint):
    columns = contract.model_dump()["columns"] | {"x": column}
    with pytest.raises(ValidationError, match=complaint):
        Contract.model_validate({"description": "", "columns": columns})


def test_an_age_needs_the_time_of_the_row(contract):
    columns = contract.model_dump()["columns"] | {"born": {"role": "feature", "type": "datetime", "parts": ["age"]}}
    Contract.model_validate({"description": "", "columns": columns})
    for changed, name in (
        ({"at": columns["born"] | {"parts": None}}, "born"),
        ({"at": columns["at"] | {"parts": ["age"]}}, "at"),
    ):
        with pytest.raises(ValidationError, match=f"'{name}' has the part age, which is up to the time in another"):
            Contract.model_validate({"description": "", "columns": columns | changed})


def test_what_a_contract_needs_is_missed_and_names_of_answers_are_refused(contract):
    columns = contract.model_dump()["columns"]
    features = {name: column for name, column in columns.items() if column["role"] == "feature"}
    others = {name: column for name, column in columns.items() if name not in features}
    Contract.model_validate({"description": "", "columns": others})  # from the month alone, say
    others["at"] = others["at"] | {"parts": []}
    with pytest.raises(ValidationError, match="at least one column with role feature, or with role time and parts"):
        Contract.model_validate({"description": "", "columns": others})
    for name in ("prediction", "probability_yes"):
        key = {name: columns["order"]}
        with pytest.raises(ValidationError, match=f"'{name}' is what the model's answer is called"):
            Contract.model_validate({"description": "", "columns": columns | key})
    Contract.model_validate({"description": "", "columns": columns | {"prediction": columns["price"]}})  # a feature


def test_a_missing_column_is_named_with_its_role_and_what_there_is(rows, contract):
    with pytest.raises(InputError, match=r"no column 'returned', which contract.yaml names as target. Columns: order"):
        require_columns(rows.drop(columns=["returned", "note"]).columns, contract, "orders.csv")
    with pytest.raises(InputError, match=r"Columns: 0, 1, 2, 3, 4, 5, 6, 7, \.\.\. \(1 more\)\.$"):
        require_columns(pd.Index(range(9)), contract, "orders.csv")
    require_columns(rows.drop(columns="note").columns, contract, "orders.csv")  # it is ignored


def test_a_table_of_an_earlier_step_is_whole_or_named(rows, contract, tmp_path):
    path = tmp_path / "train.parquet"
    with pytest.raises(
        InputError, match=r"train\.parquet is missing; `make reproduce` writes it \(its step is prepare\)"
    ):
        read_table(path, "prepare", contract)
    rows.to_parquet(path)
    assert read_table(path, "prepare", contract).equals(rows)
    assert list(read_table(path, "prepare", contract, ["returned"])) == ["returned"]
    rows.drop(columns="shop").to_parquet(path)
    with pytest.raises(InputError, match=r"train\.parquet has no column 'shop', which contract\.yaml names as feature"):
        read_table(path, "prepare", contract)
    Path(path).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"train\.parquet can't be read: .*; delete it and type `make reproduce`\."):
        read_table(path, "prepare", contract)


def test_keys_that_rows_share_are_counted_with_an_example(rows, contract):
    typed, _ = find_violations(rows, contract)
    typed.loc[:2, ["order", "at"]] = typed.loc[[3], ["order", "at"]].to_numpy()
    with pytest.raises(
        InputError, match=r"order, at should identify a row, but 3 rows repeat another row's, e\.g\. 3 2024"
    ):
        require_unique_keys(typed, contract)
    typed["at"] = pd.date_range("2024-01-01", periods=60)  # a key may occur once at each time
    require_unique_keys(typed, contract)
    columns = {name: column for name, column in contract.columns.items() if name != "order"}
    require_unique_keys(pd.concat([typed, typed]), Contract(description="", columns=columns))  # there is no key


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [("boolean", ["yes", "no"], [True, False]), ("category", ["a", "b"], ["a", "b"]), ("integer", ["1", "2"], [1, 2])],
)
def test_the_target_is_booleans_texts_or_floats(kind, values, expected):
    column = Column(role="target", type=kind)
    contract = Contract(description="", columns={"x": Column(role="feature", type="number"), "y": column})
    target = extract_target(pd.DataFrame({"y": convert_values(pd.Series(values), column)}), contract)
    assert target.tolist() == expected
    assert target.dtype == {"boolean": "bool", "category": "O", "integer": "float64"}[kind]
