"""Monitor the model in production: do its inputs or its predictions drift, is it still good, is it fast enough?

The prediction log of a span of time is compared with the profile of the training data and with the test metrics that
belong to the champion's version. Times are UTC, as in the log.
"""

import json
import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sqlalchemy import Engine

from modelcycle.core.contract import Contract, convert_values, extract_target
from modelcycle.core.errors import Alert, InputError
from modelcycle.core.holdout import group_rows, holdout_columns
from modelcycle.core.metrics import LEADING_METRIC, bootstrap_intervals, direction, round_to_six_digits
from modelcycle.core.output import report_line, write_atomically, write_text
from modelcycle.core.params import Holdout
from modelcycle.monitoring.drift import compare_column, mark_alerts
from modelcycle.monitoring.histogram import Profile
from modelcycle.monitoring.monitor_report import write_monitoring_report
from modelcycle.monitoring.observations import Observations, read_observations, summarize_periods, to_records
from modelcycle.tracking import store
from modelcycle.versions.bundle import Bundle, load_champion
from modelcycle.versions.params import Monitor, Params, read_params
from modelcycle.versions.paths import MONITORING, MONITORING_REPORT
from modelcycle.versions.prediction_log import (
    convert_database_errors,
    open_log,
    read_outcomes,
    to_utc,
    utc_now,
    write_monitoring_result,
)

DEFAULT_DAYS = 30  # without --since
MAX_OUTCOMES = 20_000  # of which the quality is computed; more make its interval no more useful
MIN_LABELS_PER_CLASS = 10


def read_time(text: str, option: str) -> datetime:
    """Parse a date or time in UTC, or with an offset. Raises InputError that names the option."""
    try:
        time = to_utc(datetime.fromisoformat(text))
        if not 1000 <= time.year < 9999:  # from which days can be counted back and forth
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError(f"{option} is {text}; expected a date or time, such as 2024-01-31T12:00.") from None
    return time


def judge_drift(observations: Observations, target: str, limits: Monitor) -> pd.DataFrame:
    """Compare each column with its profile: a row for each test, as `mark_alerts` gives it; one for the prediction."""
    rows = []
    for name, profile in observations.profiles.items():
        differences = compare_column(name, observations.histograms[name], profile)
        rows += [differences[0] | {"what": "prediction"}] if name == target else differences
    by_what = {"values": limits.shift, "prediction": limits.shift, "missing": limits.share, "unseen": limits.share}
    return mark_alerts(rows, limits.chance, by_what)


def group_outcomes(labelled: list[dict[str, Any]], holdout: Holdout, contract: Contract) -> np.ndarray | None:
    """Number what is independent of one another in answers whose outcome is known, as `group_rows` does of test rows.

    An answer without a group is a group of its own. Time is when it was given.
    """
    names = holdout_columns(holdout, contract)
    if holdout.by == "time":
        return group_rows(pd.DataFrame({names[0]: [row["at"] for row in labelled]}), holdout, contract)
    groups = [[row["inputs"].get(name, f"answer {i}") for name in names] for i, row in enumerate(labelled)]
    return group_rows(pd.DataFrame(groups, columns=names), holdout, contract)


def judge_quality(
    labelled: list[dict[str, Any]], champion: Bundle, limits: Monitor, n_resamples: int, holdout: Holdout
) -> dict[str, Any]:
    """Compare the answers with their outcomes, and the metrics of that with those on the test data.

    labelled: at, inputs, answer and outcome of each, the latest first. holdout: says what is independent.
    Alerts when the leading metric is significantly worse by more than the limit: the difference, less the root of the
    sum of the squared half widths of both 95 % intervals, as for two independent estimates.
    Returns labels, then, alert, over_time and, where there are enough labels, now, figures and worse_for_certain.
    """
    contract, target = champion.contract, champion.contract.target
    metric = LEADING_METRIC[contract.is_classification]
    reference = champion.expected["figures"][metric]
    outcomes = convert_values(pd.Series([row["outcome"] for row in labelled], dtype="object"), contract.columns[target])
    rows = [row for row, is_readable in zip(labelled, outcomes.notna(), strict=True) if is_readable]
    quality = {"metric": metric, "labels": len(rows), "unreadable": len(labelled) - len(rows), "then": reference}
    classes = outcomes.value_counts()
    too_few = contract.is_classification and (len(classes) < 2 or classes.iloc[1] < MIN_LABELS_PER_CLASS)
    if len(rows) < limits.labels or too_few:
        return quality | {"alert": False, "over_time": []}
    truth = extract_target(pd.DataFrame({target: outcomes.dropna()}), contract)
    predictions = pd.DataFrame([row["answer"]["probabilities"] for row in rows]).add_prefix("probability_")
    predictions.insert(0, "prediction", [row["answer"]["prediction"] for row in rows])
    groups = group_outcomes(rows, holdout, contract)
    metrics = bootstrap_intervals(truth, predictions, n_resamples, groups)
    current = metrics.loc[metric].to_dict()
    sign, scale = direction(metric), 1 if contract.is_classification else reference["value"]
    noise = np.hypot(current["high"] - current["low"], reference["high"] - reference["low"]) / 2
    worse = round_to_six_digits(float(sign * (reference["value"] - current["value"]) - noise) / scale)
    over_time = []
    for part in np.array_split(np.arange(len(rows))[::-1], min(8, len(rows) // limits.labels)):  # the latest come first
        part_groups = group_outcomes([rows[i] for i in part], holdout, contract)
        point = bootstrap_intervals(truth[part], predictions.iloc[part], n_resamples, part_groups).loc[metric]
        if point.notna().all():
            over_time.append({"at": rows[part[len(part) // 2]]["at"], "labels": len(part), **point})
    facts = {"now": current, "worse_for_certain": worse, "alert": worse > limits.quality, "over_time": over_time}
    return quality | facts | {"figures": metrics.dropna().to_dict("index")}


def judge_speed(latencies: pd.Series, limits: Monitor) -> dict[str, Any]:
    """Say how many milliseconds answers took, and by a binomial test whether more than 5 % exceed the limit."""
    if latencies.empty:
        return {"answers": 0, "alert": False}
    n_slow = int((latencies > limits.milliseconds).sum())
    shares = (50, 95, 99)
    quantiles = {f"milliseconds_{x}": round_to_six_digits(float(latencies.quantile(x / 100))) for x in shares}
    alert = binomtest(n_slow, len(latencies), 0.05, alternative="greater").pvalue < limits.chance
    return {"answers": len(latencies), "slow": n_slow, **quantiles, "alert": bool(alert)}


def describe_difference(row: dict[Any, Any], contract: Contract, profile: Profile) -> str:
    """Describe a difference in plain words."""
    name, then, now = row["column"], row["then"], row["now"]
    subject, reference = name, "in training"
    if row["what"] == "prediction":
        of = profile["of"].removeprefix("probability_")
        subject = f"the predicted {name}" if of == "prediction" else f"the predicted probability that {name} is {of}"
        reference = "on the test data"
    if row["what"] == "missing":
        return f"{name} is missing in {now:.1%} of the cases, in training in {then:.1%}"
    if row["what"] == "unseen" and "edges" in profile:
        low, high = profile["edges"][0], profile["edges"][-1]
        return f"{name} is outside what training held, {low:g} to {high:g}, in {now:.1%} of the cases"
    if row["what"] == "unseen":
        return f"{name} has values that training never held in {now:.1%} of the cases"
    if "edges" not in profile:
        value = row["category"] or "what was never there"
        return f"{subject} has other shares than {reference}: {value} in {now:.1%} of the cases instead of {then:.1%}"
    std = profile["std"] or 1
    shown_now, shown_then = (f"{value:,.{max(0, 2 - math.floor(math.log10(std)))}f}" for value in (now, then))
    unit = f" {contract.columns[name].unit}" if contract.columns[name].unit and "probability" not in subject else ""
    if abs(now - then) > row["effect"] * std / 2:
        direction = "higher" if now > then else "lower"
        return f"{subject} is {direction} than {reference}: mean {shown_now}{unit} instead of {shown_then}"
    return f"{subject} is spread in another way than {reference}, around a mean of {shown_now}{unit} (was {shown_then})"


def describe_alerts(
    differences: pd.DataFrame,
    quality: dict[str, Any],
    speed: dict[str, Any],
    limits: Monitor,
    contract: Contract,
    profiles: dict[str, Profile],
) -> list[str]:
    """Describe what a person should look at, in plain words: wrong answers first, then the largest differences."""
    sentences = []
    if quality["alert"]:
        scores = {name: "{value:.3g} ({low:.3g} to {high:.3g})".format(**quality[name]) for name in ("now", "then")}
        sentences.append(
            f"the answers have got worse: {quality['metric']} {scores['now']} on {quality['labels']:,} cases whose "
            f"outcome is known, {scores['then']} on the test data"
        )
    if speed["alert"]:
        sentences.append(
            f"answers are slow: {speed['slow'] / speed['answers']:.1%} took longer than {limits.milliseconds:g} ms, "
            "where 5 % may"
        )
    alerts = differences[differences["alert"]].to_dict("records")
    alerts.sort(key=lambda row: (row["what"] != "prediction", -row["effect"] / row["limit"]))
    return sentences + [describe_difference(row, contract, profiles[row["column"]]) for row in alerts]


def compare_with_training(
    log: Engine, champion: Bundle, start: datetime, end: datetime, params: Params
) -> tuple[dict[str, Any], Observations]:
    """Compare the champion's answers from start to before end with training and test data.

    Returns what reports/monitoring.json holds, and the observations. Raises InputError where there are none.
    """
    limits = params.monitor
    with convert_database_errors():
        observations = read_observations(log, champion, start, end, limits.sample)
        final = end - params.prepare.labels.after  # of younger answers the outcome may still change
        labelled = read_outcomes(log, champion.version, start, final, MAX_OUTCOMES)
    differences = judge_drift(observations, champion.contract.target, limits)
    quality = judge_quality(labelled, champion, limits, params.evaluate.bootstrap, params.prepare.holdout)
    speed = judge_speed(observations.latencies, limits)
    return {
        "since": start.isoformat(),
        "until": end.isoformat(),
        "version": champion.version,
        "answers": int(observations.answers.sum()),
        "looked_at": observations.n_sampled,
        "answers_of_other_versions": observations.answers_of_others,
        "alerts": describe_alerts(differences, quality, speed, limits, champion.contract, observations.profiles),
        "differences": to_records(differences),
        "quality": quality,
        "speed": speed,
        "periods": summarize_periods(observations),
    }, observations


def monitor(since: str, until: str) -> None:
    """Monitor the champion's answers of a span of time. Raises Alert, with the reasons, after it has written all."""
    params = read_params()
    end = read_time(until, "--until") if until else utc_now()
    start = read_time(since, "--since") if since else end - timedelta(days=DEFAULT_DAYS)
    if start >= end:
        raise InputError(f"--since {start} is not before --until {end}, in UTC.")
    log, champion = open_log(), load_champion(store.connect())
    result, observations = compare_with_training(log, champion, start, end, params)
    text = json.dumps(result, indent=1, ensure_ascii=False, default=str)
    write_text(MONITORING, text + "\n")
    with convert_database_errors():
        write_monitoring_result(log, end, json.loads(text))
    with write_atomically(MONITORING_REPORT) as draft:
        write_monitoring_report(draft, result, observations, champion.expected["figures"], params.monitor)
    quality, alerts = result["quality"], result["alerts"]
    span = f"from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    report_line("monitor", f"{result['answers']:,} answers of version {champion.version} {span}", MONITORING_REPORT)
    lacking = "" if "now" in quality else f": not enough labels yet, {params.monitor.labels} are needed"
    report_line("", f"{observations.n_sampled:,} looked at, {quality['labels']:,} outcomes known{lacking}")
    if alerts:
        raise Alert("\n".join(f"alert: {reason}." for reason in alerts))
    report_line("", f"no alert in {len(result['differences'])} comparisons")
