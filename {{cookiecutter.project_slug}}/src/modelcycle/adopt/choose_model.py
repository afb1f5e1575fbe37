"""Choose the first model for a table by cross-validation: a linear one, or boosted trees and their size."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from modelcycle.core.contract import Contract, convert_columns, extract_target
from modelcycle.core.cross_validation import make_folds, score_by_folds
from modelcycle.core.errors import first_line
from modelcycle.core.metrics import PROPER_SCORE
from modelcycle.core.params import Holdout
from modelcycle.core.team import make_features, make_model

BOOSTED = "sklearn.ensemble.HistGradientBoosting"
SIZES: list[dict[str, Any]] = [{"learning_rate": 0.05, "max_iter": 60, "max_leaf_nodes": 6}, {}]  # small, and usual
MAX_ROWS, MAX_WORK = 10_000, 1_000_000  # rows, and rows x features x classes: what fitting takes time for


def list_candidates(classification: bool) -> list[tuple[str, Any, dict[str, Any]]]:
    """List what may be chosen, the simplest first: the name in params.yaml, the class and its parameters."""
    if classification:
        linear, boosted = ("LogisticRegression", LogisticRegression, {"max_iter": 1000}), HistGradientBoostingClassifier
    else:
        linear, boosted = ("Ridge", Ridge, {}), HistGradientBoostingRegressor
    name, *rest = linear
    return [(f"sklearn.linear_model.{name}", *rest), *((BOOSTED, boosted, size) for size in SIZES)]


def choose_model(rows: pd.DataFrame, contract: Contract, holdout: Holdout) -> tuple[str, dict[str, Any], str]:
    """Choose `train.estimator` and `train.parameters` for (n, m) rows as read from the source.

    Returns both with a sentence about the scores; where the team's code fails on these rows, boosted trees as
    scikit-learn has them, with the reason.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of fits that need more steps: they lose
            losses = score_candidates(rows, contract, holdout)
    except Exception as error:  # the team's own and every library's
        return BOOSTED, {}, f"train.estimator: {BOOSTED}, since cross-validation fails here: {first_line(error)}"
    name, _, parameters = list_candidates(contract.is_classification)[find_simplest(losses)]
    scores = "linear {:.4g}, few boosted trees {:.4g}, more of them {:.4g}".format(*losses.mean(axis=1))
    return name, parameters, f"train.estimator: {name}, by {PROPER_SCORE[contract.is_classification]}: {scores}"


def find_simplest(losses: np.ndarray) -> int:
    """Find the first of c candidates whose (c, f) losses on f folds are not worse than the best by a standard error.

    After L. Breiman and others, Classification and Regression Trees (1984), with the error of the paired differences.
    """
    more = losses - losses[losses.mean(axis=1).argmin()]
    errors = more.std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return int(np.argmax(more.mean(axis=1) <= errors))


def score_candidates(rows: pd.DataFrame, contract: Contract, holdout: Holdout) -> np.ndarray:
    """Score each of c candidates by log loss or mean absolute error on f folds made like the hold-out set, (c, f).

    Of the rows at most 10,000 are drawn by chance, fewer where there are many features or classes. Those that the split
    will put into the test data are among them: with four candidates, that flatters none of them noticeably.
    """
    labelled = rows.sample(frac=1, random_state=0).dropna(subset=contract.target).head(MAX_ROWS)
    typed = convert_columns(labelled, contract.used, contract).dropna(subset=contract.target)
    n_trees = typed[contract.target].nunique() - 1 if contract.is_classification else 1  # in each step of boosting
    typed = typed.head(max(1000, MAX_WORK // (len(contract.inputs) * max(1, n_trees))))
    features, target = make_features(typed, contract), extract_target(typed, contract)
    folds = list(make_folds(typed, holdout, contract))
    losses = []
    for _, estimator, parameters in list_candidates(contract.is_classification):
        model = make_model(estimator(random_state=0, **parameters), features)
        score = PROPER_SCORE[contract.is_classification]
        losses.append(score_by_folds(model, features, target, score, folds))
    return np.array(losses)
