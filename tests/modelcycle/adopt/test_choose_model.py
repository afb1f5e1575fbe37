"""The first model for a table is the one that cross-validation finds best, and the pipeline can train and load it."""

import numpy as np
import pandas as pd
import pytest

from modelcycle.adopt import choose_model as module
from modelcycle.adopt.choose_model import BOOSTED, choose_model, find_simplest, score_candidates
from modelcycle.core.contract import Contract, convert_columns
from modelcycle.core.model_file import load_model, predict, save_model
from modelcycle.core.params import Holdout, Train
from modelcycle.core.team import make_features
from modelcycle.pipeline.train import fit_model

random = np.random.default_rng(0)


def make_contract(kind: str, **roles: str) -> Contract:
    columns = {name: {"role": "feature", "type": "number", "nullable": True} for name in ("a", "b", "c")}
    columns |= {name: {"role": role, "type": "integer"} for name, role in roles.items()}
    return Contract.model_validate(
        {"description": "", "columns": columns | {"y": {"role": "target", "type": kind, "nullable": True}}}
    )


def make_rows(kind: str, shape: str, n_rows: int = 400) -> pd.DataFrame:
    """Rows as text, whose target is a sum of the features or depends on whether two have the same sign."""
    rows = pd.DataFrame(random.normal(size=(n_rows, 3)), columns=["a", "b", "c"])
    amount = rows.sum(axis=1) if shape == "sum" else 3 * np.sign(rows["a"] * rows["b"])
    amount += random.normal(size=n_rows)
    classes = {
        "boolean": np.where(amount > 0, "yes", "no"),
        "category": pd.cut(amount, [-99, -1, 1, 99], labels=[*"xyz"]),
    }
    return rows.round(4).astype("str").assign(y=classes.get(kind, amount))


@pytest.mark.parametrize("kind", ["boolean", "category", "number"])
@pytest.mark.parametrize("shape", ["sum", "signs"])
def test_a_sum_is_left_to_a_linear_model_and_what_is_none_to_boosted_trees(kind, shape, tmp_path):
    contract, rows = make_contract(kind), make_rows(kind, shape)
    rows.loc[:5, "y"] = None
    name, parameters, said = choose_model(rows, contract, Holdout())
    linear = "sklearn.linear_model." + ("Ridge" if kind == "number" else "LogisticRegression")
    assert name == (linear if shape == "sum" else BOOSTED)
    assert said.startswith(f"train.estimator: {name}, by {'mae' if kind == 'number' else 'log_loss'}: linear ")
    typed = convert_columns(rows, contract.used, contract).dropna(subset="y")
    model, _ = fit_model(Train(estimator=name, parameters=parameters, seed=0), typed, contract)
    save_model(model, tmp_path / "model.skops")
    features = make_features(typed, contract)
    assert predict(load_model(tmp_path / "model.skops"), features).equals(predict(model, features))


def test_rows_of_a_key_or_group_are_not_predicted_from_one_another():
    machines = np.repeat(range(80), 5)
    rows = pd.DataFrame({"a": random.normal(size=80)[machines], "b": 0.0, "c": 0.0, "machine": machines})
    rows["y"] = 5.0 * rows["machine"].mod(2)  # which a tells to who knows the machine
    alone, together = make_contract("number", machine="ignored"), make_contract("number", machine="key")
    apart = min(score_candidates(rows.assign(b=random.normal(size=400)), alone, Holdout()).mean(axis=1))
    kept = min(score_candidates(rows, together, Holdout()).mean(axis=1))
    assert apart < 0.8 * kept
    assert kept > 2


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        ([[0.9, 1.3, 1.0], [1.0, 1.2, 1.1], [1.0, 1.1, 1.0]], 0),  # what differs is chance
        ([[1.0, 1.2, 1.1], [0.9, 1.1, 1.0], [0.8, 1.1, 1.0]], 1),
        ([[1.0, 1.2, 1.1], [0.9, 1.1, 1.0], [0.7, 0.9, 0.8]], 2),
        ([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], 0),
    ],
)
def test_the_simplest_of_those_that_chance_alone_tells_apart_is_chosen(losses, chosen):
    assert find_simplest(np.array(losses)) == chosen


def test_what_the_latest_rows_are_predicted_by_is_chosen_for_them():
    """Trees can't carry a trend on; between days that are known on both sides they can."""
    rows = pd.DataFrame({"at": pd.date_range("2015-01-01", periods=1500).astype("str"), "a": 1.0})
    rows["y"] = rows.index / 100 + 3 * np.sin(rows.index / 58) + 0.1 * random.normal(size=1500)  # a year has 365 days
    columns = {"at": {"role": "time", "type": "datetime", "parts": ["year", "day_of_year"]}}
    columns |= {"a": {"role": "feature", "type": "number"}, "y": {"role": "target", "type": "number"}}
    contract = Contract.model_validate({"description": "", "columns": columns})
    linear, few, many = score_candidates(rows, contract, Holdout(by="key", columns=["at"])).mean(axis=1)
    assert min(few, many) < linear
    assert choose_model(rows, contract, Holdout(by="time"))[0] == "sklearn.linear_model.Ridge"


def test_where_the_team_s_code_fails_boosted_trees_stay_and_the_reason_is_said(monkeypatch):
    rows = make_rows("boolean", "sum")
    assert choose_model(rows.head(4), make_contract("boolean"), Holdout())[:2] == (BOOSTED, {})

    def fail(*_):
        raise KeyError("carrier")

    monkeypatch.setattr(module, "make_features", fail)
    name, parameters, said = choose_model(rows, make_contract("boolean"), Holdout())
    assert (name, parameters) == (BOOSTED, {})
    assert said == f"train.estimator: {BOOSTED}, since cross-validation fails here: 'carrier'"


def test_many_rows_features_or_classes_are_sampled(monkeypatch):
    sizes = []
    monkeypatch.setattr(module, "score_by_folds", lambda _, features, *__: sizes.append(len(features)) or np.ones(5))
    contract, rows = make_contract("number"), make_rows("number", "sum", 12_000)
    choose_model(rows, contract, Holdout())
    monkeypatch.setattr(module, "MAX_WORK", 9000)
    choose_model(rows, contract, Holdout())
    choose_model(rows.assign(y=random.choice([*"uvwxyz"], 12_000)), make_contract("category"), Holdout())
    assert sizes == [10_000] * 3 + [3000] * 3 + [1000] * 3
