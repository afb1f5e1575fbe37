"""Count a column's values by the bins of its profile, so that chunks of any number of rows add up.

The bins of numbers end at the profile's edges, those of categories are its categories. What training never held is
counted beside them: below the first edge, above the last one or, for categories, never seen.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Profile = dict[str, Any]  # of one column, as `reference.describe_column` makes it


@dataclass(frozen=True)
class Histogram:
    """Counts by period, (p,) or (p, k) for the k bins of the profile, and the sums of numbers, 0 for categories.

    A category that was never seen counts as above.
    """

    inside: np.ndarray  # (p, k)
    below: np.ndarray
    above: np.ndarray
    missing: np.ndarray
    sum_inside: np.ndarray
    sum_below: np.ndarray
    sum_above: np.ndarray

    @classmethod
    def count(cls, values: pd.Series, periods: np.ndarray, n_periods: int, profile: Profile) -> "Histogram":
        """Count (n,) values. periods: (n,) the period of each value, from 0 to n_periods - 1."""
        bins, is_below, is_above, is_missing = _locate(values, profile)
        is_inside = ~(is_below | is_above | is_missing)
        n_bins = len(profile.get("shares", []))
        cells = periods[is_inside] * n_bins + bins[is_inside]
        inside = np.bincount(cells, minlength=n_periods * n_bins).reshape(n_periods, n_bins).astype(float)
        numbers = values.to_numpy("float64") if "edges" in profile else np.zeros(len(values))

        def count_by_period(mask: np.ndarray) -> np.ndarray:
            return np.bincount(periods[mask], minlength=n_periods).astype(float)

        def sum_by_period(mask: np.ndarray) -> np.ndarray:
            return np.bincount(periods[mask], numbers[mask], n_periods).astype(float)

        return cls(
            inside,
            count_by_period(is_below),
            count_by_period(is_above),
            count_by_period(is_missing),
            sum_by_period(is_inside),
            sum_by_period(is_below),
            sum_by_period(is_above),
        )

    def __add__(self, other: "Histogram") -> "Histogram":
        """Add the counts of other rows, of the same periods."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Histogram(*(own_counts + other_counts for own_counts, other_counts in pairs))

    def total(self) -> "Histogram":
        """Sum over all periods, (1,) and (1, k)."""
        return Histogram(*(counts.sum(axis=0, keepdims=True) for counts in vars(self).values()))

    @property
    def unseen(self) -> np.ndarray:
        """How many values training never held, (p,)."""
        return np.asarray(self.below + self.above)

    @property
    def present(self) -> np.ndarray:
        """How many values are not missing, (p,)."""
        return np.asarray(self.inside.sum(axis=1) + self.unseen)

    @property
    def rows(self) -> np.ndarray:
        """How many values there are, (p,)."""
        return np.asarray(self.present + self.missing)

    @property
    def sums(self) -> np.ndarray:
        """The sums of numbers, (p,)."""
        return np.asarray(self.sum_inside + self.sum_below + self.sum_above)


def _locate(values: pd.Series, profile: Profile) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the bin of each of (n,) values and, as (n,) booleans, which are below, above or missing."""
    is_missing = values.isna().to_numpy()
    if "edges" not in profile:
        codes, categories = pd.factorize(values)
        category_bins = pd.Index(list(profile.get("shares", []))).get_indexer(pd.Index(categories).astype("str"))
        bins = np.append(category_bins, -1)[codes]  # the code of a missing value is -1
        return bins, np.zeros(len(values), bool), (bins < 0) & ~is_missing, is_missing
    numbers, edges = values.to_numpy("float64"), np.array(profile["edges"])
    return np.searchsorted(edges, numbers), numbers < edges[0], numbers > edges[-1], np.isnan(numbers)
