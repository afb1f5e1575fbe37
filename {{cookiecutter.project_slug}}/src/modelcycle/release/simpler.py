"""Rules of the gate: the model tells more than a constant does, and is not worse than a simpler model."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from modelcycle.core.metrics import LEADING_METRIC, PROPER_SCORE
from modelcycle.pipeline.baselines import COLUMN, CONSTANT, IN_TRAINING, LINEAR
from modelcycle.release.gate import decide
from modelcycle.versions.params import Gate
from modelcycle.versions.registry import Verdict

REMEDIES = {
    True: "`estimator: sklearn.linear_model.LogisticRegression` and `parameters: {max_iter: 1000}`",
    False: "`estimator: sklearn.linear_model.Ridge` and `parameters: {}`",
}


def judge_baselines(gate: Gate, classification: bool, baselines: pd.DataFrame) -> Iterator[Verdict]:
    """Judge the table of `compare_with_baselines`.

    Classes have to beat the constant by a proper score as well: ranks, which the leading metric goes by, say nothing
    about the probabilities. Ranks have to be better for certain; for the score that would take about four times as many
    rows, so that its value counts. For amounts the leading metric is proper itself (T. Gneiting, Making and Evaluating
    Point Forecasts, 2011), and "better than guessing" compares it with the median already.
    Worse than another baseline is what is worse for certain, and by more than the duel's margin.
    """
    metric, proper = LEADING_METRIC[classification], PROPER_SCORE[classification]
    scores = baselines.set_index(["metric", "baseline"]).to_dict("index")
    in_training = (
        f"On its training rows the model's {metric} is {scores[metric, IN_TRAINING]['value']:.4g}: where that is much "
        "better than on the test rows, it has learned them by heart."
    )
    if proper != metric:
        constant = scores[proper, CONSTANT]
        yield Verdict(
            "probabilities better than guessing",
            decide(constant["difference"] > 0, constant["high"] < 0),
            format_difference(proper, CONSTANT, constant),
            "better",
            f"How frequent each class is may be nearer to the truth than the model's probabilities. {in_training}",
        )
    for name in (COLUMN, LINEAR):
        other = scores[metric, name]
        margin = gate.duel.margin * (1 if classification else other["value"])
        remedy = f" To train the linear one: {REMEDIES[classification]} in params.yaml." if name == LINEAR else ""
        yield Verdict(
            f"not worse than {name}",
            not (other["high"] < 0 and other["difference"] < -margin),
            format_difference(metric, name, other),
            f"not worse for certain, by more than {margin:.4g}",
            f"A simpler model is better. {in_training}{remedy}",
        )


def format_difference(metric: str, name: str, other: dict[Any, Any]) -> str:
    """Write how far the model is from a baseline, with the confidence interval, above 0 where it is better."""
    comparison = "worse" if other["difference"] < 0 else "better"
    interval = f"({other['low']:+.4g} to {other['high']:+.4g})"
    return f"{metric} {abs(other['difference']):.4g} {comparison} than the {other['value']:.4g} of {name} {interval}"
