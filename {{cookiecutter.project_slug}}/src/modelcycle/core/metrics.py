"""How good predictions are, for many weightings of the rows at once, which is what a bootstrap needs.

scikit-learn's functions take one weighting per call; a test proves that these give the same values.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import norm, t

LEADING_METRIC = {True: "roc_auc", False: "mae"}  # the metric to judge by, for classes and for amounts
# A proper score: only the true probabilities, or for amounts the true median, are expected to be best by it.
PROPER_SCORE = {True: "log_loss", False: "mae"}
HIGHER_IS_BETTER = {"roc_auc", "accuracy", "r2"}
METRIC_MEANINGS = {
    "roc_auc": "how often a case of a class gets a higher probability for it than a case of another; 0.5 is guessing",
    "accuracy": "share of cases whose most probable class is the right one",
    "log_loss": "how wrong the probabilities are, confident errors most; 0 is perfect",
    "brier": "mean squared distance between probability and what happened; 0 is perfect",
    "mae": "mean distance between prediction and truth, in the target's unit",
    "rmse": "like mae, but large errors count more",
    "r2": "share of the target's variation that is explained; 0 is what the average achieves",
}


def direction(metric: str) -> int:
    """Give 1 for a metric of which more is better, and -1 for one of which less is."""
    return 1 if metric in HIGHER_IS_BETTER else -1


def weighted_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve as the Mann-Whitney statistic, ties counting half.

    positive: (n,) booleans. scores: (n,). weights: (r, n).
    Returns (r,), NaN where one of the two sides has no weight.
    """
    order = np.argsort(scores)
    first_of_ties = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    weights = weights[:, order]
    wins = np.add.reduceat(weights * positive[order], first_of_ties, axis=1)
    losses = np.add.reduceat(weights * ~positive[order], first_of_ties, axis=1)
    below = losses.cumsum(axis=1) - losses / 2
    with np.errstate(invalid="ignore"):
        return np.asarray((wins * below).sum(axis=1) / (wins.sum(axis=1) * losses.sum(axis=1)))


def score_predictions(
    truth: np.ndarray, predictions: pd.DataFrame, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Score (n, 1 + c) predictions against the (n,) truth by each metric; without weights all rows count the same."""
    scores = score_resamples(truth, predictions, np.ones((1, len(truth))) if weights is None else weights[None])
    return {metric: float(values[0]) for metric, values in scores.items()}


def score_resamples(truth: np.ndarray, predictions: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Score predictions by each metric once for each row of weights, such as `draw_resamples` gives.

    truth: (n,). predictions: (n, 1 + c) as `model_file.predict` gives them. weights: (r, n).
    Returns (r,) values for each metric: those of classification where there are probabilities, else of regression.
    """
    is_classification = len(predictions.columns) > 1
    return (_score_classification if is_classification else _score_regression)(truth, predictions, weights)


def _score_regression(truth: np.ndarray, predictions: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    shares = weights / weights.sum(axis=1, keepdims=True)
    error = predictions["prediction"].to_numpy(float) - truth
    centred = truth - truth.mean()  # or large values would drown their variance
    variance = shares @ centred**2 - (shares @ centred) ** 2
    mean_squared_error = shares @ error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "mae": shares @ np.abs(error),
            "rmse": np.sqrt(mean_squared_error),
            "r2": np.where(variance > 0, 1 - mean_squared_error / variance, np.nan),
        }


def _score_classification(truth: np.ndarray, predictions: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    shares = weights / weights.sum(axis=1, keepdims=True)
    classes = predictions.columns[1:].str.removeprefix("probability_").to_numpy()
    probabilities = predictions.to_numpy()[:, 1:].astype(float)
    one_hot = truth.astype(str)[:, None] == classes
    true_class_probabilities = np.clip((probabilities * one_hot).sum(axis=1), 1e-15, 1)
    present = [i for i in range(len(classes)) if one_hot[:, i].any()]
    scored = present[-1:] if len(classes) == 2 else present  # both of two classes have the same area
    areas = [weighted_auc(one_hot[:, i], probabilities[:, i], weights) for i in scored]
    areas_by_class = np.array(areas).reshape(-1, len(weights))
    with np.errstate(invalid="ignore"):
        mean_auc = np.nansum(areas_by_class, axis=0) / np.isfinite(areas_by_class).sum(axis=0)
    brier_terms = 2 if len(classes) == 2 else 1  # the customary Brier score of two classes counts one of them
    return {
        "roc_auc": mean_auc,
        "log_loss": shares @ -np.log(true_class_probabilities),
        "brier": shares @ ((probabilities - one_hot) ** 2).sum(axis=1) / brier_terms,
        "accuracy": shares @ (predictions["prediction"].to_numpy() == truth).astype(float),
    }


def draw_resamples(
    n_rows: int,
    n_resamples: int,
    seed: int = 0,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Draw bootstrap resamples of rows as weights, in batches (b, n_rows) that fit into memory.

    groups: (n_rows,) numbers of groups, which are drawn as a whole. weights: (n_rows,) how much each row counts.
    """
    random = np.random.default_rng(seed)
    batch = max(1, 2_000_000 // n_rows)
    n_drawn = count_groups(n_rows, groups)
    for start in range(0, n_resamples, batch):
        samples = random.integers(0, n_drawn, (min(batch, n_resamples - start), n_drawn))
        drawn = np.stack([np.bincount(sample, minlength=n_drawn) for sample in samples]).astype(float)
        drawn = drawn if groups is None else drawn[:, groups]
        yield drawn if weights is None else drawn * weights


def count_groups(n_rows: int, groups: np.ndarray | None) -> int:
    """Count what is drawn in a resample: rows, or groups of them, which are numbered from 0."""
    return n_rows if groups is None else int(groups.max()) + 1


def bootstrap_intervals(
    truth: np.ndarray,
    predictions: pd.DataFrame,
    n_resamples: int,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> pd.DataFrame:
    """Score predictions with 95 % bootstrap intervals: a row for each metric, with value, low and high.

    groups: (n,) where rows are not independent, such as those of a machine, or of a span of time: `group_rows` gives
    them. weights: (n,) how much each row counts.
    """
    draws = draw_resamples(len(truth), n_resamples, 0, groups, weights)
    batches = [score_resamples(truth, predictions, drawn) for drawn in draws]
    tail = expand_tail(0.025, count_groups(len(truth), groups))
    rows = {}
    for metric, value in score_predictions(truth, predictions, weights).items():
        scores = np.concatenate([batch[metric] for batch in batches])
        scores = scores[np.isfinite(scores)]
        rows[metric] = [value, *(np.quantile(scores, [tail, 1 - tail]) if len(scores) else [np.nan, np.nan])]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    return table.map(round_to_six_digits)


def expand_tail(tail: float, n_drawn: int) -> float:
    """Give the share of resamples to leave out at an interval's end so that `tail` of the truth lies beyond.

    The percentile interval is too narrow where few rows or groups are drawn; this is the expanded one of T. Hesterberg,
    What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), section 4.
    """
    if n_drawn < 3:
        return 0.0
    return float(norm.cdf(np.sqrt(n_drawn / (n_drawn - 1)) * t.ppf(tail, n_drawn - 1)))


def round_to_six_digits(number: float) -> float:
    """Round to six significant digits; further ones mean nothing."""
    return float(f"{number:.6g}")
