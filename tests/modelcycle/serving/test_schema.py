import json
from datetime import datetime

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from modelcycle.core.contract import Column, Contract, convert_values
from modelcycle.serving.schema import find_unusual_values, make_feedback_type, make_row_type, typical_value

ORDER = {"at": "2024-03-01T10:00:00", "price": 9.5, "shop": "Köln", "gift": True}


# The types of requests


@pytest.fixture
def validate(contract):
    """Validate the row of an order, which keeps the contract but for the given changes."""
    adapter = TypeAdapter(make_row_type(contract, {}))
    return lambda **changes: adapter.validate_json(json.dumps(ORDER | changes))


def test_a_row_has_the_types_of_the_contract_and_may_lack_what_is_nullable_and_the_key(validate):
    assert validate() == ORDER | {"at": datetime(2024, 3, 1, 10), "order": None}
    assert validate(price=None, order=7) == ORDER | {"at": datetime(2024, 3, 1, 10), "price": None, "order": 7}


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"price": -0.01}, "price", "greater than or equal to 0"),
        ({"price": 100.01}, "price", "less than or equal to 100"),
        ({"price": float("nan")}, "price", "finite number"),
        ({"price": "much"}, "price", "valid number"),
        ({"shop": "Rome"}, "shop", "'Köln' or 'NO'"),
        ({"gift": None}, "gift", "valid boolean"),
        ({"order": 2**63}, "order", f"less than or equal to {2**63 - 1}"),
        ({"order": -(2**63) - 1}, "order", f"greater than or equal to {-(2**63)}"),
        ({"order": 1.5}, "order", "valid integer"),
        ({"at": "tomorrow"}, "at", "a time in ISO 8601 or written as %d.%m.%Y"),
        ({"at": "today"}, "at", "a time in ISO 8601 or written as %d.%m.%Y"),
        ({"at": "31.02.2024"}, "at", "a time in ISO 8601 or written as %d.%m.%Y"),
        ({"at": None}, "at", "a time in ISO 8601 or written as %d.%m.%Y"),
        ({"at": 1735603200}, "at", "a time in ISO 8601 or written as %d.%m.%Y"),
        ({"at": "1699-12-31T23:59:59"}, "at", "a time between the years 1700 and 2200"),
        ({"at": "2201-01-01T00:00:00"}, "at", "a time between the years 1700 and 2200"),
        ({"note": "x"}, "note", "not permitted"),
        ({"returned": True}, "returned", "not permitted"),
    ],
)
def test_a_value_that_breaks_the_contract_is_named_with_what_is_expected(validate, changes, field, expected):
    with pytest.raises(ValidationError) as raised:
        validate(**changes)
    (fault,) = raised.value.errors()
    assert fault["loc"] == (field,)
    assert expected in fault["msg"]


def test_a_time_with_a_zone_becomes_utc_and_the_limits_of_years_are_allowed(validate):
    assert validate(at="2024-03-01T10:00:00+02:00")["at"] == datetime(2024, 3, 1, 8)
    assert validate(at="1700-01-01T00:00:00")["at"].year == 1700
    assert validate(at="2200-12-31T00:00:00")["at"].year == 2200


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize(
    ("date_format", "value", "time"),
    [
        ("%d.%m.%Y", "31.12.2024", "2024-12-31"),
        ("%d.%m.%Y", "2024-12-31", "2024-12-31"),
        ("%d/%m/%Y %H:%M", "01/02/2024 07:30", "2024-02-01 07:30"),
        ("%m/%d/%Y", "01/02/2024", "2024-01-02"),
        ("%d.%m.%Y %z", "31.12.2024 +0200", "2024-12-30 22:00"),
        ("%Y%m%d", 20241231, "2024-12-31"),
        ("", "20241231", "2024-12-31"),
        ("", 20241231, "2024-12-31"),
        ("", "2024/12/31 07:30", "2024-12-31 07:30"),
        ("", "2024-12-31T07:30:00Z", "2024-12-31 07:30"),
    ],
)
def test_a_time_of_a_request_means_what_it_means_in_the_source(contract, date_format, value, time, nullable):
    column = Column(role="feature", type="datetime", format=date_format, nullable=nullable)
    contract.columns["at"] = column
    adapter = TypeAdapter(make_row_type(contract, {}))
    read = adapter.validate_json(json.dumps(ORDER | {"at": value}))["at"]
    assert read == datetime.fromisoformat(time)
    assert convert_values(pd.Series([value]), column).tolist() == [read]
    if nullable:
        assert adapter.validate_json(json.dumps(ORDER | {"at": None}))["at"] is None
    described = adapter.json_schema()["properties"]["at"]["description"]
    assert described == (f"(ISO 8601 or {date_format})" if date_format else "")


@pytest.mark.parametrize(
    ("limits", "fits", "breaks"),
    [
        ({"min": 1.5, "max": 3.5}, [2, 3], [1, 4]),
        ({"min": -1e30, "max": 1e30}, [-(2**63), 2**63 - 1], [-(2**63) - 1, 2**63]),
    ],
)
def test_an_integer_s_limits_are_whole_and_fit_into_64_bits(contract, limits, fits, breaks):
    known = contract.model_dump()
    known["columns"]["price"] = {"role": "feature", "type": "integer", **limits}
    adapter = TypeAdapter(make_row_type(Contract.model_validate(known), {}))
    assert [adapter.validate_python(ORDER | {"price": value})["price"] for value in fits] == fits
    for value in breaks:
        with pytest.raises(ValidationError):
            adapter.validate_python(ORDER | {"price": value})


def test_the_schema_tells_descriptions_units_and_typical_values(contract):
    profile = {"price": {"median": 9.5, "missing_share": 0}, "shop": {"shares": {"NO": 1.0}, "missing_share": 0}}
    contract.columns["price"].description = "Paid"
    schema = TypeAdapter(make_row_type(contract, profile)).json_schema()["properties"]
    assert schema["price"]["description"] == "Paid [EUR]"
    assert schema["shop"]["description"] == ""
    assert (schema["price"]["examples"], schema["shop"]["examples"]) == ([9.5], ["NO"])
    assert "examples" not in schema["gift"]
    assert schema["shop"]["enum"] == ["Köln", "NO"]


@pytest.mark.parametrize(
    ("target", "fits", "breaks"),
    [
        ({"type": "boolean"}, True, "late"),
        ({"type": "category", "values": ["low", "high"]}, "low", "seen"),
        ({"type": "category"}, "seen", "low"),
        ({"type": "number"}, 1.5, float("inf")),
        ({"type": "integer"}, 2, 1.5),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else str(value),
)
def test_an_outcome_is_a_value_of_the_target(contract, target, fits, breaks):
    contract.columns["returned"] = Column(role="target", **target)
    feedback = make_feedback_type(contract, {"returned": {"shares": {"seen": 1.0}}})
    known = {"id": "0" * 32}
    accepted = feedback.model_validate(known | {"outcome": fits})
    assert (accepted.outcome, accepted.comment) == (fits, "")
    with pytest.raises(ValidationError):
        feedback.model_validate(known | {"outcome": breaks})


@pytest.mark.parametrize(
    "faulty", [{"id": "0" * 31}, {"id": "G" * 32}, {"comment": "x" * 2001}, {"odd": 1}, {"outcome": None}]
)
def test_feedback_of_another_form_is_refused(contract, faulty):
    feedback = make_feedback_type(contract, {})
    fits = {"id": "0123456789abcdef" * 2, "outcome": False, "comment": "x" * 2000}
    feedback.model_validate(fits)
    with pytest.raises(ValidationError):
        feedback.model_validate(fits | faulty)


# What is typical and what is unusual


@pytest.mark.parametrize(
    ("kind", "statistics", "expected"),
    [
        ("number", {"median": 2.5}, 2.5),
        ("integer", {"median": 2.6}, 3),
        ("datetime", {"median": "2024-03-01T10:00"}, datetime(2024, 3, 1, 10)),
        ("category", {"shares": {"a": 0.2, "b": 0.8}}, "b"),
        ("boolean", {"shares": {"False": 0.2, "True": 0.8}}, True),
        ("boolean", {"shares": {"False": 0.8, "True": 0.2}}, False),
        ("category", {"shares": {}}, None),
        ("number", {"median": 2.5, "missing_share": 0.5}, 2.5),
        ("number", {"median": 2.5, "missing_share": 0.51}, None),
    ],
)
def test_the_typical_value_is_the_median_or_the_most_frequent_one(kind, statistics, expected):
    value = typical_value(Column(role="feature", type=kind), {"missing_share": 0.1} | statistics)
    assert (value, type(value)) == (expected, type(expected))


def test_without_statistics_nothing_is_typical():
    assert typical_value(Column(role="feature", type="number"), {}) is None


def test_values_that_training_never_held_are_unusual():
    profile = {"price": {"edges": [1, 5, 20.0]}, "shop": {"shares": {"NO": 1.0}}, "gift": {"shares": {"True": 1.0}}}
    rows = [
        {"price": 1, "shop": "NO", "gift": True, "at": "x"},
        {"price": 20, "shop": None, "gift": None, "at": "x"},
        {"price": None, "shop": "Rome", "gift": False, "at": "x"},
        {"price": 0.5, "shop": "NO", "gift": True, "at": "x"},
        {"price": 20.5, "shop": "Oslo", "gift": True, "at": "x"},
    ]
    assert find_unusual_values(rows, profile) == [
        [],
        [],
        ["shop Rome was never seen in training", "gift False was never seen in training"],
        ["price 0.5 is outside 1 to 20"],
        ["price 20.5 is outside 1 to 20", "shop Oslo was never seen in training"],
    ]
