"""The gate: the rules that a model has to pass before it becomes the champion."""

import json
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from modelcycle.core.contract import Contract, convert_values
from modelcycle.core.errors import InputError
from modelcycle.core.holdout import holdout_columns
from modelcycle.core.leaks import find_leaks
from modelcycle.core.metrics import LEADING_METRIC, direction
from modelcycle.core.model_file import predict
from modelcycle.core.params import Holdout
from modelcycle.core.team import make_features
from modelcycle.tracking.git import git, run
from modelcycle.versions.params import Behaviour, Gate
from modelcycle.versions.paths import DEFINITION_OF_DONE, PHASE_PAGES, PROCESS_STATE
from modelcycle.versions.registry import Verdict

USEFUL = 0.05  # a model that is surely less than this better than guessing is rejected; AUC, or share of the error


def judge_metrics(
    gate: Gate, classification: bool, metrics: pd.DataFrame, slices: pd.DataFrame, calibration: pd.DataFrame
) -> Iterator[Verdict]:
    """Judge intervals, slices and calibration, as `evaluate_predictions` computes them."""
    metric, names = LEADING_METRIC[classification], ["value", "low", "high", "baseline"]
    score = dict(zip(names, map(float, metrics.set_index("metric").loc[metric, names]), strict=True))
    yield from judge_score(gate, metric, score)
    yield from judge_slices(gate, metric, score["value"], slices, classification)
    yield judge_calibration(gate, calibration, 1 if classification else score["baseline"])


def decide(passes: bool, fails: bool) -> bool | None:
    """Decide by an interval: None, which is undecided, where it holds what passes and what does not."""
    return True if passes else False if fails else None


def judge_score(gate: Gate, metric: str, score: dict[str, float]) -> Iterator[Verdict]:
    """Judge the leading metric. score: value, low, high, and the baseline's."""
    sign = direction(metric)
    value, baseline = score["value"], score["baseline"]
    # The interval's ends, by the sign: more is better.
    worst, best = (score["low"], score["high"]) if sign > 0 else (-score["high"], -score["low"])
    interval = {name: score[name] for name in ("value", "low", "high")}
    useful = sign * baseline + USEFUL * (1 if metric == "roc_auc" else baseline)
    yield Verdict(
        "better than guessing",
        decide(worst > sign * baseline, best < useful),
        format_interval(metric, interval),
        f"{'above' if sign > 0 else 'below'} {baseline:.4g} for certain",
        "A model that may be no better than guessing is of no use.",
        interval,
    )
    if gate.bound is not None:
        yield Verdict(
            "minimum",
            decide(worst >= sign * gate.bound, best < sign * gate.bound),
            format_interval(metric, interval),
            f"at {'least' if sign > 0 else 'most'} {gate.bound:g} for certain",
            "The model is not as good as was agreed.",
            interval,
        )
    if gate.too_good is not None:
        yield Verdict(
            "not too good to be true",
            sign * value <= sign * gate.too_good,
            f"{metric} {value:.4g}",
            f"at {'most' if sign > 0 else 'least'} {gate.too_good:g}",
            "A column probably holds the answer, or what is known only later.",
        )


def judge_slices(
    gate: Gate, metric: str, value: float, slices: pd.DataFrame, classification: bool
) -> Iterator[Verdict]:
    """Judge the leading metric of each slice.

    value: the metric of all test rows, with which a slice of classes is compared, or with what a linear model reaches
    there if that is less: then the cases are hard. Amounts may differ in size from slice to slice, so there it is
    compared with the slice's own baseline.
    """
    for _, row in slices.iterrows():
        interval = {name: float(row[name]) for name in ("value", "low", "high")}
        limit = min(value - gate.slice_gap, row["linear"]) if classification else row["baseline"] * (1 + gate.slice_gap)
        yield Verdict(
            f"slice {row['slice']}",
            bool(row["high"] >= limit if direction(metric) > 0 else row["low"] <= limit),
            format_interval(metric, interval),
            f"an interval that reaches {limit:.4g}",
            "The model is much worse for these cases than it should be.",
            interval,
        )


def judge_calibration(gate: Gate, calibration: pd.DataFrame, scale: float) -> Verdict:
    """Judge how far predictions and outcomes are apart, beyond the margin of chance, in units of `scale`."""
    gaps = ((calibration["predicted"] - calibration["observed"]).abs() - calibration["margin"]).clip(lower=0)
    gap = np.average(gaps, weights=calibration["rows"]) / scale
    return Verdict(
        "calibration",
        bool(gap <= gate.calibration_gap),
        f"{gap:.4f} apart",
        f"at most {gate.calibration_gap:g}",
        "The predictions can't be taken at their word: they are too high or too low.",
    )


def format_interval(metric: str, interval: dict[str, float]) -> str:
    """Write a metric with its confidence interval."""
    return f"{metric} {{value:.4g}} ({{low:.4g}} to {{high:.4g}})".format(**interval)


def judge_overlap(train: pd.DataFrame, test: pd.DataFrame, contract: Contract, holdout: Holdout) -> Verdict:
    """Judge whether the test data is held out as params.yaml says: by key, by group or by time.

    Test rows with the features of a training row are told: only people know whether they are copies.
    """
    names, inputs = holdout_columns(holdout, contract), contract.names("feature")
    if holdout.by == "time":
        shared = int((train[names[0]] >= test[names[0]].min()).sum())
        found = f"{shared:,} rows as late as the test data"
    else:
        shared = len(test[names].merge(train[names].drop_duplicates(), on=names))
        found = f"{shared:,} rows in both"
    if inputs and names != inputs:
        repeated = len(test[inputs].merge(train[inputs].drop_duplicates(), on=inputs))
        found += f", {repeated:,} with the features of a training row" if repeated else ""
    return Verdict(
        "no test row in training",
        shared == 0,
        found,
        "0",
        "The model has seen the questions of its examination.",
    )


def judge_leaks(gate: Gate, rows: pd.DataFrame, contract: Contract) -> Verdict:
    """Judge whether columns of (n, m) rows give the target away, alone or together; some may be accepted in writing."""
    leaks = find_leaks(rows.reset_index(drop=True), contract)
    reasons = {frozenset(names.split(", ")): reason for names, reason in gate.accepted_leaks.items() if reason.strip()}
    accepted = {leak: reasons.get(frozenset(", ".join(leak.columns).split(", ")), "") for leak in leaks}
    failed = [leak for leak in leaks if leak.blocks and not accepted[leak]]
    told = [f"accepted: {leak}: {accepted[leak]}" if accepted[leak] else f"look into it: {leak}" for leak in leaks]
    entries = ", ".join(f'"{", ".join(leak.columns)}": "why"' for leak in failed)
    return Verdict(
        "no column gives the target away",
        not failed,
        "; ".join(map(str, failed)) or "; ".join(told) or "none found",
        "none, alone or together, or accepted with the reason",
        f"What is known only with {contract.target} is no help before it: give such columns the role ignored in "
        f"contract.yaml. If all are known in time, write into params.yaml: gate: {{accepted_leaks: {{{entries}}}}}.",
    )


def judge_behaviour(
    rules: list[Behaviour], model: Pipeline, rows: pd.DataFrame, contract: Contract
) -> Iterator[Verdict]:
    """Judge how the answers for (n, m) test rows change when their columns do.

    Every model has to answer missing and unseen values; `rules` are those of params.yaml.
    Raises InputError when a rule names no input, or a direction where there are many classes.
    """
    yield from judge_robustness(model, rows, contract)
    answers = _predict_scores(model, rows, contract)
    for rule in rules:
        names = [*rule.set, *rule.add, *rule.shuffle]
        if not names or not set(names) <= set(contract.inputs):
            raise InputError(f"params.yaml: gate.behaviour changes {names}; expected inputs of contract.yaml.")
        if rule.expect in ("higher", "lower") and answers.shape[1] > 1:
            raise InputError(
                f"params.yaml: gate.behaviour expects {rule.expect}, which needs an amount or two classes."
            )
        yield judge_rule(rule, _predict_scores(model, perturb(rows, rule, contract), contract) - answers)


def judge_robustness(model: Pipeline, rows: pd.DataFrame, contract: Contract) -> Iterator[Verdict]:
    """Judge whether (n, m) rows with missing and with unseen values are answered."""
    missing, unseen = rows.copy(), rows.copy()
    for name in contract.names("feature"):
        column = contract.columns[name]
        if column.nullable:
            missing[name] = convert_values(pd.Series(None, rows.index, dtype="object"), column)
        if column.type == "category" and not column.values:
            unseen[name] = "never seen before"
    for kind, variant in [("missing values", missing), ("unseen values", unseen)]:
        try:
            n_answered = int(np.isfinite(_predict_scores(model, variant, contract)).all(axis=1).sum())
        except Exception:  # the model's own, whatever it is
            n_answered = 0
        yield Verdict(
            kind,
            n_answered == len(rows),
            f"{n_answered:,} of {len(rows):,} rows answered",
            "all",
            "The model fails on rows that the contract allows.",
        )


def judge_rule(rule: Behaviour, differences: np.ndarray) -> Verdict:
    """Judge (n, c) differences of the answers that a rule's change of columns makes."""
    size, shift = float(np.abs(differences).mean()), float(differences.mean())
    effect, passed = {
        "same": (size, size <= rule.by),
        "different": (size, size >= rule.by),
        "higher": (shift, shift > 0 and shift >= rule.by),
        "lower": (shift, shift < 0 and -shift >= rule.by),
    }[rule.expect]
    change = ", ".join(
        [f"{name} = {value}" for name, value in rule.set.items()]
        + [f"{name} {value:+g}" for name, value in rule.add.items()]
        + [f"{name} shuffled" for name in rule.shuffle]
    )
    return Verdict(
        f"behaviour: {change}",
        passed,
        f"answers move by {effect:.4g}",
        f"{rule.expect}, by {'at most' if rule.expect == 'same' else 'at least'} {rule.by:g}",
        "The model reacts in a way that the people who know the subject have ruled out.",
    )


def _predict_scores(model: Pipeline, rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """Predict (n, c) probabilities, (n, 1) the second one of two, or (n, 1) amounts."""
    predictions = predict(model, make_features(rows, contract))
    first = {1: 0, 3: 2}.get(len(predictions.columns), 1)
    return predictions.iloc[:, first:].to_numpy(float)


def perturb(rows: pd.DataFrame, rule: Behaviour, contract: Contract) -> pd.DataFrame:
    """Change columns of (n, m) rows as a rule of params.yaml says. Raises InputError where that can't be done."""
    rows = rows.copy()
    for name, value in rule.set.items():
        column = contract.columns[name]
        rows[name] = convert_values(pd.Series([value] * len(rows), rows.index, dtype="object"), column)
        if (rows[name].isna().any() and value is not None) or value not in (column.values or [value]):
            expected = f"one of {', '.join(column.values)}" if column.values else column.type
            raise InputError(f"params.yaml: gate.behaviour sets {name} to {value!r}; contract.yaml expects {expected}.")
    for name, amount in rule.add.items():
        kind = contract.columns[name].type
        if kind not in ("number", "integer", "datetime"):
            raise InputError(f"params.yaml: gate.behaviour adds to {name}, a {kind}; expected a number or a time.")
        try:
            rows[name] = rows[name] + (pd.Timedelta(hours=amount) if kind == "datetime" else amount)
        except (OverflowError, pd.errors.OutOfBoundsTimedelta, pd.errors.OutOfBoundsDatetime):
            raise InputError(f"params.yaml: gate.behaviour adds {amount:g} hours to {name}: too many.") from None
    for name in rule.shuffle:
        rows[name] = rows[name].sample(frac=1, random_state=0).set_axis(rows.index)
    return rows


def judge_training_rows(rows: int, champion_rows: int, min_share: float) -> Verdict:
    """Judge whether the model was trained on enough rows, as a share of the champion's."""
    return Verdict(
        "training rows",
        rows >= min_share * champion_rows,
        f"{rows:,}",
        f"at least {min_share:g} of the champion's {champion_rows:,}",
        "Most of the data has been lost on the way.",
    )


def judge_process() -> Verdict:
    """Judge whether every phase before a release is in order.

    The documents belong to the process room, which stands above this one: its command writes the faults into
    reports/process.json. Raises InputError with its sentence where it can't read a page.
    """
    run(sys.executable, "-m", "modelcycle", "process", "--state")
    faults = json.loads(PROCESS_STATE.read_text(encoding="utf-8"))["faults"]
    if git("status", "--porcelain", "--", str(PHASE_PAGES), str(DEFINITION_OF_DONE)):
        faults.append("pages are not committed")  # a version names one commit, and what was agreed is in it
    return Verdict(
        "process",
        not faults,
        "; ".join(faults) or "in order",
        "every phase up to evaluation in order",
        "Nobody has agreed what the model is for, or how good it has to be. `make process` says more.",
    )
