"""Judge the model on the test data: figures with intervals, weak spots, calibration, and what matters to it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from modelcycle.core import paths
from modelcycle.core.contract import Contract, extract_target, read_contract, read_table
from modelcycle.core.errors import InputError
from modelcycle.core.metrics import (
    HIGHER_IS_BETTER,
    LEADING_METRIC,
    bootstrap_intervals,
    round_to_six_digits,
    score_predictions,
)
from modelcycle.core.model_file import load_model, predict
from modelcycle.core.output import report_line, require_output, track_progress, write_atomically
from modelcycle.core.params import Evaluate, read_params
from modelcycle.core.project import read_project
from modelcycle.core.team import make_features
from modelcycle.pipeline.prepare import describe_column
from modelcycle.pipeline.report import write_report
from modelcycle.tracking.lineage import earlier_version
from modelcycle.tracking.registry import log_evaluation


def predict_baseline(train: np.ndarray, rows: int, classification: bool) -> pd.DataFrame:
    """Predict (rows,) the trivial way: the classes' shares in the training target, or its median."""
    dummy = DummyClassifier(strategy="prior") if classification else DummyRegressor(strategy="median")
    return predict(dummy.fit(np.zeros((len(train), 1)), train), pd.DataFrame({"nothing": np.zeros(rows)}))


def label_slices(values: pd.Series) -> pd.Series:
    """Say for each of (n,) values which slice it is in: its category, or its quarter of the numbers."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 4 and values.dtype != "boolean":
        return pd.qcut(values.astype(float), 4, duplicates="drop").astype("str").fillna("missing")
    return values.astype("str").fillna("missing")


def score_slices(rows: pd.DataFrame, truth: np.ndarray, predictions: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Score each slice of at least 30 rows by the leading metric, the largest 20 of a column.

    rows: (n, s) the columns to slice by. truth: (n,). predictions: (n, 1 + c). draws: resamples for the intervals.
    Returns (s, 6): slice, rows, the metric with its interval, and what guessing reaches in this slice alone.
    """
    classification = len(predictions.columns) > 1
    metric = LEADING_METRIC[classification]
    found = []
    for name in rows:
        labels = label_slices(rows[name]).to_numpy()
        for label, count in pd.Series(labels).value_counts().head(20).items():
            if count >= 30:
                some = truth[labels == label]
                figures = bootstrap_intervals(some, predictions[labels == label], draws).loc[metric]
                least = score_predictions(some, predict_baseline(some, count, classification), np.ones((1, count)))[
                    metric
                ][0]
                found.append(
                    {"slice": f"{name} = {label}", "rows": count, **figures, "baseline": round_to_six_digits(least)}
                )
    return pd.DataFrame(found, columns=["slice", "rows", "value", "low", "high", "baseline"]).dropna(subset="value")


def compute_calibration(truth: np.ndarray, predictions: pd.DataFrame) -> pd.DataFrame:
    """Compare what was predicted with what happened, in up to ten groups of equal size.

    Probabilities of all classes count, for two classes those of the second. Returns (g, 4): predicted, observed, rows,
    and margin, which with 95 % confidence no group exceeds by chance (Bonferroni). Chance is what it would be if the
    probabilities were right (D. J. Spiegelhalter, Probabilistic prediction in patient management, 1986), for amounts
    the spread of the errors.
    """
    predicted, observed = predictions["prediction"].to_numpy(), truth
    if len(predictions.columns) > 1:
        probabilities = predictions.iloc[:, 2 if len(predictions.columns) == 3 else 1 :]
        classes = probabilities.columns.str.removeprefix("probability_").to_numpy()
        predicted = probabilities.to_numpy().ravel()
        observed = (truth.astype(str)[:, None] == classes).ravel()
    pairs = pd.DataFrame({"predicted": predicted, "observed": observed}, dtype=float)
    many = min(10, max(1, len(pairs) // 10))  # a group of few rows tells nothing
    groups = pairs.groupby(pd.qcut(pairs["predicted"].rank(method="first"), many, labels=False))
    if len(predictions.columns) > 1:
        variance = groups["predicted"].agg(lambda share: (share * (1 - share)).mean())
    else:
        variance = groups.apply(lambda group: (group["observed"] - group["predicted"]).var()).fillna(0)
    rows = groups.size()
    certain = stats.t.ppf(1 - 0.025 / many, np.maximum(rows - 1, 1))
    return groups.mean().assign(rows=rows, margin=certain * np.sqrt(variance / rows)).reset_index(drop=True)


def compute_importance(model: Pipeline, rows: pd.DataFrame, truth: np.ndarray, contract: Contract) -> pd.DataFrame:
    """Measure how much worse the leading metric gets when a column's values are shuffled among the rows.

    rows: (n, m) test data; 2,000 of them are used, shuffled three times. Returns (inputs, 2): column and worse, the
    largest first. Permutation importance after L. Breiman, Random Forests (2001), section 10.
    """
    metric = LEADING_METRIC[contract.is_classification]
    sign = 1 if metric in HIGHER_IS_BETTER else -1
    some, truth = rows[contract.inputs].head(2000), truth[:2000]

    def figures(tables: list[pd.DataFrame]) -> np.ndarray:
        """Score the rows as each table has them, predicted all at once: a call takes longer than a few rows."""
        predicted = predict(model, make_features(pd.concat(tables, ignore_index=True), contract))
        parts = [predicted[start : start + len(truth)] for start in range(0, len(predicted), len(truth))]
        once = np.ones((1, len(truth)))
        return np.array([sign * np.nan_to_num(score_predictions(truth, part, once)[metric][0]) for part in parts])

    whole_figure, worse = figures([some])[0], []
    together = max(1, 20_000 // (3 * len(some)))  # columns whose shuffles are predicted in one call
    starts = range(0, len(contract.inputs), together)
    for start in track_progress(starts, "importance", len(starts)):
        shuffled = [
            some.assign(**{name: some[name].sample(frac=1, random_state=seed).set_axis(some.index)})
            for name in contract.inputs[start : start + together]
            for seed in range(3)
        ]
        worse.extend(whole_figure - figures(shuffled).reshape(-1, 3).mean(axis=1))
    table = pd.DataFrame({"column": contract.inputs, "worse": [round_to_six_digits(figure) for figure in worse]})
    return table.sort_values("worse", ascending=False, ignore_index=True)


def evaluate_predictions(
    rows: pd.DataFrame, predictions: pd.DataFrame, train: np.ndarray, contract: Contract, params: Evaluate
) -> dict[Path, pd.DataFrame]:
    """Compute the figures that the gate goes by: intervals by metric, slices and calibration, by the file they go to.

    rows: (n, m) test data. predictions: (n, 1 + c). train: (t,) the training target, which guessing goes by.
    """
    truth = extract_target(rows, contract)
    figures = bootstrap_intervals(truth, predictions, params.bootstrap)
    guesses = predict_baseline(train, len(rows), contract.is_classification)
    figures["baseline"] = [
        round_to_six_digits(x[0]) for x in score_predictions(truth, guesses, np.ones((1, len(rows)))).values()
    ]
    return {
        paths.INTERVALS: figures.rename_axis("metric").reset_index(),
        paths.SLICES: score_slices(rows[params.slices], truth, predictions, params.bootstrap),
        paths.CALIBRATION: compute_calibration(truth, predictions),
    }


def make_monitoring_reference(predictions: pd.DataFrame, figures: pd.DataFrame) -> dict[str, Any]:
    """Say what operation is to be compared with: how the predictions are distributed, and the figures.

    predictions: (n, 1 + c). figures: value, low and high for each metric.
    Of two classes it is the probability of the second that is described, which `of` names.
    """
    of = str(predictions.columns[2]) if len(predictions.columns) == 3 else "prediction"
    kind = "category" if len(predictions.columns) > 3 else "number"
    found = figures[["value", "low", "high"]].dropna().to_dict("index")
    return {"prediction": {"of": of, **describe_column(predictions[of], kind)}, "figures": found}


def evaluate() -> None:
    """Score models/model.skops on data/test.parquet and write the figures and the report."""
    contract, params = read_contract(), read_params().evaluate
    for name in params.slices:
        if name not in contract.names("feature") or contract.columns[name].type == "datetime":
            raise InputError(
                f"params.yaml: evaluate.slices names {name}; expected features of contract.yaml that are no dates."
            )
    model = load_model(require_output(paths.MODEL, "train"), read_project().trusted_types)
    test = read_table(paths.TEST, "prepare", contract)
    train = read_table(paths.TRAIN, "prepare", contract, [contract.target])
    predictions = predict(model, make_features(test, contract))
    tables = evaluate_predictions(test, predictions, extract_target(train, contract), contract, params)
    tables[paths.IMPORTANCE] = compute_importance(model, test, extract_target(test, contract), contract)
    figures = tables[paths.INTERVALS].set_index("metric")
    metrics = {"rows": len(test)} | {str(name): float(x) for name, x in figures["value"].dropna().items()}
    for path, table in tables.items():
        with write_atomically(path) as draft:
            table.to_csv(draft, index=False, lineterminator="\n")
    with write_atomically(paths.PREDICTIONS) as draft:
        pd.concat([test[[*contract.names("key"), contract.target]], predictions], axis=1).to_parquet(draft, index=False)
    with write_atomically(paths.EXPECTED) as draft:
        draft.write_text(json.dumps(make_monitoring_reference(predictions, figures), indent=1) + "\n", encoding="utf-8")
    with write_atomically(paths.METRICS) as draft:
        draft.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    with write_atomically(paths.REPORT) as draft:
        write_report(draft, contract, len(test), list(tables.values()), earlier_version(paths.METRICS))
    log_evaluation(metrics, paths.REPORT)
    leading = LEADING_METRIC[contract.is_classification]
    value, low, high, baseline = (f"{figure:.3f}" for figure in figures.loc[leading])
    report_line("evaluate", f"{leading} {value} ({low} to {high}), baseline {baseline}", paths.REPORT)
