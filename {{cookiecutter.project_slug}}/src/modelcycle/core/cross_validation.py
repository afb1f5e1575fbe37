"""Cross-validation: how good a model is on rows that it was not fitted on."""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, TimeSeriesSplit

from modelcycle.core.contract import Contract
from modelcycle.core.holdout import holdout_columns
from modelcycle.core.metrics import score_predictions
from modelcycle.core.model_file import predict
from modelcycle.core.params import Holdout

N_FOLDS = 5


def make_folds(rows: pd.DataFrame, holdout: Holdout, contract: Contract) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Split (n, m) rows into folds as the hold-out set is chosen; gives the positions to train on and to predict.

    By time, what lies before is trained on, so that the first rows are in no fold. Where these are of one class, or all
    in the gap, there is one fold less.
    """
    names, target = holdout_columns(holdout, contract), rows[contract.target].reset_index(drop=True)
    folds: Iterable[tuple[np.ndarray, np.ndarray]]
    if holdout.by == "time":
        times = rows[names[0]].reset_index(drop=True)
        order = times.argsort(kind="stable").to_numpy()
        later = [order[test] for _, test in TimeSeriesSplit(N_FOLDS).split(order)]
        folds = [(np.flatnonzero(times < times[test].min() - holdout.gap), test) for test in later]
    else:
        groups = rows.groupby(names, dropna=False).ngroup()
        kind = StratifiedGroupKFold if contract.is_classification else GroupKFold
        with warnings.catch_warnings(action="ignore"):  # of classes that are in few groups
            folds = list(kind(N_FOLDS, shuffle=True, random_state=0).split(rows, target.astype("str"), groups))
    yield from (fold for fold in folds if target[fold[0]].nunique() > 1)


def score_by_folds(
    model: Any,
    features: pd.DataFrame,
    target: np.ndarray,
    metric: str,
    folds: Iterable[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Fit a model for each of f folds, score it on the rows to predict by `metric`, and give the (f,) scores.

    features: (n, k). target: (n,); a class may be missing from a fold. folds: the positions to train on and to predict.
    Raises what the model raises.
    """
    scores = []
    for learn, judge in folds:
        fitted = clone(model).fit(features.iloc[learn], target[learn])
        scores.append(score_predictions(target[judge], predict(fitted, features.iloc[judge]))[metric])
    return np.array(scores)
