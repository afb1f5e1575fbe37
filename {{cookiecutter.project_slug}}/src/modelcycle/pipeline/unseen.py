"""The rows that a model is judged on: the hold-out set or, where that is too small, all rows by cross-validation."""

import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from modelcycle.core.contract import Contract, extract_target, extract_weights
from modelcycle.core.cross_validation import N_FOLDS, make_folds
from modelcycle.core.holdout import holdout_columns
from modelcycle.core.model_file import fit, predict
from modelcycle.core.params import Holdout, Params
from modelcycle.core.team import make_features

MIN_ROWS, MIN_GROUPS = 200, 30  # of a hold-out set; fewer make intervals too wide to tell anything


def predict_unseen(
    model: Pipeline, train: pd.DataFrame, test: pd.DataFrame, contract: Contract, params: Params
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict the rows that the model is judged on: (n, m) rows and (n, 1 + c) predictions.

    These are the (n, m) test rows. Where they are fewer than 200, or of fewer than 30 groups, they are those of
    cross-validation: models with the same settings predict what they were not trained on, of training and test rows
    together. By time, each is trained on what lies before, so that the first rows are not predicted.
    """
    splits = list_splits(train, test, contract, params)
    if splits[0][1] is test:
        return test, predict(model, make_features(test, contract))
    predictions = []
    for learn, judged in splits:
        target, weights = extract_target(learn, contract), extract_weights(learn, contract)
        fitted = fit(clone(model), make_features(learn, contract), target, weights)
        predictions.append(predict(fitted, make_features(judged, contract)))
    pooled = pool_predictions(predictions)
    return pd.concat([judged for _, judged in splits]).loc[pooled.index], pooled


def list_splits(
    train: pd.DataFrame, test: pd.DataFrame, contract: Contract, params: Params
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """List the rows to train on with those to predict: (t, m) and (n, m) themselves, or their folds, numbered anew."""
    rows, holdout = pd.concat([train, test], ignore_index=True), params.prepare.holdout
    if not is_small(test, holdout, contract) or not can_be_split(rows, holdout, contract):
        return [(train, test)]
    splits = [(rows.iloc[learn], rows.iloc[judged]) for learn, judged in make_folds(rows, holdout, contract)]
    return splits or [(train, test)]


def pool_predictions(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Put the (n, 1 + c) predictions of each split together, in the rows' order."""
    if len(parts) == 1:
        return parts[0]
    pooled = pd.concat(parts).sort_index()
    probabilities = pooled.columns[1:].sort_values()  # a class that a fold did not hold has no probability there
    return pd.concat([pooled[["prediction"]], pooled[probabilities].fillna(0)], axis=1)


def is_small(test: pd.DataFrame, holdout: Holdout, contract: Contract) -> bool:
    """Say whether (n, m) test rows are too few to judge a model by."""
    n_groups = test.groupby(holdout_columns(holdout, contract)).ngroups if holdout.by == "group" else MIN_GROUPS
    return len(test) < MIN_ROWS or n_groups < MIN_GROUPS


def can_be_split(rows: pd.DataFrame, holdout: Holdout, contract: Contract) -> bool:
    """Say whether (n, m) rows can be cross-validated: there are enough, also of each class."""
    classes = rows[contract.target].value_counts() if contract.is_classification else [N_FOLDS]
    return (
        min(classes) >= N_FOLDS and rows.groupby(holdout_columns(holdout, contract), dropna=False).ngroups > 2 * N_FOLDS
    )
