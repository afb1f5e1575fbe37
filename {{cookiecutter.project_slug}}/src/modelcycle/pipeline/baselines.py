"""What simpler models achieve on the same rows: a constant, the best column alone, a linear model."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from modelcycle.core.contract import Contract, extract_target, extract_weights
from modelcycle.core.cross_validation import score_by_folds
from modelcycle.core.holdout import group_rows
from modelcycle.core.metrics import (
    PROPER_SCORE,
    count_groups,
    direction,
    draw_resamples,
    expand_tail,
    round_to_six_digits,
    score_predictions,
    score_resamples,
)
from modelcycle.core.model_file import fit, predict
from modelcycle.core.params import Params
from modelcycle.core.team import make_features
from modelcycle.pipeline.unseen import list_splits, pool_predictions

MAX_ROWS = 20_000  # training rows that a baseline learns from: more would take longer than they make it better
CONSTANT, COLUMN, LINEAR = "a constant", "the best column alone", "a linear model"
IN_TRAINING = "the model on its training rows"


def predict_constant(train_target: np.ndarray, n_rows: int, classification: bool) -> pd.DataFrame:
    """Predict (n_rows, 1 + c) without features: the classes' shares in the training target, or its median."""
    dummy = DummyClassifier(strategy="prior") if classification else DummyRegressor(strategy="median")
    dummy.fit(np.zeros((len(train_target), 1)), train_target)
    return predict(dummy, pd.DataFrame({"nothing": np.zeros(n_rows)}))


def simplify(features: pd.DataFrame) -> pd.DataFrame:
    """Turn (n, k) features of any type into floats, without infinity, and text: every baseline can learn from them."""
    columns = {
        str(name): column.astype("float64").replace([np.inf, -np.inf], np.nan)
        if pd.api.types.is_numeric_dtype(column)
        else column.astype("str")
        for name, column in features.items()
    }
    return pd.DataFrame(columns, index=features.index)


def make_best_column(features: pd.DataFrame, target: np.ndarray, classification: bool) -> tuple[Pipeline, str]:
    """Make a tree of at most eight leaves for the one of (t, k) features by which it predicts best, in three folds.

    Returns it with the feature's name. After R. Holte, Very simple classification rules perform well on most commonly
    used datasets (1993).
    """
    tree_type = DecisionTreeClassifier if classification else DecisionTreeRegressor
    tree = tree_type(max_leaf_nodes=8, min_samples_leaf=min(20, 1 + len(target) // 10), random_state=0)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    simple = simplify(features)
    texts = [str(name) for name in simple.select_dtypes(exclude="number")]
    codes = simple.copy()
    if texts:
        codes[texts] = encoder.fit_transform(simple[texts])
    metric, folds = PROPER_SCORE[classification], KFold(min(3, len(target)), shuffle=True, random_state=0)
    splits = list(folds.split(codes))
    best = min(codes, key=lambda name: score_by_folds(tree, codes[[name]], target, metric, splits).mean())
    encode = make_column_transformer((encoder if best in texts else "passthrough", [best]))
    return make_pipeline(FunctionTransformer(simplify), encode, tree), str(best)


def make_linear_model(classification: bool) -> Pipeline:
    """Make a linear model for features of any type, with its own encoding: a yardstick whatever model.py becomes."""
    scale = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore", min_frequency=10, max_categories=100, sparse_output=False)
    numbers, texts = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    encode = make_column_transformer((scale, numbers), (one_hot, texts))
    linear = LogisticRegression(max_iter=1000) if classification else Ridge()
    return make_pipeline(FunctionTransformer(simplify), encode, linear)


def fit_baselines(rows: pd.DataFrame, contract: Contract) -> tuple[dict[str, Pipeline], str]:
    """Fit the baselines but the constant on (t, m) rows, by their names; gives the best column's as well."""
    features, target = make_features(rows, contract), extract_target(rows, contract)
    best_column, best = make_best_column(features, target, contract.is_classification)
    linear = make_linear_model(contract.is_classification)
    if contract.is_classification and len(np.unique(target)) == 1:  # of two, one may be too rare for the sample
        linear = make_pipeline(DummyClassifier(strategy="prior"))
    weights = extract_weights(rows, contract)
    for model in (best_column, linear):
        fit(model, features, target, weights)
    return {COLUMN: best_column, LINEAR: linear}, best


def compare_predictions(
    truth: np.ndarray,
    predictions: pd.DataFrame,
    others: dict[str, pd.DataFrame],
    n_resamples: int,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compare (n, 1 + c) predictions with others of the same rows, each by its name. The rest: `bootstrap_intervals`.

    Returns (b, 6): baseline, metric, its value, and the difference, above 0 where the predictions are better, with its
    95 % interval by a paired bootstrap: the resamples are the same for all.
    """

    def score(table: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
        draws = draw_resamples(len(truth), n_resamples, 0, groups, weights)
        scores = [pd.DataFrame(score_resamples(truth, table, drawn)) for drawn in draws]
        return pd.Series(score_predictions(truth, table, weights)), pd.concat(scores)

    def subtract(own: Any, other: Any) -> Any:
        """Give how much better the first is; what is the same but for the last digits is the same, on any machine."""
        return (own - other).where(~np.isclose(own, other, rtol=1e-9, atol=0), 0) * signs + 0.0

    value, resampled = score(predictions)
    signs = pd.Series({metric: direction(metric) for metric in value.index})
    tail, parts = expand_tail(0.025, count_groups(len(truth), groups)), {}
    for name, table in others.items():
        other_value, other_resampled = score(table)
        differences = subtract(resampled, other_resampled)
        low, high = differences.quantile(tail), differences.quantile(1 - tail)
        numbers = {"value": other_value, "difference": subtract(value, other_value), "low": low, "high": high}
        parts[name] = pd.DataFrame(numbers)
    return pd.concat(parts, names=["baseline", "metric"]).map(round_to_six_digits).reset_index()


def predict_baselines(
    train: pd.DataFrame, test: pd.DataFrame, contract: Contract, params: Params
) -> tuple[dict[str, pd.DataFrame], str]:
    """Predict the rows that a model is judged on by the baselines, which see the same splits, see `predict_unseen`.

    train, test: (t, m) and (n, m). Of the training rows at most 20,000, drawn by chance, are learned from.
    Returns (n, 1 + c) predictions by the baselines' names, and which columns the best are.
    """
    parts: dict[str, list[pd.DataFrame]] = {CONSTANT: [], COLUMN: [], LINEAR: []}
    columns = set()
    for learn, rows in list_splits(train, test, contract, params):
        constant = predict_constant(extract_target(learn, contract), len(rows), contract.is_classification)
        parts[CONSTANT].append(constant.set_index(rows.index))
        baselines, column = fit_baselines(draw_sample(learn), contract)
        columns.add(column)
        for name, baseline in baselines.items():
            parts[name].append(predict(baseline, make_features(rows, contract)))
    return {name: pool_predictions(predicted) for name, predicted in parts.items()}, ", ".join(sorted(columns))


def compare_with_baselines(
    model: Pipeline,
    train: pd.DataFrame,
    judged: pd.DataFrame,
    predictions: pd.DataFrame,
    baselines: tuple[dict[str, pd.DataFrame], str],
    contract: Contract,
    params: Params,
) -> pd.DataFrame:
    """Compare a model with the baselines on the rows that it is judged on, and with itself on its training rows.

    train: (t, m), of which at most 20,000, drawn by chance, are scored. judged, predictions: see `predict_unseen`.
    baselines: see `predict_baselines`.
    Returns the table of `compare_predictions` and, as `column`, which one the best is; the training rows have a value
    for each metric and nothing else.
    """
    groups, weights = group_rows(judged, params.prepare.holdout, contract), extract_weights(judged, contract)
    truth, n_resamples = extract_target(judged, contract), params.evaluate.bootstrap
    table = compare_predictions(truth, predictions, baselines[0], n_resamples, groups, weights)

    sample = draw_sample(train)
    seen = predict(model, make_features(sample, contract))
    in_training = score_predictions(extract_target(sample, contract), seen, extract_weights(sample, contract))
    values = pd.DataFrame({"metric": in_training.keys(), "value": map(round_to_six_digits, in_training.values())})
    table = pd.concat([table, values.assign(baseline=IN_TRAINING)], ignore_index=True)
    return table.assign(column=np.where(table["baseline"] == COLUMN, baselines[1], ""))


def draw_sample(rows: pd.DataFrame) -> pd.DataFrame:
    """Draw at most 20,000 of (t, m) rows, always the same."""
    return rows.sample(min(MAX_ROWS, len(rows)), random_state=0)
