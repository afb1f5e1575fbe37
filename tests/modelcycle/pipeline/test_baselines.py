"""What simpler models achieve: each learns what it can from features of any kind, and is compared on the same rows."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from modelcycle.core.contract import Column, Contract
from modelcycle.core.metrics import round_to_six_digits
from modelcycle.core.model_file import predict
from modelcycle.core.params import Train, read_params
from modelcycle.core.team import make_features
from modelcycle.pipeline.baselines import (
    COLUMN,
    CONSTANT,
    IN_TRAINING,
    LINEAR,
    compare_predictions,
    compare_with_baselines,
    fit_baselines,
    make_best_column,
    make_linear_model,
    predict_baselines,
    predict_constant,
    simplify,
)
from modelcycle.pipeline.train import fit_model
from modelcycle.pipeline.unseen import predict_unseen

random = np.random.default_rng(0)


def make_contract(kind: str) -> Contract:
    columns = {name: {"role": "feature", "type": "number", "nullable": True} for name in ("a", "b")}
    columns |= {"shop": {"role": "feature", "type": "category"}, "y": {"role": "target", "type": kind}}
    return Contract.model_validate({"description": "", "columns": columns})


def make_rows(kind: str, n_rows: int) -> pd.DataFrame:
    """Rows in which the amount of a and b together tells the target, a more than b, but for much noise."""
    rows = pd.DataFrame(random.normal(size=(n_rows, 2)), columns=["a", "b"])
    amount = 2 * rows["a"] + rows["b"] + random.normal(0, 2, n_rows)
    rows["shop"] = pd.Series(random.choice(["Köln", "Ulm", None], n_rows), dtype="str")
    classes = {"boolean": (amount > 0).astype("boolean"), "category": pd.cut(amount, [-99, -1, 1, 99], labels=[*"xyz"])}
    rows["y"] = classes[kind].astype("str" if kind == "category" else "boolean") if kind in classes else amount
    return rows


def compare(kind: str, **parameters) -> pd.DataFrame:
    contract, train, test = make_contract(kind), make_rows(kind, 600), make_rows(kind, 1500)
    model, _ = fit_model(
        Train(estimator="sklearn.ensemble.HistGradientBoosting", parameters=parameters, seed=0), train, contract
    )
    predictions = predict(model, make_features(test, contract))
    params = read_params()
    params.evaluate.bootstrap = 50
    baselines = predict_baselines(train, test, contract, params)
    table = compare_with_baselines(model, train, test, predictions, baselines, contract, params)
    return table.set_index(["baseline", "metric"])


def test_the_constant_is_the_shares_of_the_classes_or_the_median():
    classes = predict_constant(np.array(["a", "b", "b", "b"], object), 3, True)
    assert classes.to_dict("records") == [{"prediction": "b", "probability_a": 0.25, "probability_b": 0.75}] * 3
    assert predict_constant(np.array([1.0, 2, 90]), 2, False)["prediction"].tolist() == [2, 2]


@pytest.mark.parametrize(("kind", "metric"), [("boolean", "roc_auc"), ("category", "log_loss"), ("number", "mae")])
def test_more_is_learned_from_all_columns_than_from_one_and_from_one_than_from_none(kind, metric):
    table = compare(kind)
    sign = 1 if metric == "roc_auc" else -1
    values = sign * table["value"].xs(metric, level="metric")
    assert values[CONSTANT] < values[COLUMN] < values[LINEAR] < values[IN_TRAINING]
    assert set(table.loc[COLUMN, "column"]) == {"a"}
    assert set(table.drop(COLUMN, level="baseline")["column"]) == {""}


def test_an_overfitted_model_is_worse_than_a_linear_one_and_much_better_on_its_training_rows():
    table = compare("boolean", max_iter=300, min_samples_leaf=1, learning_rate=0.5)
    assert table["value"][IN_TRAINING, "roc_auc"] > 0.999
    assert table["high"][LINEAR, "roc_auc"] < 0 < table["low"][CONSTANT, "roc_auc"]
    assert table["high"][CONSTANT, "log_loss"] < 0
    assert table.loc[IN_TRAINING, ["difference", "low", "high"]].isna().all(axis=None)


def test_the_difference_is_above_0_where_the_model_is_better_whatever_the_metric():
    truth = np.r_[np.zeros(200), np.ones(200)].astype(bool)
    signal, noise = truth - 0.5, random.normal(0, 0.2, (2, 400))
    good, bad = (np.clip(0.5 + part, 0.01, 0.99) for part in (0.5 * signal + noise[0], 0.1 * signal + noise[1]))

    def chances(late):
        return pd.DataFrame({"prediction": late > 0.5, "probability_False": 1 - late, "probability_True": late})

    others = {"bad": chances(bad), "itself": chances(good), "all but itself": chances(good + 1e-15)}
    table = compare_predictions(truth, chances(good), others, 100)
    scores = table.set_index(["baseline", "metric"])
    assert (scores.loc["bad", ["difference", "low"]] > 0).all(axis=None)
    assert (scores.loc[["itself", "all but itself"], ["difference", "low", "high"]] == 0).all(axis=None)
    areas = [roc_auc_score(truth, given) for given in (good, bad)]
    assert scores["value"]["bad", "roc_auc"] == round_to_six_digits(areas[1])
    assert scores["difference"]["bad", "roc_auc"] == round_to_six_digits(areas[0] - areas[1])
    width = scores["high"] - scores["low"]
    assert 0.02 < width["bad", "roc_auc"] < 0.15
    assert (scores["low"] <= scores["difference"]).all() and (scores["difference"] <= scores["high"]).all()


@pytest.mark.parametrize("classification", [True, False])
def test_features_of_any_type_are_learned_from_without_a_warning(classification):
    times = pd.Series(pd.date_range("2024-01-01", periods=60, freq="h"))
    features = pd.DataFrame(
        {
            "infinite": [np.inf, -np.inf, np.nan, 1.0] * 15,
            "nothing": np.nan,
            "whole": pd.array([1, None, 3] * 20, dtype="Int64"),
            "flag": pd.array([True, None, False] * 20, dtype="boolean"),
            "word": pd.Categorical(["a", "b", None] * 20),
            "at": times,
            "for": times - times[0],
            "mixed": [1, "x", None] * 20,
        }
    )
    target = np.array([True, False, True] * 20) if classification else random.normal(size=60)
    unseen = features.assign(word="never seen").iloc[::-1]
    with warnings.catch_warnings(action="error"):
        assert all(column.dtype in ("float64", "str") for _, column in simplify(features).items())
        tree, best = make_best_column(features, target, classification)
        models = [tree, make_linear_model(classification)]
        predictions = [predict(model.fit(features, target), unseen) for model in models]
    assert best in features
    assert all(np.isfinite(table.iloc[:, -1].to_numpy(float)).all() for table in predictions)
    if classification:
        assert best in ("whole", "flag", "word", "mixed")


@pytest.mark.parametrize(("kind", "target"), [("category", ["a"] * 3), ("number", [1.0, 1.0]), ("boolean", [True] * 2)])
def test_rows_that_leave_nothing_to_learn_are_learned_from(kind, target):
    rows = make_rows("number", len(target)).assign(y=pd.Series(target, dtype="boolean" if kind == "boolean" else None))
    models, _ = fit_baselines(rows, make_contract(kind))
    for model in models.values():
        assert set(predict(model, make_features(rows, make_contract(kind)))["prediction"]) == set(target)


def test_rows_that_count_more_are_learned_from_more():
    contract, rows = make_contract("number"), make_rows("number", 300)
    contract.columns["n"] = Column(role="weight", type="number")
    rows["n"] = np.where(rows["y"] > 0, 100.0, 1.0)
    for name, model in fit_baselines(rows, contract)[0].items():
        plain = fit_baselines(rows, make_contract("number"))[0][name]
        features = make_features(rows, contract)
        assert predict(model, features)["prediction"].mean() > predict(plain, features)["prediction"].mean() + 0.5


def test_where_the_model_is_cross_validated_the_baselines_are_on_the_same_folds():
    """Rows that are told by nothing: whoever has seen them knows them."""
    contract, params = make_contract("boolean"), read_params()
    params.evaluate.bootstrap, params.train = 50, Train(estimator="sklearn.tree.DecisionTree", seed=0)
    rows = make_rows("boolean", 300)
    train, test = rows.head(240), rows.tail(60)
    model, _ = fit_model(params.train, train, contract)
    judged, predictions = predict_unseen(model, train, test, contract, params)
    assert len(judged) == 300
    baselines = predict_baselines(train, test, contract, params)
    table = compare_with_baselines(model, train, judged, predictions, baselines, contract, params)
    values = table.set_index(["metric", "baseline"])["value"]["roc_auc"]
    assert values[IN_TRAINING] == 1
    assert 0.6 < values[COLUMN] < values[LINEAR] < 0.95
    assert values[CONSTANT] == pytest.approx(0.5, abs=0.1)


def test_the_same_rows_give_the_same_table():
    first, second = (compare_once(seed) for seed in (0, 0))
    assert first.equals(second)


def compare_once(seed: int) -> pd.DataFrame:
    global random
    random = np.random.default_rng(seed)
    return compare("boolean", max_iter=5)
