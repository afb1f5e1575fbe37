"""Compare what a column holds now with how its profile describes the training data.

A difference alerts only if it is both: too large to be chance, and large enough to matter. With many rows every
difference passes a test, with few rows every effect is large by chance. The tests take rows to be independent; rows
that hang together, such as an hour's flights under one weather, make them too sure, and the limit on the effect holds.

Everything is computed from counts over the profile's bins, so that chunks of any number of rows add up. For a column
with k edges or categories these are k + 3: the k known ones, below all, above all or never seen, missing.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, false_discovery_control, fisher_exact, kstwo

BELOW, ABOVE, MISSING = -3, -2, -1  # the bins after the known ones; a category never seen is above all

Profile = dict[str, Any]  # of one column, as `prepare.describe` writes it


def place(values: pd.Series, profile: Profile) -> np.ndarray:
    """Say in which bin each of (n,) values lies: (n,) numbers from 0 to k + 2."""
    known = len(profile.get("shares", []))
    below, above, missing = (known + 3 + which for which in (BELOW, ABOVE, MISSING))
    if "edges" not in profile:
        codes, names = pd.factorize(values)
        bins = pd.Index(list(profile.get("shares", []))).get_indexer(pd.Index(names).astype("str"))
        return np.append(np.where(bins < 0, above, bins), missing)[codes]  # the code of a missing value is -1
    numbers, edges = values.to_numpy("float64"), np.array(profile["edges"])
    bins = np.searchsorted(edges, numbers)
    bins[bins == known] = above
    bins[numbers < edges[0]] = below
    bins[np.isnan(numbers)] = missing
    return bins


def tally(values: pd.Series, periods: np.ndarray, many: int, profile: Profile) -> np.ndarray:
    """Count (n,) values by period and bin, and add them up: (2, many, k + 3) counts and, of numbers, sums.

    periods: (n,) the period of each value, from 0 to many - 1. Tallies of chunks add up.
    """
    width = len(profile.get("shares", [])) + 3
    cells, size = periods * width + place(values, profile), many * width
    weights = values.to_numpy("float64") if "edges" in profile else np.zeros(len(values))
    both = [np.bincount(cells, minlength=size), np.bincount(cells, weights, size)]
    return np.array(both, dtype=float).reshape(2, many, width)


def compare_numbers(counts: np.ndarray, sums: np.ndarray, profile: Profile) -> dict[str, Any]:
    """Test whether numbers are distributed as in training, and how far they have moved.

    counts, sums: (k + 3,). The test is the two-sample one of Kolmogorov and Smirnov. It looks at the profile's edges
    alone, which can only make the difference smaller, so it never alerts more often than it says; nor does it where
    values repeat (G. Noether, Note on the Kolmogorov statistic in the discrete case, Metrika 7, 1963). The p-value is
    scipy.stats.ks_2samp's for large samples. The effect is the Wasserstein distance, the area between the two
    distribution functions (S. Vallender, Theory of Probability and its Applications 18, 1974), in standard deviations
    of the training data: how far a value has moved on average.
    """
    edges, shares = np.array(profile["edges"]), np.array(profile["shares"])
    now, then = counts[:MISSING].sum(), profile["rows"] * (1 - profile["missing_share"])
    gaps = np.abs((counts[BELOW] + np.cumsum(counts[:BELOW])) / now - np.cumsum(shares))
    statistic = max(gaps.max(), counts[BELOW] / now)
    outside = counts[BELOW] * edges[0] - sums[BELOW] + sums[ABOVE] - counts[ABOVE] * edges[-1]
    return {
        "test": "Kolmogorov-Smirnov",
        "statistic": statistic,
        "p": kstwo.sf(statistic, max(1, round(now * then / (now + then)))),
        "effect_name": "Wasserstein distance in standard deviations",
        "effect": (gaps[:-1] @ np.diff(edges) + outside / now) / (profile["std"] or 1),
        "then": profile["mean"],
        "now": sums[:MISSING].sum() / now,
    }


def compare_categories(counts: np.ndarray, profile: Profile) -> dict[str, Any]:
    """Test whether categories have the shares that they had in training, and how far the shares are apart.

    counts: (k + 3,). The test is Pearson's chi-square for two samples; categories of which less than 5 are expected
    count as one (W. Cochran, Some methods for strengthening the common chi-square tests, Biometrics 10, 1954). The
    effect is the Jensen-Shannon distance, from 0 to 1 (D. Endres, J. Schindelin, IEEE Transactions on Information
    Theory 49, 2003), its square less what chance alone adds on average: else many categories and few rows would be an
    effect. then, now: the shares of the category that has changed most.
    """
    now = np.append(counts[:BELOW], counts[ABOVE])
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


def compare(name: str, counted: np.ndarray, profile: Profile) -> list[dict[str, Any]]:
    """Compare a column's tally (2, p, k + 3) with its profile: its values, those missing, those never seen."""
    (counts, sums), rows = counted.sum(axis=1), profile["rows"]
    known_then, known = round(rows * (1 - profile["missing_share"])), counts[:MISSING].sum()
    found = [{"what": "missing", **compare_shares(counts[MISSING], counts.sum(), rows - known_then, rows)}]
    if profile.get("shares") and known:
        unseen = counts[BELOW] + counts[ABOVE]
        found.append({"what": "unseen", **compare_shares(unseen, known, 0, known_then)})
        numbers = "edges" in profile
        values = compare_numbers(counts, sums, profile) if numbers else compare_categories(counts, profile)
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
