"""How good predictions are, for many weightings of the rows at once, which is what a bootstrap needs.

scikit-learn's functions take one weighting per call; a test proves that these give the same figures.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

LEADING = {True: "roc_auc", False: "mae"}  # the metric to judge by, for classes and for amounts
HIGHER_IS_BETTER = {"roc_auc", "accuracy", "r2"}
MEANING = {
    "roc_auc": "how often a case of a class gets a higher probability for it than a case of another; 0.5 is guessing",
    "accuracy": "share of cases whose most probable class is the right one",
    "log_loss": "how wrong the probabilities are, confident errors most; 0 is perfect",
    "brier": "mean squared distance between probability and what happened; 0 is perfect",
    "mae": "mean distance between prediction and truth, in the target's unit",
    "rmse": "like mae, but large errors count more",
    "r2": "share of the target's variation that is explained; 0 is what the average achieves",
}


def weighted_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve as the Mann-Whitney statistic, ties counting half.

    positive: (n,) booleans. scores: (n,). weights: (d, n).
    Returns (d,), NaN where one of the two sides has no weight.
    """
    order = np.argsort(scores)
    first_of_ties = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    weights = weights[:, order]
    wins = np.add.reduceat(weights * positive[order], first_of_ties, axis=1)
    losses = np.add.reduceat(weights * ~positive[order], first_of_ties, axis=1)
    below = losses.cumsum(axis=1) - losses / 2
    with np.errstate(invalid="ignore"):
        return np.asarray((wins * below).sum(axis=1) / (wins.sum(axis=1) * losses.sum(axis=1)))


def score(truth: np.ndarray, predictions: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Score predictions once for each row of weights.

    truth: (n,). predictions: (n, 1 + c) as `model.predict` gives them. weights: (d, n).
    Returns (d,) figures for each metric: for classes where there are probabilities or classes, else for amounts.
    """
    shares = weights / weights.sum(axis=1, keepdims=True)
    classes = predictions.columns[1:].str.removeprefix("probability_").to_numpy()
    if not len(classes):
        error = predictions["prediction"].to_numpy(float) - truth
        centred = truth - truth.mean()  # or large values would drown their spread
        spread = shares @ centred**2 - (shares @ centred) ** 2
        squared = shares @ error**2
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "mae": shares @ np.abs(error),
                "rmse": np.sqrt(squared),
                "r2": np.where(spread > 0, 1 - squared / spread, np.nan),
            }
    probabilities = predictions.to_numpy()[:, 1:].astype(float)
    happened = truth.astype(str)[:, None] == classes
    given = np.clip((probabilities * happened).sum(axis=1), 1e-15, 1)
    seen = [i for i in range(len(classes)) if happened[:, i].any()][-1 if len(classes) == 2 else 0 :]
    areas = np.array([weighted_auc(happened[:, i], probabilities[:, i], weights) for i in seen]).reshape(
        -1, len(weights)
    )
    with np.errstate(invalid="ignore"):
        auc = np.nansum(areas, axis=0) / np.isfinite(areas).sum(axis=0)
    half = 2 if len(classes) == 2 else 1  # the customary Brier score of two classes counts one of them
    return {
        "roc_auc": auc,
        "log_loss": shares @ -np.log(given),
        "brier": shares @ ((probabilities - happened) ** 2).sum(axis=1) / half,
        "accuracy": shares @ (predictions["prediction"].to_numpy() == truth).astype(float),
    }


def resamples(rows: int, draws: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw bootstrap resamples of rows as weights, in batches (b, rows) that fit into memory."""
    random = np.random.default_rng(seed)
    batch = max(1, 2_000_000 // rows)
    for start in range(0, draws, batch):
        picks = random.integers(0, rows, (min(batch, draws - start), rows))
        yield np.stack([np.bincount(pick, minlength=rows) for pick in picks]).astype(float)


def intervals(truth: np.ndarray, predictions: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Score predictions with 95 % bootstrap intervals: a row for each metric, with value, low and high.

    The percentile interval of B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    values = score(truth, predictions, np.ones((1, len(truth))))
    batches = [score(truth, predictions, weights) for weights in resamples(len(truth), draws)]
    figures = {}
    for metric, value in values.items():
        drawn = np.concatenate([batch[metric] for batch in batches])
        drawn = drawn[np.isfinite(drawn)]
        figures[metric] = [value[0], *(np.quantile(drawn, [0.025, 0.975]) if len(drawn) else [np.nan, np.nan])]
    table = pd.DataFrame.from_dict(figures, orient="index", columns=["value", "low", "high"])
    return table.map(six_digits)


def format_metrics(metrics: dict[str, float]) -> str:
    """Write metrics as people read them."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def six_digits(figure: float) -> float:
    """Round to six significant digits, of which no more are ever meant."""
    return float(f"{figure:.6g}")
