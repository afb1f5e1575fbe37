"""What a rule of the gate says of a model, as release, report and cards show it."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Verdict:
    """What one rule says of a model, in words.

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
