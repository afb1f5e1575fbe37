"""Cross-validation: how good a model is on rows that it was not fitted on."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold

from modelcycle.core.metrics import score_predictions
from modelcycle.core.model_file import predict


def score_by_folds(
    model: Any, features: pd.DataFrame, target: np.ndarray, metric: str, n_folds: int, groups: pd.Series | None = None
) -> float:
    """Fit a model on all folds but one, score it on that one by `metric`, and give the mean over all folds.

    features: (n, k). target: (n,); a class may be missing from a fold. groups: (n,), whose rows share a fold.
    Raises what the model raises, and ValueError where there are fewer rows or groups than folds.
    """
    splitter = KFold if groups is None else GroupKFold
    scores = []
    for learn, judge in splitter(n_folds, shuffle=True, random_state=0).split(features, groups=groups):
        fitted = clone(model).fit(features.iloc[learn], target[learn])
        scores.append(score_predictions(target[judge], predict(fitted, features.iloc[judge]))[metric])
    return float(np.mean(scores))
