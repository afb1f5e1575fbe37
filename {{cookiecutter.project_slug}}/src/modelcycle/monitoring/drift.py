"""Compare what a column holds now with how its profile describes the training data.

A difference alerts only if it is both: too large to be chance, and large enough to matter. With many rows every
difference passes a test, with few rows every effect is large by chance. The tests take rows to be independent; rows
that hang together, such as an hour's flights under one weather, make them too sure, and the limit on the effect holds.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, false_discovery_control, fisher_exact, kstwo

from modelcycle.monitoring.histogram import Histogram, Profile


def compare_numbers(counted: Histogram, profile: Profile) -> dict[str, Any]:
    """Test whether numbers are distributed as in training, and how far they have moved.

    counted: of one period. The test is the two-sample one of Kolmogorov and Smirnov. It looks at the profile's edges
    alone, which can only make the difference smaller, so it never alerts more often than it says; nor does it where
    values repeat (G. Noether, Note on the Kolmogorov statistic in the discrete case, Metrika 7, 1963). The p-value is
    scipy.stats.ks_2samp's for large samples. The effect is the Wasserstein distance, the area between the two
    distribution functions (S. Vallender, Theory of Probability and its Applications 18, 1974), in standard deviations
    of the training data: how far a value has moved on average.
    """
    edges, shares = np.array(profile["edges"]), np.array(profile["shares"])
    now, then = counted.present[0], profile["rows"] * (1 - profile["missing_share"])
    below, above = counted.below[0], counted.above[0]
    gaps = np.abs((below + np.cumsum(counted.inside[0])) / now - np.cumsum(shares))
    statistic = max(gaps.max(), below / now)
    outside = below * edges[0] - counted.sum_below[0] + counted.sum_above[0] - above * edges[-1]
    return {
        "test": "Kolmogorov-Smirnov",
        "statistic": statistic,
        "p": kstwo.sf(statistic, max(1, round(now * then / (now + then)))),
        "effect_name": "Wasserstein distance in standard deviations",
        "effect": (gaps[:-1] @ np.diff(edges) + outside / now) / (profile["std"] or 1),
        "then": profile["mean"],
        "now": counted.sums[0] / now,
    }


def compare_categories(counted: Histogram, profile: Profile) -> dict[str, Any]:
    """Test whether categories have the shares that they had in training, and how far the shares are apart.

    counted: of one period. The test is Pearson's chi-square for two samples; categories of which less than 5 are
    expected count as one (W. Cochran, Some methods for strengthening the common chi-square tests, Biometrics 10, 1954).
    The effect is the Jensen-Shannon distance, from 0 to 1 (D. Endres, J. Schindelin, IEEE Transactions on Information
    Theory 49, 2003), its square less what chance alone adds on average: else many categories and few rows would be an
    effect. then, now: the shares of the category that has changed most.
    """
    now = np.append(counted.inside[0], counted.above[0])
    then = np.append(list(profile["shares"].values()), 0) * profile["rows"] * (1 - profile["missing_share"])
    table = np.array([then, now])
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    table = np.c_[table[:, expected >= 5], table[:, expected < 5].sum(axis=1)]
    table = table[:, table.any(axis=0)]
    test = chi2_contingency(table, correction=False) if table.shape[1] > 1 else None
    by_chance = (test.dof if test else 0) * (1 / now.sum() + 1 / then.sum()) / (8 * np.log(2))
    changes = np.abs(now / now.sum() - then / then.sum())
    most = int(changes.argmax())
    return {
        "test": "chi-square",
        "statistic": test.statistic if test else 0.0,
        "p": test.pvalue if test else 1.0,
        "effect_name": "Jensen-Shannon distance",
        "effect": np.sqrt(max(0, jensenshannon(then, now, base=2) ** 2 - by_chance)),
        "then": (then / then.sum())[most],
        "now": (now / now.sum())[most],
        "category": [*profile["shares"], ""][most],
    }


def compare_shares(now: float, rows: float, then: float, rows_then: float) -> dict[str, Any]:
    """Test whether `now` of `rows` values are a larger or smaller share than `then` of `rows_then` were.

    Fisher's exact test (R. Fisher, Statistical Methods for Research Workers, 1934), which holds for the smallest
    counts. The effect is the difference of the shares.
    """
    table = np.array([[now, rows - now], [then, rows_then - then]]).round().astype(int)
    effect = now / rows - then / rows_then
    facts = {"effect_name": "difference of the shares", "effect": abs(effect), "then": then / rows_then}
    return {"test": "Fisher", "statistic": effect, "p": fisher_exact(table).pvalue, **facts, "now": now / rows}


def compare(name: str, histogram: Histogram, profile: Profile) -> list[dict[str, Any]]:
    """Compare a column with its profile: its values, those missing, those never seen."""
    counted, rows = histogram.total(), profile["rows"]
    known_then, known = round(rows * (1 - profile["missing_share"])), counted.present[0]
    found = [{"what": "missing", **compare_shares(counted.missing[0], counted.rows[0], rows - known_then, rows)}]
    if profile.get("shares") and known:
        found.append({"what": "unseen", **compare_shares(counted.unseen[0], known, 0, known_then)})
        values = (compare_numbers if "edges" in profile else compare_categories)(counted, profile)
        found.insert(0, {"what": "values", **values})
    return [{"column": name, "category": None, **row} for row in found]


def judge(rows: list[dict[str, Any]], chance: float, limits: dict[str, float]) -> pd.DataFrame:
    """Say which differences alert: a row for each test, with p_adjusted, limit and alert.

    chance: how often any of the tests may alert though nothing has changed. limits: of the effect, for `values`,
    `missing` and `unseen`. The p-values are corrected for the number of tests (Y. Benjamini, Y. Hochberg, Journal of
    the Royal Statistical Society B 57, 1995).
    """
    table = pd.DataFrame(rows)
    table["p_adjusted"] = false_discovery_control(np.clip(table["p"], 0, 1))
    table["limit"] = table["what"].map(limits)
    return table.assign(alert=(table["p_adjusted"] < chance) & (table["effect"] > table["limit"]))
