"""Evaluate the model on the test data: metrics with confidence intervals, slices, calibration, feature importance."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.pipeline import Pipeline

from modelcycle.core import paths
from modelcycle.core.contract import Contract, extract_target, extract_weights, read_contract, read_table
from modelcycle.core.errors import InputError
from modelcycle.core.holdout import group_rows
from modelcycle.core.metrics import (
    LEADING_METRIC,
    bootstrap_intervals,
    direction,
    round_to_six_digits,
    score_predictions,
)
from modelcycle.core.model_file import load_model, predict
from modelcycle.core.output import report_line, require_output, track_progress, write_atomically, write_text
from modelcycle.core.params import Params, read_params
from modelcycle.core.team import make_features, read_project
from modelcycle.pipeline.baselines import (
    IN_TRAINING,
    LINEAR,
    compare_with_baselines,
    predict_baselines,
    predict_constant,
)
from modelcycle.pipeline.report import write_report
from modelcycle.pipeline.unseen import predict_unseen
from modelcycle.tracking.store import log_evaluation


def label_slices(values: pd.Series) -> pd.Series:
    """Label each of (n,) values with its slice: its category, or its quartile of the numbers."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 4 and values.dtype != "boolean":
        return pd.qcut(values.astype(float), 4, duplicates="drop").astype("str").fillna("missing")
    return values.astype("str").fillna("missing")


def score_slices(
    rows: pd.DataFrame,
    truth: np.ndarray,
    predictions: pd.DataFrame,
    linear: pd.DataFrame,
    n_resamples: int,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> pd.DataFrame:
    """Score each slice of at least 30 rows by the leading metric, the largest 20 of a column.

    rows: (n, s) the columns to slice by. truth: (n,). predictions, linear: (n, 1 + c) of the model and of a linear one.
    The rest: see `bootstrap_intervals`.
    Returns (s, 7): slice, rows, the metric with its interval, and what a constant and the linear model reach there.
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
            slice_groups = None if groups is None else pd.factorize(groups[is_in_slice])[0]
            slice_weights = None if weights is None else weights[is_in_slice]
            intervals = bootstrap_intervals(
                slice_truth, predictions[is_in_slice], n_resamples, slice_groups, slice_weights
            )
            interval = intervals.loc[metric]
            constant = predict_constant(slice_truth, count, classification)
            simpler = {
                name_: round_to_six_digits(score_predictions(slice_truth, table, slice_weights)[metric])
                for name_, table in {"baseline": constant, "linear": linear[is_in_slice]}.items()
            }
            scores.append({"slice": f"{name} = {label}", "rows": count, **interval, **simpler})
    columns = ["slice", "rows", "value", "low", "high", "baseline", "linear"]
    return pd.DataFrame(scores, columns=columns).dropna(subset="value")


def compute_calibration(truth: np.ndarray, predictions: pd.DataFrame, groups: np.ndarray | None = None) -> pd.DataFrame:
    """Compare predictions with outcomes in up to ten groups of equal size.

    Probabilities of all classes count, for two classes those of the second. Returns (g, 4): predicted, observed, rows,
    and margin, which with 95 % confidence no group exceeds by chance (Bonferroni). Chance is the variance that right
    probabilities would have (D. J. Spiegelhalter, Probabilistic prediction in patient management, 1986), for amounts
    that of the errors. Where rows are not independent, it is that of the sums of errors in `groups`, (n,), see
    `group_rows` (K.-Y. Liang, S. Zeger, Longitudinal data analysis using generalized linear models, 1986).
    """
    predicted, observed = predictions["prediction"].to_numpy(), truth
    if len(predictions.columns) > 1:
        probabilities = predictions.iloc[:, 2 if len(predictions.columns) == 3 else 1 :]
        classes = probabilities.columns.str.removeprefix("probability_").to_numpy()
        predicted = probabilities.to_numpy().ravel()
        observed = (truth.astype(str)[:, None] == classes).ravel()
    pairs = pd.DataFrame({"predicted": predicted, "observed": observed}, dtype=float)
    n_bins = min(10, max(1, len(pairs) // 10))  # a bin of few rows tells nothing
    bins = pairs.groupby(pd.qcut(pairs["predicted"].rank(method="first"), n_bins, labels=False))
    rows = bins.size()
    units, errors = rows, pairs["observed"] - pairs["predicted"]
    variance: pd.Series
    if groups is not None:
        of_rows = np.repeat(groups, len(pairs) // len(groups))  # a row has a pair for each class
        sums = errors.groupby([bins.ngroup(), of_rows]).sum().groupby(level=0)
        units = sums.size()
        variance = sums.agg(lambda sum_: (sum_**2).sum()) / rows * units / np.maximum(units - 1, 1)
    elif len(predictions.columns) > 1:
        variance = bins["predicted"].agg(lambda probability: (probability * (1 - probability)).mean())
    else:
        variance = errors.groupby(bins.ngroup()).var().fillna(0)
    critical_value = stats.t.ppf(1 - 0.025 / n_bins, np.maximum(units - 1, 1))
    return bins.mean().assign(rows=rows, margin=critical_value * np.sqrt(variance / rows)).reset_index(drop=True)


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
    model: Pipeline,
    train: pd.DataFrame,
    test: pd.DataFrame,
    rows: pd.DataFrame,
    predictions: pd.DataFrame,
    contract: Contract,
    params: Params,
) -> dict[Path, pd.DataFrame]:
    """Compute what the gate goes by, by its file: metrics with intervals, slices, calibration, and simpler models.

    train, test: (t, m) and (n, m). rows, predictions: what the model is judged on, see `predict_unseen`.
    """
    baselines = predict_baselines(train, test, contract, params)
    truth, n_resamples = extract_target(rows, contract), params.evaluate.bootstrap
    weights, groups = extract_weights(rows, contract), group_rows(rows, params.prepare.holdout, contract)
    metrics = bootstrap_intervals(truth, predictions, n_resamples, groups, weights)
    baseline = predict_constant(extract_target(train, contract), len(rows), contract.is_classification)
    metrics["baseline"] = [round_to_six_digits(score) for score in score_predictions(truth, baseline, weights).values()]
    sliced_by, linear = rows[params.evaluate.slices], baselines[0][LINEAR]
    slices = score_slices(sliced_by, truth, predictions, linear, n_resamples, groups, weights)
    return {
        paths.INTERVALS: metrics.rename_axis("metric").reset_index(),
        paths.SLICES: slices,
        paths.CALIBRATION: compute_calibration(truth, predictions, groups),
        paths.BASELINES: compare_with_baselines(model, train, rows, predictions, baselines, contract, params),
    }


def describe_judged_rows(
    judged: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, params: Params, time: str | None
) -> str:
    """Say in a sentence or two what the model is judged on, and what it was trained on where that matters."""
    by = params.prepare.holdout.by
    how = f"Judged on {len(judged):,} rows that it was not trained on, held out by {by}."
    if judged is not test:
        few = "groups" if by == "group" else "rows"
        how = f"Judged on {len(judged):,} rows by cross-validation, since too few {few} are held out."
    if params.train.refit and time:
        until, newest = train[time].max(), max(train[time].max(), test[time].max())
        how += (
            f" It was trained until {until:%Y-%m-%d}; the model to use has the same settings, until {newest:%Y-%m-%d}."
        )
    return how


def evaluate() -> None:
    """Evaluate models/judged.skops on data/test.parquet and write the metrics and the report."""
    contract, params = read_contract(), read_params()
    for name in params.evaluate.slices:
        if name not in contract.names("feature") or contract.columns[name].type == "datetime":
            raise InputError(
                f"params.yaml: evaluate.slices names {name}; expected features of contract.yaml that are no dates."
            )
    model = load_model(require_output(paths.JUDGED, "train"), read_project().trusted_types)
    train, test = (read_table(path, "prepare", contract) for path in (paths.TRAIN, paths.TEST))
    judged, predictions = predict_unseen(model, train, test, contract, params)
    tables = evaluate_predictions(model, train, test, judged, predictions, contract, params)
    tables[paths.IMPORTANCE] = compute_importance(model, test, extract_target(test, contract), contract)
    metrics, leading = tables[paths.INTERVALS].set_index("metric"), LEADING_METRIC[contract.is_classification]
    simpler = tables[paths.BASELINES].set_index(["metric", "baseline"])["value"][leading]
    values = {"rows": len(judged), f"train_{leading}": float(simpler[IN_TRAINING])}
    values |= {str(name): float(value) for name, value in metrics["value"].dropna().items()}
    for path, table in tables.items():
        with write_atomically(path) as draft:
            table.to_csv(draft, index=False, lineterminator="\n")
    with write_atomically(paths.PREDICTIONS) as draft:
        answers = pd.concat([judged[[*contract.names("key"), contract.target]], predictions], axis=1)
        answers.to_parquet(draft, index=False)
    if find_spec("modelcycle.versions"):  # the scope exploration has none
        from modelcycle.versions.reference import write_expected

        write_expected(predictions, metrics)
    write_text(paths.METRICS, json.dumps(values, indent=1) + "\n")
    note = describe_judged_rows(judged, train, test, params, contract.time)
    with write_atomically(paths.REPORT) as draft:
        write_report(draft, contract, note, list(tables.values()))
    log_evaluation(values, paths.REPORT)
    value, low, high, baseline = (f"{score:.3f}" for score in metrics.loc[leading])
    found = f"{leading} {value} ({low} to {high}), baseline {baseline}"
    found += f", linear {simpler[LINEAR]:.3f}, train {simpler[IN_TRAINING]:.3f}"
    report_line("evaluate", found, paths.REPORT)
    report_line("", note)
