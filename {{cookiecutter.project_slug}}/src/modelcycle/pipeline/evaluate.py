"""Evaluate the model on the test data: metrics with confidence intervals, slices, calibration, feature importance."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from modelcycle.core import paths
from modelcycle.core.contract import Contract, extract_target, read_contract, read_table
from modelcycle.core.errors import InputError
from modelcycle.core.metrics import (
    LEADING_METRIC,
    bootstrap_intervals,
    direction,
    round_to_six_digits,
    score_predictions,
)
from modelcycle.core.model_file import load_model, predict
from modelcycle.core.output import report_line, require_output, track_progress, write_atomically, write_text
from modelcycle.core.params import Evaluate, read_params
from modelcycle.core.team import make_features, read_project
from modelcycle.pipeline.report import write_report
from modelcycle.tracking.store import log_evaluation


def predict_baseline(train_target: np.ndarray, n_rows: int, classification: bool) -> pd.DataFrame:
    """Predict (n_rows, 1 + c) without features: the classes' shares in the training target, or its median."""
    dummy = DummyClassifier(strategy="prior") if classification else DummyRegressor(strategy="median")
    dummy.fit(np.zeros((len(train_target), 1)), train_target)
    return predict(dummy, pd.DataFrame({"nothing": np.zeros(n_rows)}))


def label_slices(values: pd.Series) -> pd.Series:
    """Label each of (n,) values with its slice: its category, or its quartile of the numbers."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 4 and values.dtype != "boolean":
        return pd.qcut(values.astype(float), 4, duplicates="drop").astype("str").fillna("missing")
    return values.astype("str").fillna("missing")


def score_slices(rows: pd.DataFrame, truth: np.ndarray, predictions: pd.DataFrame, n_resamples: int) -> pd.DataFrame:
    """Score each slice of at least 30 rows by the leading metric, the largest 20 of a column.

    rows: (n, s) the columns to slice by. truth: (n,). predictions: (n, 1 + c). n_resamples: for the intervals.
    Returns (s, 6): slice, rows, the metric with its interval, and its baseline in this slice.
    """
    classification = len(predictions.columns) > 1
    metric = LEADING_METRIC[classification]
    scores = []
    for name in rows:
        labels = label_slices(rows[name]).to_numpy()
        for label, count in pd.Series(labels).value_counts().head(20).items():
            if count < 30:
                continue
            is_in_slice = labels == label
            slice_truth = truth[is_in_slice]
            interval = bootstrap_intervals(slice_truth, predictions[is_in_slice], n_resamples).loc[metric]
            baseline = predict_baseline(slice_truth, count, classification)
            baseline_score = round_to_six_digits(score_predictions(slice_truth, baseline)[metric])
            scores.append({"slice": f"{name} = {label}", "rows": count, **interval, "baseline": baseline_score})
    return pd.DataFrame(scores, columns=["slice", "rows", "value", "low", "high", "baseline"]).dropna(subset="value")


def compute_calibration(truth: np.ndarray, predictions: pd.DataFrame) -> pd.DataFrame:
    """Compare predictions with outcomes in up to ten groups of equal size.

    Probabilities of all classes count, for two classes those of the second. Returns (g, 4): predicted, observed, rows,
    and margin, which with 95 % confidence no group exceeds by chance (Bonferroni). Chance is the variance that right
    probabilities would have (D. J. Spiegelhalter, Probabilistic prediction in patient management, 1986), for amounts
    that of the errors.
    """
    predicted, observed = predictions["prediction"].to_numpy(), truth
    if len(predictions.columns) > 1:
        probabilities = predictions.iloc[:, 2 if len(predictions.columns) == 3 else 1 :]
        classes = probabilities.columns.str.removeprefix("probability_").to_numpy()
        predicted = probabilities.to_numpy().ravel()
        observed = (truth.astype(str)[:, None] == classes).ravel()
    pairs = pd.DataFrame({"predicted": predicted, "observed": observed}, dtype=float)
    n_groups = min(10, max(1, len(pairs) // 10))  # a group of few rows tells nothing
    groups = pairs.groupby(pd.qcut(pairs["predicted"].rank(method="first"), n_groups, labels=False))
    if len(predictions.columns) > 1:
        variance = groups["predicted"].agg(lambda probability: (probability * (1 - probability)).mean())
    else:
        variance = groups.apply(lambda group: (group["observed"] - group["predicted"]).var()).fillna(0)
    rows = groups.size()
    critical_value = stats.t.ppf(1 - 0.025 / n_groups, np.maximum(rows - 1, 1))
    return groups.mean().assign(rows=rows, margin=critical_value * np.sqrt(variance / rows)).reset_index(drop=True)


def compute_importance(model: Pipeline, rows: pd.DataFrame, truth: np.ndarray, contract: Contract) -> pd.DataFrame:
    """Measure how much worse the leading metric gets when a column's values are shuffled among the rows.

    rows: (n, m) test data; 2,000 of them, drawn by chance, are shuffled three times. Returns (inputs, 2): column and
    worse, the most important first. Permutation importance after L. Breiman, Random Forests (2001), section 10.
    """
    metric = LEADING_METRIC[contract.is_classification]
    sign = direction(metric)
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:2000])  # the first may be those of one month
    sample, truth = rows[contract.inputs].iloc[chosen], truth[chosen]

    def score_tables(tables: list[pd.DataFrame]) -> np.ndarray:
        """Score the sample as each table has it, predicted all at once: a call takes longer than a few rows."""
        predictions = predict(model, make_features(pd.concat(tables, ignore_index=True), contract))
        parts = [predictions[start : start + len(truth)] for start in range(0, len(predictions), len(truth))]
        return np.array([sign * np.nan_to_num(score_predictions(truth, part)[metric]) for part in parts])

    unshuffled_score, worse = score_tables([sample])[0], []
    batch = max(1, 20_000 // (3 * len(sample)))  # columns whose shuffles are predicted in one call
    starts = range(0, len(contract.inputs), batch)
    for start in track_progress(starts, "importance", len(starts)):
        shuffled = [
            sample.assign(**{name: sample[name].sample(frac=1, random_state=seed).set_axis(sample.index)})
            for name in contract.inputs[start : start + batch]
            for seed in range(3)
        ]
        worse.extend(unshuffled_score - score_tables(shuffled).reshape(-1, 3).mean(axis=1))
    table = pd.DataFrame({"column": contract.inputs, "worse": [round_to_six_digits(score) for score in worse]})
    return table.sort_values("worse", ascending=False, ignore_index=True)


def evaluate_predictions(
    rows: pd.DataFrame, predictions: pd.DataFrame, train_target: np.ndarray, contract: Contract, params: Evaluate
) -> dict[Path, pd.DataFrame]:
    """Compute the scores that the gate goes by: metrics with intervals, slices and calibration, by their file.

    rows: (n, m) test data. predictions: (n, 1 + c). train_target: (t,), for the baseline.
    """
    truth = extract_target(rows, contract)
    metrics = bootstrap_intervals(truth, predictions, params.bootstrap)
    baseline = predict_baseline(train_target, len(rows), contract.is_classification)
    metrics["baseline"] = [round_to_six_digits(score) for score in score_predictions(truth, baseline).values()]
    return {
        paths.INTERVALS: metrics.rename_axis("metric").reset_index(),
        paths.SLICES: score_slices(rows[params.slices], truth, predictions, params.bootstrap),
        paths.CALIBRATION: compute_calibration(truth, predictions),
    }


def evaluate() -> None:
    """Evaluate models/model.skops on data/test.parquet and write the metrics and the report."""
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
    metrics = tables[paths.INTERVALS].set_index("metric")
    values = {"rows": len(test)} | {str(name): float(value) for name, value in metrics["value"].dropna().items()}
    for path, table in tables.items():
        with write_atomically(path) as draft:
            table.to_csv(draft, index=False, lineterminator="\n")
    with write_atomically(paths.PREDICTIONS) as draft:
        pd.concat([test[[*contract.names("key"), contract.target]], predictions], axis=1).to_parquet(draft, index=False)
    if find_spec("modelcycle.versions"):  # the scope exploration has none
        from modelcycle.versions.reference import write_expected

        write_expected(predictions, metrics)
    write_text(paths.METRICS, json.dumps(values, indent=1) + "\n")
    with write_atomically(paths.REPORT) as draft:
        write_report(draft, contract, len(test), list(tables.values()))
    log_evaluation(values, paths.REPORT)
    leading = LEADING_METRIC[contract.is_classification]
    value, low, high, baseline = (f"{score:.3f}" for score in metrics.loc[leading])
    report_line("evaluate", f"{leading} {value} ({low} to {high}), baseline {baseline}", paths.REPORT)
