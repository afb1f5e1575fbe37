import numpy as np
import pandas as pd
import pytest

from modelcycle.adopt.infer import (
    Wishes,
    describe_doubts,
    describe_sample,
    find_left_out_parts,
    infer_column,
    infer_contract,
    infer_date_format,
    infer_parts,
    infer_target,
)
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


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["10", "20", "980"], "10 to 980"),
        (["0.1", "52.5101", None], "0.1 to 52.5101"),
        ([2**53 + 1, 2**53 + 30, 2**53 + 8], f"{2**53 + 1} to {2**53 + 30}"),
        (["31.01.2024", "01.02.2024"], "2024-01-31 00:00:00 to 2024-02-01 00:00:00"),
        (["NO", "DE", "DE"], "['DE', 'NO']"),
        (["a\nb: #", "\x85", "Köln"], r"['Köln', 'a\nb: #', '\x85']"),
        ([f"t{i % 12:02}" for i in range(60)], f"{[f't{i:02}' for i in range(10)]} and 2 more"),
    ],
)
def test_what_the_sample_held_is_told_and_is_no_rule(values, text):
    values = pd.Series(values)
    column = infer_column(values)
    assert column.min is column.max is column.values is None
    assert describe_sample(values, column) == f"the sample: {text}"


def test_of_booleans_and_texts_there_is_nothing_to_tell():
    assert describe_sample(pd.Series(["yes", "no"]), Column(role="feature", type="boolean")) == ""
    assert describe_sample(pd.Series(["x"]), Column(role="ignored", type="text")) == ""
    assert describe_sample(pd.Series([None]), Column(role="feature", type="number")) == ""


SEASONS = ["year", "month", "day_of_year"]


@pytest.mark.parametrize(
    ("days", "parts", "left_out"),
    [
        (730, [*SEASONS, "weekday"], {}),
        (729, ["weekday"], {"the data spans 729 days": SEASONS}),
        (28, ["weekday"], {"the data spans 28 days": SEASONS}),
        (27, [], {"the data spans 27 days": [*SEASONS, "weekday"]}),
    ],
)
@pytest.mark.parametrize("has_row_time", [True, False])
def test_a_date_has_the_parts_that_the_data_can_teach_something_about(days, parts, left_out, has_row_time):
    dates = pd.Series(["2022-03-01", None, str(pd.Timestamp("2022-03-01") + pd.Timedelta(days=days))])
    column = infer_column(dates)
    no_hour = {"the time of day is always the same": ["hour"]}
    no_age = {} if has_row_time else {"no other column has the role time": ["age"]}
    assert find_left_out_parts(dates, column, has_row_time) == left_out | no_hour | no_age
    found = infer_parts(dates, column, has_row_time)
    assert found.parts == ([*parts, "age"] if has_row_time else parts or None)
    assert found.role == ("feature" if found.parts else "ignored")
    dates[2] = dates[2].replace("00:00", "07:30")
    assert find_left_out_parts(dates, column, has_row_time) == left_out | no_age


def test_only_a_date_beside_the_row_s_time_has_an_age():
    days = pd.date_range("2024-01-01", periods=90).strftime("%d.%m.%Y")
    rows = pd.DataFrame({"at": days, "born": days[::-1], "x": [i % 7 for i in range(90)], "y": [1.5, 2, 3] * 30})
    columns = infer_contract(rows, "t.csv", Wishes("y", time="at"))[0].columns
    assert (columns["at"].parts, columns["born"].parts) == (["weekday"], ["weekday", "age"])
    assert infer_contract(rows, "t.csv", Wishes("y"))[0].columns["born"].parts == ["weekday"]


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        (range(21), "x", "is different in every row, like an identifier"),
        (range(20), "x", ""),
        (range(0, 42, 2), "x", ""),
        (range(0, 42, 2), "order no", "is different in every row, like an identifier"),
        (range(0, 42, 2), "Kunden-Nr", "is different in every row, like an identifier"),
        (range(0, 42, 2), "valid", ""),
        ([*range(0, 42, 2), 0], "id", ""),
        ([i + 0.5 for i in range(21)], "x", ""),
        ([f"t{i % 21}" for i in range(41)], "x", "is different in nearly every row, like an identifier or free text"),
        ([f"t{i % 21}" for i in range(42)], "x", ""),
        ([f"t{i}" for i in range(20)], "x", ""),
        (["a", "a", None], "x", "is always a"),
        ([None, None], "x", "is always empty"),
    ],
)
def test_what_tells_rows_apart_or_nothing_is_ignored_with_the_reason(values, name, reason):
    column = infer_column(pd.Series(list(values), name=name))
    assert column.reason == reason
    assert (column.role, column.type == "text") == (("ignored", True) if reason else ("feature", False))


@pytest.mark.parametrize("unit", ["{:,} €", "€ {}", "${:,}.50", "{} %", "-{}%", "{} kg"])
def test_numbers_with_a_unit_are_text_and_that_is_told(unit):
    many = pd.Series([unit.format(1000 + i) for i in range(60)])
    assert infer_column(many).reason == f"holds numbers with a unit, such as {many[0]}: leave out the unit to use them"
    few = pd.Series([unit.format(1000 + i % 5) for i in range(60)])
    (told,) = describe_doubts(few, infer_column(few))
    assert told == f"holds numbers with a unit, such as {few[0]}, which stay text: leave it out to use them"


def test_codes_have_no_unit():
    for code in ("t{}", "{}a", "A-{}", "{}/7"):
        few = pd.Series([code.format(i % 5) for i in range(60)])
        assert describe_doubts(few, infer_column(few)) == []


@pytest.mark.parametrize(
    ("dates", "date_format"),
    [
        (["31.01.2024", "01.02.2024"], "%d.%m.%Y"),
        (["31/01/2024", "01/02/2024"], "%d/%m/%Y"),
        (["01/31/2024", "02/01/2024"], "%m/%d/%Y"),
        (["2024/01/31 07:30", "2024/02/01 12:00"], ""),
        (["31-01-2024 07:30:59"], "%d-%m-%Y %H:%M:%S"),
        (["31 Jan 2024"], "%d %b %Y"),
        (["20240131"], ""),
        (["31.01.24", "01.02.24"], "%d.%m.%y"),
        (["01/31/24 7:30 PM", "02/01/24 12:05 AM"], "%m/%d/%y %I:%M %p"),
        (["2024-01-31 07:30 PM"], "%Y-%m-%d %I:%M %p"),
        (["2024-01-31", "2024-01-31T07:30:00+02:00"], ""),
        (["soon", "2024-01-31"], None),
        (["2024-01-31"] * 1000 + ["soon"] * 10, ""),
        (["2024-01-31"] * 1000 + ["soon"] * 11, None),
    ],
)
def test_the_format_of_dates_is_found(dates, date_format):
    assert infer_date_format(pd.Series(dates)) == date_format


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["yes", "no"] * 30, "boolean", None),
        ([1, 0] * 30, "boolean", None),
        ([i % 20 for i in range(200)], "category", sorted(map(str, range(20)))),
        ([i % 21 for i in range(200)], "integer", None),
        ([i % 20 for i in range(99)], "integer", None),
        ([0.5, 1] * 30, "number", None),
        ([f"t{i % 100:02}" for i in range(200)], "category", sorted(f"t{i:02}" for i in range(100))),
        (["2024-01-31", "2024-02-01"] * 30, "category", ["2024-01-31", "2024-02-01"]),
        (["a", "b", None] * 30, "category", ["a", "b"]),
    ],
)
def test_the_target_is_classes_where_there_are_few_and_else_an_amount(values, kind, classes):
    column = infer_target(pd.Series(values, name="y"))
    assert (column.role, column.type, column.values) == ("target", kind, classes)
    assert column.nullable == (None in values)
    assert column.min is column.max is None  # an amount may have any size


def test_a_target_of_too_many_classes_is_refused():
    with pytest.raises(InputError, match="The target 'y' has 101 values; expected numbers or 2 to 100 classes"):
        infer_target(pd.Series([f"t{i % 101}" for i in range(202)], name="y"))


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
    contract, _ = infer_contract(rows, "loans.csv", Wishes("y"))
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
        infer_contract(rows, "table.csv", Wishes(target, key, time or ""))


def test_named_columns_have_their_roles_and_the_rest_are_features():
    rows = pd.DataFrame(
        {"a": range(60), "at": "31.01.2024", "b": ["k"] * 60, "x": [i % 7 for i in range(60)], "y": [1.5, 2] * 30}
    )
    contract, _ = infer_contract(rows, "folder/table.csv", Wishes("y", ["a", "b"], "at"))
    assert {name: (column.role, column.type) for name, column in contract.columns.items()} == {
        **{"a": ("key", "integer"), "at": ("time", "datetime"), "b": ("key", "text")},
        **{"x": ("feature", "integer"), "y": ("target", "number")},
    }
    assert contract.columns["at"].format == "%d.%m.%Y"
    assert contract.description == "Predicts y from the columns of table.csv."
    with pytest.raises(InputError, match=r"leaves no column to predict 'y' from\. There is no other\.$"):
        infer_contract(rows[["a", "y"]], "table.csv", Wishes("y", ["a"]))
    with pytest.raises(InputError, match=r"Columns: 0, 1, 2, .*, 19\.$"):
        infer_contract(pd.DataFrame([range(25)]), "table.csv", Wishes("z"))


def test_columns_that_tell_the_target_together_are_ignored_with_the_rule():
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"casual": random.poisson(20, 400), "registered": random.poisson(90, 400), "wind": range(400)})
    rows["count"] = rows["casual"] + rows["registered"]
    rows["wind"] = rows["wind"] * 7 % 13
    columns = infer_contract(rows, "bikes.csv", Wishes("count"))[0].columns
    assert [name for name, column in columns.items() if column.role == "feature"] == ["wind"]
    assert columns["casual"].reason.startswith("tells count together with registered: ")
