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


def compare_numbers(histogram: Histogram, profile: Profile) -> dict[str, Any]:
    """Test whether numbers are distributed as in training, and how far they have moved.

    histogram: of one period. The test is the two-sample one of Kolmogorov and Smirnov. It looks at the profile's edges
    alone, which can only make the difference smaller, so it never alerts more often than it says; nor does it where
    values repeat (G. Noether, Note on the Kolmogorov statistic in the discrete case, Metrika 7, 1963). The p-value is
    scipy.stats.ks_2samp's for large samples. The effect is the Wasserstein distance, the area between the two
    distribution functions (S. Vallender, Theory of Probability and its Applications 18, 1974), in standard deviations
    of the training data: how far a value has moved on average.
    """
    edges, shares = np.array(profile["edges"]), np.array(profile["shares"])
    n_now, n_then = histogram.present[0], profile["rows"] * (1 - profile["missing_share"])
    below, above = histogram.below[0], histogram.above[0]
    gaps = np.abs((below + np.cumsum(histogram.inside[0])) / n_now - np.cumsum(shares))
    statistic = max(gaps.max(), below / n_now)
    outside = below * edges[0] - histogram.sum_below[0] + histogram.sum_above[0] - above * edges[-1]
    return {
        "test": "Kolmogorov-Smirnov",
        "statistic": statistic,
        "p": kstwo.sf(statistic, max(1, round(n_now * n_then / (n_now + n_then)))),
        "effect_name": "Wasserstein distance in standard deviations",
        "effect": (gaps[:-1] @ np.diff(edges) + outside / n_now) / (profile["std"] or 1),
        "then": profile["mean"],
        "now": histogram.sums[0] / n_now,
    }


def compare_categories(histogram: Histogram, profile: Profile) -> dict[str, Any]:
    """Test whether categories have the shares that they had in training, and how far the shares are apart.

    histogram: of one period. The test is Pearson's chi-square for two samples; categories of which less than 5 are
    expected count as one (W. Cochran, Some methods for strengthening the common chi-square tests, Biometrics 10, 1954).
    The effect is the Jensen-Shannon distance, from 0 to 1 (D. Endres, J. Schindelin, IEEE Transactions on Information
    Theory 49, 2003), its square less what chance alone adds on average: else many categories and few rows would be an
    effect. then, now: the shares of the category that has changed most.
    """
    now = np.append(histogram.inside[0], histogram.above[0])
    then = np.append(list(profile["shares"].values()), 0) * profile["rows"] * (1 - profile["missing_share"])
    table = np.array([then, now])
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    table = np.c_[table[:, expected >= 5], table[:, expected < 5].sum(axis=1)]
    table = table[:, table.any(axis=0)]
    test = chi2_contingency(table, correction=False) if table.shape[1] > 1 else None
    by_chance = (test.dof if test else 0) * (1 / now.sum() + 1 / then.sum()) / (8 * np.log(2))
    changes = np.abs(now / now.sum() - then / then.sum())
    largest = int(changes.argmax())
    return {
        "test": "chi-square",
        "statistic": test.statistic if test else 0.0,
        "p": test.pvalue if test else 1.0,
        "effect_name": "Jensen-Shannon distance",
        "effect": np.sqrt(max(0, jensenshannon(then, now, base=2) ** 2 - by_chance)),
        "then": (then / then.sum())[largest],
        "now": (now / now.sum())[largest],
        "category": [*profile["shares"], ""][largest],
    }


def compare_shares(count_now: float, n_now: float, count_then: float, n_then: float) -> dict[str, Any]:
    """Test whether `count_now` of `n_now` values are a larger or smaller share than `count_then` of `n_then` were.

    Fisher's exact test (R. Fisher, Statistical Methods for Research Workers, 1934), which holds for the smallest
    counts. The effect is the difference of the shares.
    """
    table = np.array([[count_now, n_now - count_now], [count_then, n_then - count_then]]).round().astype(int)
    now, then = count_now / n_now, count_then / n_then
    return {
        "test": "Fisher",
        "statistic": now - then,
        "p": fisher_exact(table).pvalue,
        "effect_name": "difference of the shares",
        "effect": abs(now - then),
        "then": then,
        "now": now,
    }


def compare_column(name: str, histogram: Histogram, profile: Profile) -> list[dict[str, Any]]:
    """Compare a column with its profile: a row for its values, those missing and those that training never held."""
    total, n_then = histogram.total(), profile["rows"]
    present_then, present = round(n_then * (1 - profile["missing_share"])), total.present[0]
    rows = [{"what": "missing", **compare_shares(total.missing[0], total.rows[0], n_then - present_then, n_then)}]
    if profile.get("shares") and present:
        rows.append({"what": "unseen", **compare_shares(total.unseen[0], present, 0, present_then)})
        values = (compare_numbers if "edges" in profile else compare_categories)(total, profile)
        rows.insert(0, {"what": "values", **values})
    return [{"column": name, "category": None, **row} for row in rows]


def mark_alerts(rows: list[dict[str, Any]], alpha: float, limits: dict[str, float]) -> pd.DataFrame:
    """Mark the differences that alert: a row for each test, with p_adjusted, limit and alert.

    alpha: how often any of the tests may alert though nothing has changed. limits: of the effect, for `values`,
    `missing` and `unseen`. The p-values are corrected for the number of tests (Y. Benjamini, Y. Hochberg, Journal of
    the Royal Statistical Society B 57, 1995).
    """
    table = pd.DataFrame(rows)
    table["p_adjusted"] = false_discovery_control(np.clip(table["p"], 0, 1))
    table["limit"] = table["what"].map(limits)
    return table.assign(alert=(table["p_adjusted"] < alpha) & (table["effect"] > table["limit"]))
