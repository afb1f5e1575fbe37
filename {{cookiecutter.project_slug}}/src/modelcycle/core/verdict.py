"""What a rule of the gate says of a model, as release, report and cards show it."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Verdict:
    """What one rule says of a model."""

    rule: str
    passed: bool
    found: str
    expected: str
    meaning: str


@dataclass
class Duel:
    """How a model compares with the champion: the differences of the metric in each resample, above 0 where better."""

    version: str
    metric: str
    margin: float
    differences: np.ndarray
