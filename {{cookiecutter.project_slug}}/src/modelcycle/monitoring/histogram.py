"""Count a column's values by the bins of its profile, so that chunks of any number of rows add up.

The bins of numbers end at the profile's edges, those of categories are its categories. What training never held is
counted beside them: below the first edge, above the last one or, for categories, never seen.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Profile = dict[str, Any]  # of one column, as `prepare.describe` writes it


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
    def count(cls, values: pd.Series, periods: np.ndarray, many: int, profile: Profile) -> "Histogram":
        """Count (n,) values. periods: (n,) the period of each value, from 0 to many - 1."""
        bins, is_below, is_above, is_missing = _place(values, profile)
        is_inside = ~(is_below | is_above | is_missing)
        width = len(profile.get("shares", []))
        cells = periods[is_inside] * width + bins[is_inside]
        inside = np.bincount(cells, minlength=many * width).reshape(many, width).astype(float)
        numbers = values.to_numpy("float64") if "edges" in profile else np.zeros(len(values))

        def by_period(which: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
            chosen = None if weights is None else weights[which]
            return np.bincount(periods[which], chosen, many).astype(float)

        return cls(
            inside,
            by_period(is_below),
            by_period(is_above),
            by_period(is_missing),
            by_period(is_inside, numbers),
            by_period(is_below, numbers),
            by_period(is_above, numbers),
        )

    def __add__(self, other: "Histogram") -> "Histogram":
        """Add the counts of other rows, of the same periods."""
        return Histogram(
            *(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def total(self) -> "Histogram":
        """Put all periods together into one, (1,) and (1, k)."""
        return Histogram(*(part.sum(axis=0, keepdims=True) for part in vars(self).values()))

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


def _place(values: pd.Series, profile: Profile) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Say in which bin each of (n,) values lies and, (n,) booleans, which are below, above or missing."""
    missing = values.isna().to_numpy()
    if "edges" not in profile:
        codes, names = pd.factorize(values)
        known = pd.Index(list(profile.get("shares", []))).get_indexer(pd.Index(names).astype("str"))
        bins = np.append(known, -1)[codes]  # the code of a missing value is -1
        return bins, np.zeros(len(values), bool), (bins < 0) & ~missing, missing
    numbers, edges = values.to_numpy("float64"), np.array(profile["edges"])
    return np.searchsorted(edges, numbers), numbers < edges[0], numbers > edges[-1], np.isnan(numbers)
