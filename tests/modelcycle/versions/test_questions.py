import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from modelcycle.core.contract import Contract, convert_columns
from modelcycle.core.errors import InputError
from modelcycle.serving.schema import find_unusual_values, make_row_type
from modelcycle.versions.bundle import load_champion
from modelcycle.versions.questions import ask_questions, find_changed_answer, make_questions, make_request_table
from modelcycle.versions.reference import make_profile


class Model:
    """Answers amounts, by a function of the rows."""

    def __init__(self, contract, answer):
        self.contract, self.answer = contract, answer

    def predict(self, rows):
        return pd.DataFrame({"prediction": self.answer(convert_columns(rows, self.contract.inputs, self.contract))})


@pytest.fixture
def orders(contract, rows):
    """The orders in the contract's types, with some prices missing."""
    typed = convert_columns(rows, contract.used, contract)
    typed.loc[::9, "price"] = np.nan
    return typed


@pytest.fixture
def profile(orders, contract):
    return make_profile(orders, contract)


def price(rows):
    return rows["price"].fillna(0).astype(float) + 1


def test_a_version_carries_questions_of_each_kind_that_are_no_rows_of_the_data(first_release):
    asked = json.loads(first_release.read("reports/questions.json"))
    contract = Contract.model_validate(read_yaml(first_release.read("contract.yaml")))
    profile = json.loads(first_release.read("data/profile.json"))
    source = pd.read_csv(first_release.path / "example/flights.csv")
    known = convert_columns(source, contract.inputs, contract)
    table = convert_columns(make_request_table(asked["rows"], contract.inputs, contract), contract.inputs, contract)
    assert table.merge(known, on=contract.inputs).empty
    assert 30 <= len(table) == len(table.drop_duplicates()) <= 50
    assert table["temperature"].isna().sum() in range(1, 4)
    assert {"HA", "never seen"} <= set(table["carrier"])  # the rarest one
    unusual = find_unusual_values(asked["rows"], profile)
    assert 4 < sum(map(bool, unusual)) < 20
    TypeAdapter(list[make_row_type(contract, profile)]).validate_python(asked["rows"], strict=False)  # the service too
    assert asked["tolerance"] >= 1e-9
    assert list(asked["answers"]) == ["probability_False", "probability_True"]


def read_yaml(text):
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


def test_a_question_that_is_a_row_of_the_data_is_left_out(contract, orders, profile):
    questions = make_questions(contract, profile, orders)
    table = make_request_table(questions, contract.inputs, contract)
    some = convert_columns(table.iloc[[2, 5]], contract.inputs, contract)
    left = make_questions(contract, profile, pd.concat([orders[contract.inputs], some]))
    assert left == [row for place, row in enumerate(questions) if place not in (2, 5)]


def test_what_the_contract_refuses_is_not_asked(contract, orders, profile):
    questions = make_questions(contract, profile, orders)
    prices = [row["price"] for row in questions if row["price"] is not None]
    assert (min(prices), max(prices)) == (0, 100)  # beyond what was seen, up to what is allowed
    assert {row["shop"] for row in questions} == {"Köln", "NO"}
    assert {row["gift"] for row in questions} == {True}


def test_the_same_version_gives_the_same_answers_and_another_one_does_not(contract, orders, profile):
    model = Model(contract, price)
    asked = json.loads(json.dumps(ask_questions(model, profile, orders)))
    assert asked["tolerance"] == 1e-9
    assert find_changed_answer(model, asked) == ""
    assert find_changed_answer(Model(contract, lambda rows: price(rows) * (1 + 1e-12)), asked) == ""
    change = find_changed_answer(Model(contract, lambda rows: price(rows) + (rows["price"] > 90)), asked)
    told = r"(\d+) of (\d+) made-up questions get another answer, such as prediction [\d.]+ instead of [\d.]+; 1e-09 .+"
    n_changed, n_asked = map(int, re.fullmatch(told, change).groups())
    assert 0 < n_changed < n_asked == len(asked["rows"])
    assert find_changed_answer(Model(contract, lambda rows: price(rows) * np.nan), asked)
    assert (
        find_changed_answer(Model(contract, lambda _: 1 / 0), asked)
        == "it fails with ZeroDivisionError: division by zero"
    )
    asked["answers"] = {"probability_a": asked["answers"]["prediction"]}
    assert find_changed_answer(model, asked) == "it answers with prediction instead of probability_a"


@pytest.mark.parametrize(
    "beside",
    [lambda rows: np.arange(len(rows)), lambda rows: len(rows)],
    ids=["order", "batch size"],
)
def test_what_differs_by_the_rows_beside_it_widens_the_tolerance_or_is_refused(contract, orders, profile, beside):
    def answer(rows, size):
        return price(rows) * (1 + size * beside(rows))

    asked = ask_questions(Model(contract, lambda rows: answer(rows, 1e-9)), profile, orders)
    assert 1e-8 < asked["tolerance"] < 1e-6
    with pytest.raises(InputError, match=r"^The same row gets answers that differ by 0\.0\d+, depending on the rows"):
        ask_questions(Model(contract, lambda rows: answer(rows, 1e-3)), profile, orders)


def test_rows_without_an_answer_are_told_and_left_out(contract, orders, profile, capsys):
    def fail(rows):
        if rows["price"].isna().any():
            raise KeyError("no price")
        return price(rows)

    asked = ask_questions(Model(contract, fail), profile, orders)
    assert all(row["price"] is not None for row in asked["rows"])
    assert re.search(r"\d+ rows that the contract allows get no answer: KeyError: 'no price'", capsys.readouterr().out)
    with pytest.raises(InputError, match=r"^The model answers none of \d+ rows that the contract allows: ZeroDivision"):
        ask_questions(Model(contract, lambda _: 1 / 0), profile, orders)


def test_a_contract_with_few_rows_leaves_nothing_to_ask_that_is_not_in_the_data():
    columns = {"gift": {"role": "feature", "type": "boolean"}, "late": {"role": "target", "type": "boolean"}}
    contract = Contract.model_validate({"description": "Orders", "columns": columns})
    rows = pd.DataFrame({"gift": [True, False], "late": [True, False]})
    model = Model(contract, lambda rows: rows["gift"].astype(float))
    asked = ask_questions(model, make_profile(rows, contract), rows)
    assert (asked["rows"], asked["answers"]) == ([], {})
    assert find_changed_answer(model, asked) == ""


def test_a_version_that_answers_differently_here_is_named(repository, client, other_answers):
    bundle = load_champion(client)
    bundle.require_same_answers()
    other_answers()
    with pytest.raises(InputError, match=r"^Version 1 does not answer here as it did .*: 1 of \d+ made-up questions"):
        load_champion(client).require_same_answers()
    broken = replace(bundle.predictor, make_features=lambda rows, contract: 1 / 0)
    with pytest.raises(
        InputError, match=r"^Version 1 does not answer here .*: it fails with ZeroDivisionError: division by zero\."
    ):
        replace(bundle, predictor=broken).require_same_answers()
