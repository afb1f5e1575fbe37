"""Count how often a 95 % interval holds the truth where rows belong together, on draws whose truth is known.

    .venv/bin/python benchmarks/coverage.py

Groups: 40 of 10 rows with a random effect each (machines, patients). Time: 400 rows whose errors follow an AR(1). The
errors are normal, so that the mean absolute error and the AUC of all possible rows are known in closed form.
"""

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from baked import HERE
from scipy.stats import norm

sys.path.insert(0, str(HERE / "{{cookiecutter.project_slug}}/src"))
from modelcycle.core.holdout import TIME_BLOCKS
from modelcycle.core.metrics import bootstrap_intervals

DRAWS, RESAMPLES = 500, 500
GROUPS = np.repeat(np.arange(40), 10)
N = len(GROUPS)
Draw = tuple[np.ndarray, pd.DataFrame]


def draw_amounts(random: np.random.Generator, error: np.ndarray) -> Draw:
    """Draw (n,) true amounts and predictions that are wrong by (n,) errors."""
    truth = random.normal(0, 3, N)
    return truth, pd.DataFrame({"prediction": truth + error})


def draw_classes(random: np.random.Generator, error: np.ndarray) -> Draw:
    """Draw (n,) classes, alike within a group, and probabilities whose order is disturbed by (n,) errors."""
    truth = random.random(N) < random.beta(0.5, 0.5, 40)[GROUPS]
    probability = norm.cdf(truth + error - 0.5)
    table = {"prediction": probability > 0.5, "probability_False": 1 - probability, "probability_True": probability}
    return truth, pd.DataFrame(table)


def draw_group_errors(random: np.random.Generator) -> np.ndarray:
    """Draw (n,) errors with variance 1, half of it shared by the rows of a group."""
    return np.asarray(random.normal(0, 0.5**0.5, 40)[GROUPS] + random.normal(0, 0.5**0.5, N))


def draw_series_errors(random: np.random.Generator) -> np.ndarray:
    """Draw (n,) errors with variance 1, each 0.7 of the one before and chance."""
    noise = random.normal(size=N)
    errors = [noise[0]]
    for shock in noise[1:]:
        errors.append(0.7 * errors[-1] + (1 - 0.7**2) ** 0.5 * shock)
    return np.array(errors)


def share_covered(draw: Callable[[np.random.Generator], Draw], metric: str, truth: float, **options: object) -> float:
    """Give the share of the draws whose interval holds the truth."""
    covered = []
    for seed in range(DRAWS):
        interval = bootstrap_intervals(*draw(np.random.default_rng(seed)), RESAMPLES, **options).loc[metric]
        covered.append(interval["low"] <= truth <= interval["high"])
    return float(np.mean(covered))


def main() -> None:
    """Print the share for each kind of data."""
    mae, auc = (2 / np.pi) ** 0.5, float(norm.cdf(0.5**0.5))
    blocks = np.arange(N) * TIME_BLOCKS // N
    cases: list[tuple[str, Callable[[np.random.Generator], Draw], str, float, np.ndarray]] = [
        ("independent rows, MAE", lambda random: draw_amounts(random, random.normal(size=N)), "mae", mae, np.arange(N)),
        ("40 groups, MAE", lambda random: draw_amounts(random, draw_group_errors(random)), "mae", mae, GROUPS),
        ("40 groups, AUC", lambda random: draw_classes(random, draw_group_errors(random)), "roc_auc", auc, GROUPS),
        (
            "AR(1) in 20 blocks, MAE",
            lambda random: draw_amounts(random, draw_series_errors(random)),
            "mae",
            mae,
            blocks,
        ),
    ]
    print(f"| {DRAWS} draws of {N} rows | rows drawn one by one | groups or blocks drawn |\n|---|---|---|")
    for name, draw, metric, truth, groups in cases:
        alone, together = share_covered(draw, metric, truth), share_covered(draw, metric, truth, groups=groups)
        print(f"| {name} | {alone:.1%} | {together:.1%} |", flush=True)


if __name__ == "__main__":
    main()
