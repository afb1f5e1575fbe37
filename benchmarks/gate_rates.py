"""How often the gate's comparison with simpler models fails an honest model, and how often an overfitted one.

`PYTHONPATH="{{cookiecutter.project_slug}}/src" .venv/bin/python benchmarks/gate_rates.py` prints what
docs/gate.md shows. The honest model is a linear one that was fitted on other rows than the baseline, so that both are
equally good.
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from modelcycle.core.model_file import predict
from modelcycle.pipeline.baselines import CONSTANT, IN_TRAINING, LINEAR, compare_predictions, predict_constant
from modelcycle.release.simpler import judge_baselines
from modelcycle.versions.params import Gate

DRAWS, RESAMPLES = 200, 200
random = np.random.default_rng(0)


def draw_rows(n_rows: int, strength: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw (n_rows, 12) features, of which three tell the classes (n_rows,) as a linear model has it."""
    features = pd.DataFrame(random.normal(size=(n_rows, 12))).add_prefix("x")
    logit = strength * features[["x0", "x1", "x2"]].sum(axis=1) - 0.7
    return features, random.random(n_rows) < 1 / (1 + np.exp(-logit.to_numpy()))


def judge_once(n_rows: int, strength: float, overfitted: bool) -> dict[str, float]:
    """Train on four times as many rows as are tested; give the area under the curve and what the rules go by."""
    learn, test, other = (draw_rows(rows, strength) for rows in (4 * n_rows, n_rows, 4 * n_rows))
    linear = LogisticRegression().fit(*learn)
    bold = HistGradientBoostingClassifier(max_iter=300, min_samples_leaf=5, early_stopping=False)
    model = bold.fit(*learn) if overfitted else LogisticRegression().fit(*other)
    baselines = {CONSTANT: predict_constant(learn[1], n_rows, True), LINEAR: predict(linear, test[0])}
    table = compare_predictions(test[1], predict(model, test[0]), baselines, RESAMPLES)
    scores = table.set_index(["baseline", "metric"])
    table = pd.concat([table, pd.DataFrame([{"baseline": IN_TRAINING, "metric": "roc_auc", "value": 1.0}])])
    verdicts = {verdict.rule: verdict.passed for verdict in judge_baselines(Gate(), True, table)}
    return {
        "roc_auc": scores.loc[(CONSTANT, "roc_auc"), "difference"] + 0.5,
        "better than guessing": scores.loc[(CONSTANT, "roc_auc"), "low"] > 0,
        "probabilities": scores.loc[(CONSTANT, "log_loss"), "difference"] > 0,
        "for certain": scores.loc[(CONSTANT, "log_loss"), "low"] > 0,
        "surely worse": scores.loc[(CONSTANT, "log_loss"), "high"] < 0,
        "worse than linear": not verdicts["not worse than a linear model"],
    }


def main() -> None:
    """Print a row for each kind of model, number of test rows and strength: shares of the draws."""
    heads = "roc_auc surely above 0.5, log_loss better than the constant's, surely better, surely worse"
    print(f"| model | test rows | its roc_auc | {heads.replace(', ', ' | ')} | rejected as worse than linear |")
    print("|" + "---|" * 8)
    for overfitted, draws in ((False, DRAWS), (True, DRAWS // 10)):
        for n_rows in (200, 1000, 4000):
            for strength in (0.25, 0.6):
                means = pd.DataFrame([judge_once(n_rows, strength, overfitted) for _ in range(draws)]).mean()
                kind = "overfitted" if overfitted else "as good as linear"
                shares = " | ".join(f"{100 * share:.1f} %" for share in means.iloc[1:])
                print(f"| {kind} | {n_rows:,} | {means['roc_auc']:.2f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
