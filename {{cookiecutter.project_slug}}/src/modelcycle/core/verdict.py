"""The gate's verdicts on a model, as release, report and cards show them."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Verdict:
    """The verdict of one rule on a model, in words.

    interval: value, low and high of the metric, where the rule is about it.
    """

    rule: str
    passed: bool
    found: str
    expected: str
    meaning: str
    interval: dict[str, float] = field(default_factory=dict)


@dataclass
class Duel:
    """How a model compares with the champion: the differences of the metric in each resample, above 0 where better."""

    version: str
    metric: str
    margin: float
    differences: np.ndarray
