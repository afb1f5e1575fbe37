"""Watch the model in use: has what it is asked changed, do its answers, are they right, do they come in time?

The prediction log of a span of time is compared with the profile of the training data and with the test figures that
the champion's version keeps. All answers are counted, but only a sample is looked into: more rows would only prove what
is too small to matter. The sample is read in chunks, of which only counts remain. Times are UTC, as in the log.
"""

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json as arrow_json
from scipy.stats import binomtest
from sqlalchemy import Engine

from modelcycle.core.contract import Contract, convert_values, extract_target
from modelcycle.core.errors import Alert, InputError
from modelcycle.core.metrics import HIGHER_IS_BETTER, LEADING_METRIC, bootstrap_intervals, round_to_six_digits
from modelcycle.core.output import report_line, write_atomically
from modelcycle.core.params import Monitor, read_params
from modelcycle.core.paths import MONITORING, MONITORING_REPORT
from modelcycle.core.settings import read_settings
from modelcycle.monitoring.drift import compare, judge
from modelcycle.monitoring.histogram import Histogram, Profile
from modelcycle.monitoring.monitor_report import write_monitoring
from modelcycle.tracking import store
from modelcycle.tracking.bundle import Bundle, load_champion
from modelcycle.tracking.prediction_log import (
    convert_database_errors,
    open_log,
    read_hourly_counts,
    read_json_lines,
    read_outcomes,
    to_utc,
    utc_now,
    write_monitoring_result,
)

DAYS = 30  # that are looked at where nothing else is said
MOST_PERIODS = 60  # that are plotted
MOST_OUTCOMES = 20_000  # of which the quality is computed; more make its interval no more useful
FEWEST_OF_A_CLASS = 10


@dataclass
class Seen:
    """What the champion was asked and answered, by period."""

    starts: np.ndarray  # (p,) when each period starts
    answers: np.ndarray  # (p,) how many it has
    others: dict[str, int]  # how many each other version gave
    rows: int  # of how many answers the rest tells
    profiles: dict[str, Profile]  # what each feature and, under the target's name, the prediction is compared with
    histograms: dict[str, Histogram]  # for each of them
    took: pd.Series  # milliseconds, with the period as index


def read_time(text: str, option: str) -> datetime:
    """Read a date or time in UTC, or with an offset. Raises InputError with the option and what was found."""
    try:
        time = to_utc(datetime.fromisoformat(text))
        if not 1000 <= time.year < 9999:  # from which days can be counted back and forth
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError(f"{option} is {text}; expected a date or time, such as 2024-01-31T12:00.") from None
    return time


def period_starts(first: datetime, last: datetime) -> np.ndarray:
    """Divide a span of time into hours, from two days on into days, or into several of them: (p,) at most 60 starts."""
    start, end = (np.datetime64(time, "h" if last - first < timedelta(days=2) else "D") for time in (first, last))
    many = int((end - start).astype(int)) + 1
    return start + np.arange(0, many, -(-many // MOST_PERIODS))


def schema(served: Bundle) -> pa.Schema:
    """Say what to read of each line of the log: when, the features, the predicted probability or value, how long."""
    types = {"number": pa.float64(), "integer": pa.float64(), "boolean": pa.bool_()}
    columns = served.contract.columns
    features = [(name, types.get(columns[name].type, pa.string())) for name in served.contract.names("feature")]
    described = served.expected["prediction"]
    answer = (described["of"].removeprefix("probability_"), pa.float64() if "edges" in described else pa.string())
    given = answer if answer[0] == described["of"] else ("probabilities", pa.struct([answer]))
    answers = pa.struct([given, ("milliseconds", pa.float64())])
    return pa.schema([("at", pa.timestamp("us")), ("inputs", pa.struct(features)), ("answer", answers)])


def read_seen(log: Engine, served: Bundle, since: datetime, until: datetime, sample: int) -> Seen:
    """Count all answers, and what about `sample` of them hold. Raises InputError where the champion gave none."""
    volumes = pd.DataFrame(read_hourly_counts(log, since, until), columns=["version", "hour", "answers"])
    is_own = volumes["version"] == served.version
    own = volumes[is_own]
    others: dict[Any, int] = volumes[~is_own].groupby("version")["answers"].sum().to_dict()
    if own.empty:
        span = f"from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        named = f" Other versions gave some: {', '.join(others)}." if others else ""
        raise InputError(f"The log holds no answer of the champion, version {served.version}, {span}.{named}")
    hours = np.array(own["hour"].tolist(), "datetime64[h]")
    starts = period_starts(hours.min().item(), hours.max().item())
    answers = np.bincount(np.searchsorted(starts, hours, side="right") - 1, own["answers"]).astype(int)
    known = {name: served.profile[name] for name in served.contract.names("feature")}
    known[served.contract.target] = served.expected["prediction"]
    parse = arrow_json.ParseOptions(schema(served), unexpected_field_behavior="ignore")
    histograms: dict[str, Histogram] = {}
    took = []
    for lines in read_json_lines(log, served.version, since, until, sample / answers.sum()):
        blocks = arrow_json.ReadOptions(block_size=len(lines))  # a line has to fit into a block
        table = arrow_json.read_json(pa.BufferReader(lines), blocks, parse).combine_chunks()
        periods = np.searchsorted(starts, table["at"].to_numpy(), side="right") - 1
        given, milliseconds = table["answer"].combine_chunks().flatten()
        (predicted,) = given.flatten() if pa.types.is_struct(given.type) else [given]
        columns = [*table["inputs"].combine_chunks().flatten(), predicted]
        for (name, profile), values in zip(known.items(), columns, strict=True):
            counted = Histogram.count(values.to_pandas(), periods, len(starts), profile)
            histograms[name] = histograms[name] + counted if name in histograms else counted
        took.append(pd.Series(milliseconds.to_numpy(zero_copy_only=False), periods))
    noted = pd.concat(took)
    return Seen(starts, answers, others, len(noted), known, histograms, noted.dropna())


def judge_differences(seen: Seen, target: str, limits: Monitor) -> pd.DataFrame:
    """Compare each column with its profile: a row for each test, see `drift.judge`; of the prediction there is one."""
    rows = []
    for name, profile in seen.profiles.items():
        found = compare(name, seen.histograms[name], profile)
        rows += [found[0] | {"what": "prediction"}] if name == target else found
    by_what = {"values": limits.shift, "prediction": limits.shift, "missing": limits.share, "unseen": limits.share}
    return judge(rows, limits.chance, by_what)


def judge_quality(outcomes: list[dict[str, Any]], served: Bundle, limits: Monitor, draws: int) -> dict[str, Any]:
    """Compare what was answered with what happened, and that with the figures on the test data.

    Alerts when the leading figure is worse by more than the limit for certain: the difference, less the root of the sum
    of the squared half widths of both 95 % intervals, as for two independent estimates.
    Returns labels, then, alert, over_time and, where there are enough labels, now, figures and worse_for_certain.
    """
    contract, target = served.contract, served.contract.target
    metric = LEADING_METRIC[contract.is_classification]
    then = served.expected["figures"][metric]
    happened = convert_values(pd.Series([row["outcome"] for row in outcomes], dtype="object"), contract.columns[target])
    rows = [row for row, is_known in zip(outcomes, happened.notna(), strict=True) if is_known]
    quality = {"metric": metric, "labels": len(rows), "unreadable": len(outcomes) - len(rows), "then": then}
    classes = happened.value_counts()
    too_few = contract.is_classification and (len(classes) < 2 or classes.iloc[1] < FEWEST_OF_A_CLASS)
    if len(rows) < limits.labels or too_few:
        return quality | {"alert": False, "over_time": []}
    truth = extract_target(pd.DataFrame({target: happened.dropna()}), contract)
    predictions = pd.DataFrame([row["answer"]["probabilities"] for row in rows]).add_prefix("probability_")
    predictions.insert(0, "prediction", [row["answer"]["prediction"] for row in rows])
    figures = bootstrap_intervals(truth, predictions, draws)
    present = figures.loc[metric].to_dict()
    sign, scale = 1 if metric in HIGHER_IS_BETTER else -1, 1 if contract.is_classification else then["value"]
    noise = np.hypot(present["high"] - present["low"], then["high"] - then["low"]) / 2
    worse = round_to_six_digits(float(sign * (then["value"] - present["value"]) - noise) / scale)
    over_time = []
    for part in np.array_split(np.arange(len(rows))[::-1], min(8, len(rows) // limits.labels)):  # the latest come first
        point = bootstrap_intervals(truth[part], predictions.iloc[part], draws).loc[metric]
        if point.notna().all():
            over_time.append({"at": rows[part[len(part) // 2]]["at"], "labels": len(part), **point})
    facts = {"now": present, "worse_for_certain": worse, "alert": worse > limits.quality, "over_time": over_time}
    return quality | facts | {"figures": figures.dropna().to_dict("index")}


def judge_speed(took: pd.Series, limits: Monitor) -> dict[str, Any]:
    """Say how long answers took, and whether more than 5 % took longer than the limit, by a binomial test."""
    if took.empty:
        return {"answers": 0, "alert": False}
    slow = int((took > limits.milliseconds).sum())
    quantiles = {
        f"milliseconds_{share}": round_to_six_digits(float(took.quantile(share / 100))) for share in (50, 95, 99)
    }
    alert = binomtest(slow, len(took), 0.05, alternative="greater").pvalue < limits.chance
    return {"answers": len(took), "slow": slow, **quantiles, "alert": bool(alert)}


def sentence(row: dict[Any, Any], contract: Contract, profile: Profile) -> str:
    """Say in plain words what a row of the differences has found."""
    name, then, now = row["column"], row["then"], row["now"]
    subject, before = name, "in training"
    if row["what"] == "prediction":
        of = profile["of"].removeprefix("probability_")
        subject = f"the predicted {name}" if of == "prediction" else f"the predicted probability that {name} is {of}"
        before = "on the test data"
    if row["what"] == "missing":
        return f"{name} is missing in {now:.1%} of the cases, in training in {then:.1%}"
    if row["what"] == "unseen" and "edges" in profile:
        low, high = profile["edges"][0], profile["edges"][-1]
        return f"{name} is outside what training held, {low:g} to {high:g}, in {now:.1%} of the cases"
    if row["what"] == "unseen":
        return f"{name} has values that training never held in {now:.1%} of the cases"
    if "edges" not in profile:
        value = row["category"] or "what was never there"
        return f"{subject} has other shares than {before}: {value} in {now:.1%} of the cases instead of {then:.1%}"
    std = profile["std"] or 1
    shown_now, shown_then = (f"{value:,.{max(0, 2 - math.floor(math.log10(std)))}f}" for value in (now, then))
    unit = f" {contract.columns[name].unit}" if contract.columns[name].unit and "probability" not in subject else ""
    if abs(now - then) > row["effect"] * std / 2:
        direction = "higher" if now > then else "lower"
        return f"{subject} is {direction} than {before}: mean {shown_now}{unit} instead of {shown_then}"
    return f"{subject} is spread in another way than {before}, around a mean of {shown_now}{unit} (was {shown_then})"


def reasons(
    differences: pd.DataFrame,
    quality: dict[str, Any],
    speed: dict[str, Any],
    limits: Monitor,
    contract: Contract,
    profiles: dict[str, Profile],
) -> list[str]:
    """List what a person should look at, in plain words: wrong answers first, then the largest differences."""
    found = []
    if quality["alert"]:
        shown = {name: "{value:.3g} ({low:.3g} to {high:.3g})".format(**quality[name]) for name in ("now", "then")}
        found.append(
            f"the answers have got worse: {quality['metric']} {shown['now']} on {quality['labels']:,} cases whose "
            f"outcome is known, {shown['then']} on the test data"
        )
    if speed["alert"]:
        found.append(
            f"answers are slow: {speed['slow'] / speed['answers']:.1%} took longer than {limits.milliseconds:g} ms, "
            "where 5 % may"
        )
    alerts = differences[differences["alert"]].to_dict("records")
    alerts.sort(key=lambda row: (row["what"] != "prediction", -row["effect"] / row["limit"]))
    return found + [sentence(row, contract, profiles[row["column"]]) for row in alerts]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give a table's rows as they go into JSON, with None for what is not there."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows


def by_period(seen: Seen) -> list[dict[str, Any]]:
    """List for each period when it starts, how many answers it has and how long they took."""
    found = pd.DataFrame({"from": seen.starts.astype(str), "answers": seen.answers})
    by_start = seen.took.groupby(level=0)
    for share in (50, 95):
        found[f"milliseconds_{share}"] = by_start.quantile(share / 100).reindex(found.index).round(2)
    return records(found)


def watch(
    log: Engine, served: Bundle, start: datetime, end: datetime, limits: Monitor, draws: int
) -> tuple[dict[str, Any], Seen]:
    """Compare the champion's answers from start to before end: what reports/monitoring.json holds, and its counts."""
    with convert_database_errors():
        seen = read_seen(log, served, start, end, limits.sample)
        outcomes = read_outcomes(log, served.version, start, end, MOST_OUTCOMES)
    differences = judge_differences(seen, served.contract.target, limits)
    quality, speed = judge_quality(outcomes, served, limits, draws), judge_speed(seen.took, limits)
    return {
        "since": start.isoformat(),
        "until": end.isoformat(),
        "version": served.version,
        "answers": int(seen.answers.sum()),
        "looked_at": seen.rows,
        "answers_of_other_versions": seen.others,
        "alerts": reasons(differences, quality, speed, limits, served.contract, seen.profiles),
        "differences": records(differences),
        "quality": quality,
        "speed": speed,
        "periods": by_period(seen),
    }, seen


def monitor(since: str, until: str) -> None:
    """Watch the champion's answers of a span of time. Raises Alert, with the reasons, after the reports are written."""
    params = read_params()
    end = read_time(until, "--until") if until else utc_now()
    start = read_time(since, "--since") if since else end - timedelta(days=DAYS)
    if start >= end:
        raise InputError(f"--since {start} is not before --until {end}, in UTC.")
    log, served = open_log(read_settings().database_url), load_champion(store.connect())
    result, seen = watch(log, served, start, end, params.monitor, params.evaluate.bootstrap)
    text = json.dumps(result, indent=1, ensure_ascii=False, default=str)
    with write_atomically(MONITORING) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
    with convert_database_errors():
        write_monitoring_result(log, end, json.loads(text))
    with write_atomically(MONITORING_REPORT) as draft:
        write_monitoring(draft, result, seen, served.expected["figures"], params.monitor)
    quality, found = result["quality"], result["alerts"]
    span = f"from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    report_line("monitor", f"{result['answers']:,} answers of version {served.version} {span}", MONITORING_REPORT)
    lacking = "" if "now" in quality else f": not enough labels yet, {params.monitor.labels} are needed"
    report_line("", f"{seen.rows:,} looked at, {quality['labels']:,} outcomes known{lacking}")
    if found:
        raise Alert("\n".join(f"alert: {reason}." for reason in found))
    report_line("", f"no alert in {len(result['differences'])} comparisons")
