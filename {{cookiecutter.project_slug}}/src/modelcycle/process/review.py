"""The sprint review on one page, for everybody: what was tried since a tag, a commit or a date, and what came of it.

Nothing is recorded for it: all is read from git, DVC, the store with its ledger, and the prediction log.
"""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from markupsafe import Markup

from modelcycle.core.contract import Contract, convert_values, read_contract
from modelcycle.core.errors import InputError
from modelcycle.core.metrics import HIGHER_IS_BETTER, LEADING_METRIC, METRIC_MEANINGS, direction
from modelcycle.core.output import report_line, write_text
from modelcycle.core.page import render_page
from modelcycle.core.paths import EXPECTED, RAW, TEST, TRAIN
from modelcycle.core.plots import BLUE, GREY, ORANGE, make_axes, render_svg
from modelcycle.core.team import read_project
from modelcycle.monitoring.monitor import MAX_OUTCOMES, read_time
from modelcycle.process.process import judge_phases
from modelcycle.tracking import store
from modelcycle.tracking.git import find_commit, git, has_commit
from modelcycle.versions import registry
from modelcycle.versions.ledger import LedgerEntry, champion_number, read_ledger
from modelcycle.versions.lineage import read_at_commit, read_lock
from modelcycle.versions.params import read_params
from modelcycle.versions.paths import DATA_CARD, MODEL_CARD, REVIEW
from modelcycle.versions.prediction_log import (
    convert_database_errors,
    open_log,
    read_feedback,
    read_monitoring_result,
    to_utc,
    utc_now,
)
from modelcycle.versions.registry import Verdict, Version

SPRINT_DAYS = 14  # the length of a sprint, without --since
MAX_ITEMS = 25  # rows of a table, points of the plot
CHANGED_PATHS = (".", f":!{MODEL_CARD}", f":!{DATA_CARD}")  # the cards repeat what the page says
TABLES = {"all data": RAW, "to learn from": TRAIN, "to test with": TEST}
POINT_STYLES = {  # by a point's status: label, marker, colour
    "passed": ("passed the gate", "o", BLUE),
    "rejected": ("rejected by the gate", "X", ORANGE),
    "undecided": ("undecided by the gate", "D", ORANGE),
    "committed": ("only committed", "s", GREY),
}


def find_start(since: str) -> tuple[str, datetime]:
    """Find the commit after which the review begins, empty where there is none, and its time in UTC.

    since: a tag, a commit or a date; empty means two weeks ago. Raises InputError when it is none of these.
    """
    if not has_commit():
        raise InputError("Nothing is committed yet, so there is nothing to review; commit the project first.")
    commit = find_commit(since) if since else ""
    if commit:
        tag_time = git("for-each-ref", "--format=%(creatordate:iso-strict)", f"refs/tags/{since}")
        return commit, to_utc(datetime.fromisoformat(tag_time or git("show", "--no-patch", "--format=%cI", commit)))
    try:
        start = read_time(since, "--since") if since else utc_now() - timedelta(days=SPRINT_DAYS)
    except InputError:
        raise InputError(f"--since is {since}; expected a tag or commit of this repository, or a date.") from None
    if start > utc_now():
        raise InputError(f"--since is {since}, which is yet to come; expected a tag, a commit or a date before now.")
    before = f"--before={start.isoformat(timespec='seconds')}Z"
    return git("rev-list", "--max-count=1", "--first-parent", before, "HEAD"), start


def list_commits(*arguments: str) -> list[dict[str, Any]]:
    """List commits, the latest first: id, at (UTC), by and what. arguments: of `git log`."""
    lines = git("log", "--format=%H%x1f%cI%x1f%an%x1f%s", *arguments).split("\n")
    commits = [dict(zip(("id", "at", "by", "what"), line.split("\x1f", 3), strict=True)) for line in lines if line]
    return [commit | {"at": to_utc(datetime.fromisoformat(commit["at"]))} for commit in commits]


def count_rows(revision: str) -> list[int | None]:
    """Count the rows of each table at a commit; None where it is not available."""
    return [
        read_at_commit(revision, path, lambda content: pq.read_metadata(content).num_rows) for path in TABLES.values()
    ]


def collect_points(versions: list[Version], commits: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """List the leading metric over time, the latest last: of versions as the gate saw it, of other commits from DVC.

    commits: those that changed dvc.lock, the newest first; of those with the same metrics the oldest counts.
    """
    points: list[dict[str, Any]] = []
    for version in versions[:MAX_ITEMS]:
        facts = {"id": version.commit, "name": f"version {version.number}", "status": version.tags["verdict"]}
        points.append({**facts, "at": version.created, **version.verdicts[0].interval})  # about the leading metric
    digests = {read_lock(point["id"]).get(EXPECTED.as_posix()) for point in points}
    for commit in commits[::-1]:
        digest = read_lock(commit["id"]).get(EXPECTED.as_posix())
        if digest and digest not in digests:
            scores = read_at_commit(commit["id"], EXPECTED, lambda content: json.load(content)["figures"]) or {}
            points.append(commit | {"name": commit["id"][:7], "status": "committed"} | scores.get(metric, {}))
            digests.add(digest)
    return sorted((point for point in points if "value" in point), key=lambda point: point["at"])[-MAX_ITEMS:]


def plot_points(points: list[dict[str, Any]], start: datetime, metric: str) -> Markup:
    """Draw the scores with their intervals, one after the other, and where the review begins."""
    figure, plot = make_axes(3.2)
    for status, (label, marker, color) in POINT_STYLES.items():
        if positions := [position for position, point in enumerate(points) if point["status"] == status]:
            intervals = [[points[position][bound] for bound in ("value", "low", "high")] for position in positions]
            value, low, high = np.array(intervals).T
            errors = [value - low, high - value]
            plot.errorbar(positions, value, errors, fmt=marker, color=color, capsize=3, label=label)
    n_earlier = sum(point["at"] <= start for point in points)
    if 0 < n_earlier < len(points):
        plot.axvline(n_earlier - 0.5, color=GREY, linestyle="--", label="this review begins")
    names = [f"{point['name']}\n{point['at']:%d %b}" for point in points]
    plot.set_xticks(range(len(points)), names, rotation=60 if len(points) > 9 else 0, fontsize=8)
    plot.set_ylabel(f"{metric}, {'higher' if metric in HIGHER_IS_BETTER else 'lower'} is better")
    plot.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
    return render_svg(figure, "The leading figure of each version and commit, with its interval")


def describe_difference(run: Any, previous: Any) -> str:
    """Say in which settings and in how many rows a training run of MLflow differs from the previous one, if any."""
    new, n_rows = run.data.params, int(run.data.metrics["train_rows"])
    if previous is None:
        return f"the first: {', '.join(' '.join(item) for item in new.items())}; {n_rows:,} training rows"
    old, n_added = previous.data.params, n_rows - int(previous.data.metrics["train_rows"])
    names = [name for name in {**old, **new} if new.get(name) != old.get(name)]
    differences = [f"{name} {new.get(name, 'not set')} instead of {old.get(name, 'not set')}" for name in names]
    differences += [f"{abs(n_added):,} {'more' if n_added > 0 else 'fewer'} training rows"] if n_added else []
    return ", ".join(differences) or "the same settings and as many rows"


def get_start_time(run: Any) -> datetime:
    """Give the time at which a run of MLflow began, UTC without a zone."""
    return to_utc(datetime.fromtimestamp(run.info.start_time / 1000, UTC))


def list_training_runs(client: Any, start: datetime) -> list[dict[str, Any]]:
    """List the training runs since a time in UTC, the latest first: at, what was different, metrics."""
    experiment = client.get_experiment_by_name(read_project().registered_name).experiment_id
    runs = client.search_runs([experiment], "metrics.train_rows > 0", order_by=["attributes.start_time DESC"])
    rows = [
        run.data.metrics | {"at": get_start_time(run), "what": describe_difference(run, previous)}
        for run, previous in zip_longest(runs, runs[1:])
    ]
    return [row for row in rows if row["at"] >= start]


def explain_decision(entry: LedgerEntry, verdicts: list[Verdict]) -> list[str]:
    """Say in plain words why a decision of the ledger was taken. verdicts: what the gate says of the version."""
    if entry.event in ("rejected", "undecided"):
        failed = [verdict for verdict in verdicts if not verdict.passed]
        return [
            f"{verdict.meaning} ({verdict.rule}: {verdict.found}; expected {verdict.expected})" for verdict in failed
        ]
    if entry.event == "promoted":
        duels = [verdict.found for verdict in verdicts if verdict.rule == "duel with the champion"]
        told = f"It passed all {len(verdicts)} rules of the gate."
        if undecided := [verdict.rule for verdict in verdicts if verdict.state == "undecided"]:
            told = (
                f"The gate could not decide about {', '.join(undecided)}. It was released all the same: {entry.reason}."
            )
        return [told, *(f"On the same cases: {duel}." for duel in duels)]
    return [*filter(None, (entry.reason, entry.environment, entry.image))][:1]


def find_weak_slices(verdicts: list[Verdict], metric: str) -> list[dict[str, Any]]:
    """List the slices for which a version is significantly worse than overall, the worst first."""
    sign = direction(metric)
    best_bound = "high" if sign > 0 else "low"
    overall = verdicts[0].interval["value"]
    slices = [
        {"name": verdict.rule.removeprefix("slice "), **verdict.interval}
        for verdict in verdicts
        if verdict.rule.startswith("slice ") and sign * verdict.interval[best_bound] < sign * overall
    ]
    return sorted(slices, key=lambda entry: sign * entry["value"])


def compute_errors(feedback: list[dict[str, Any]], contract: Contract) -> pd.DataFrame:
    """Compute for each of (n,) feedbacks the error of the model and of the baseline; NaN without an outcome.

    Of classes it is 0 for right and 1 for wrong, of amounts the distance. The baseline is the most frequent class, or
    the median.
    """
    pairs = [(entry["outcome"], entry["answer"]["prediction"]) for entry in feedback]
    table = pd.DataFrame(pairs, columns=["outcome", "prediction"], dtype="object")
    typed = table.apply(convert_values, column=contract.columns[contract.target])
    outcomes, predictions = typed["outcome"], typed["prediction"]
    if contract.is_classification:
        model, baseline = outcomes != predictions, outcomes != next(iter(outcomes.mode()), None)
    else:
        model, baseline = (outcomes - predictions).abs(), (outcomes - outcomes.median()).abs()
    return pd.DataFrame({"model": model, "baseline": baseline}).astype("Float64").where(outcomes.notna()).astype(float)


def review(since: str) -> None:
    """Write the page. Raises InputError when `since` is no tag, commit or date, or a store can't be reached."""
    contract, params, client = read_contract(), read_params(), store.connect()
    start_commit, start = find_start(since)
    metric, log = LEADING_METRIC[contract.is_classification], open_log()
    with convert_database_errors():
        feedback = read_feedback(log, start, MAX_OUTCOMES)
        comments = read_feedback(log, start, MAX_ITEMS, with_comment=True)
        monitoring = read_monitoring_result(log)
    versions = [version for version in registry.list_versions(client) if version.verdicts]
    verdicts = {version.number: version.verdicts for version in versions}
    ledger = read_ledger(client)
    earlier = [entry for entry in ledger if entry.time < start]
    decisions = ledger[len(earlier) :]
    champion = champion_number(ledger)
    points = collect_points(versions, list_commits(f"--max-count={MAX_ITEMS}", "--", "dvc.lock"), metric)
    content = render_page(
        Path(__file__).with_name("review.html"),
        read_project().title,
        contract=contract,
        metric=metric,
        meaning=METRIC_MEANINGS[metric],
        max_items=MAX_ITEMS,
        since=since,
        start=start,
        end=utc_now(),
        commits=list_commits("--no-merges", f"{start_commit}..HEAD" if start_commit else "HEAD", "--", *CHANGED_PATHS),
        runs=list_training_runs(client, start),
        points={point[name]: point for point in points for name in ("name", "id")},
        plot=plot_points(points, start, metric) if points else None,
        row_counts=list(zip(TABLES, count_rows(start_commit), count_rows("HEAD"), strict=True)),
        decisions=[(entry, explain_decision(entry, verdicts.get(entry.version, []))) for entry in decisions[::-1]],
        champion=champion,
        champion_before=champion_number(earlier),
        n_feedback=len(feedback),
        max_feedback=MAX_OUTCOMES,
        errors=compute_errors(feedback, contract).dropna(),
        comments=list(zip(comments, compute_errors(comments, contract)["model"], strict=True)),
        weak_slices=find_weak_slices(verdicts[champion], metric) if champion in verdicts else None,
        monitoring=monitoring,
        phases=judge_phases(params, date.today()),
    )
    write_text(REVIEW, content)
    report_line("review", f"{len(decisions)} decisions since {start:%Y-%m-%d %H:%M} UTC", REVIEW)
