"""The sprint review on one page, for everybody: what was tried since a tag, a commit or a date, and what came of it.

Nothing is noted for it: all is read from git, DVC, the store with its ledger, and the prediction log.
"""

import json
from collections.abc import Callable
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
from modelcycle.core.metrics import HIGHER_IS_BETTER, LEADING_METRIC, METRIC_MEANINGS
from modelcycle.core.output import report_line, write_atomically
from modelcycle.core.page import render_page
from modelcycle.core.params import read_params
from modelcycle.core.paths import DATA_CARD, EXPECTED, MODEL_CARD, RAW, REVIEW, TEST, TRAIN
from modelcycle.core.plots import BLUE, GREY, ORANGE, make_axes, render_svg
from modelcycle.core.project import read_project
from modelcycle.core.settings import read_settings
from modelcycle.core.verdict import Verdict
from modelcycle.monitoring.monitor import MOST_OUTCOMES, read_time
from modelcycle.process.process import judge_phases
from modelcycle.tracking import registry
from modelcycle.tracking.git import git
from modelcycle.tracking.ledger import LedgerEntry, champion_number, read_ledger
from modelcycle.tracking.lineage import locked
from modelcycle.tracking.log import in_utc, latest_monitoring, now, open_log, read_feedback, reading
from modelcycle.tracking.registry import Version

DAYS = 14  # the length of a sprint, where nothing else is said
MOST = 25  # lines of a table, points of the plot
CHANGES = (".", f":!{MODEL_CARD}", f":!{DATA_CARD}")  # what counts as one: the cards say what the page says anyway
LOOKS = {  # of a point, by what became of it
    "passed": ("passed the gate", "o", BLUE),
    "rejected": ("rejected by the gate", "X", ORANGE),
    "committed": ("only committed", "s", GREY),
}


def start_of(since: str) -> tuple[str, datetime]:
    """Give the commit behind which the review begins, empty where there is none, and its time in UTC.

    since: a tag, a commit or a date; empty means two weeks ago. Raises InputError when it is none of these.
    """
    if not git("rev-parse", "--verify", "HEAD"):
        raise InputError("Nothing is committed yet, so there is nothing to review; commit the project first.")
    commit = git("rev-parse", "--quiet", "--verify", f"{since}^{{commit}}") if since else ""
    if commit:
        tagged = git("for-each-ref", "--format=%(creatordate:iso-strict)", f"refs/tags/{since}")
        return commit, in_utc(datetime.fromisoformat(tagged or git("show", "--no-patch", "--format=%cI", commit)))
    try:
        start = read_time(since, "--since") if since else now() - timedelta(days=DAYS)
    except InputError:
        raise InputError(f"--since is {since}; expected a tag or commit of this repository, or a date.") from None
    if start > now():
        raise InputError(f"--since is {since}, which is yet to come; expected a tag, a commit or a date before now.")
    before = f"--before={start.isoformat(timespec='seconds')}Z"
    return git("rev-list", "--max-count=1", "--first-parent", before, "HEAD"), start


def commits(*selection: str) -> list[dict[str, Any]]:
    """List commits, the latest first: id, at (UTC), by and what."""
    lines = git("log", "--format=%H%x1f%cI%x1f%an%x1f%s", *selection).split("\n")
    found = [dict(zip(("id", "at", "by", "what"), line.split("\x1f", 3), strict=True)) for line in lines if line]
    return [entry | {"at": in_utc(datetime.fromisoformat(entry["at"]))} for entry in found]


def at_commit(revision: str, path: Path, read: Callable[[Any], Any]) -> Any:
    """Read an output of the pipeline as it was at a commit; None where there was none or it can't be had any more."""
    import dvc.api  # imported late: few commands need it

    if not revision:  # DVC would take the work tree
        return None
    try:
        with dvc.api.open(path.as_posix(), rev=revision, mode="rb") as content:
            return read(content)
    except Exception:  # neither in the cache nor in the remote, each of which has errors of its own
        return None


def rows_at(revision: str) -> list[int | None]:
    """Count the rows of all data, of the training data and of the test data at a commit."""
    return [
        at_commit(revision, path, lambda content: pq.read_metadata(content).num_rows) for path in (RAW, TRAIN, TEST)
    ]


def points(versions: list[Version], changes: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """List the leading figure over time, the latest last: of versions as the gate found it, of other commits by DVC.

    changes: the commits that changed dvc.lock, the newest first; of those with the same figures the oldest counts.
    """
    found: list[dict[str, Any]] = []
    for version in versions[:MOST]:
        facts = {"id": version.commit, "name": f"version {version.number}", "how": version.tags["verdict"]}
        found.append({**facts, "at": version.created, **version.verdicts[0].interval})  # about the leading metric
    known = {locked(point["id"]).get(EXPECTED.as_posix()) for point in found}
    for change in changes[::-1]:
        digest = locked(change["id"]).get(EXPECTED.as_posix())
        if digest and digest not in known:
            figures = at_commit(change["id"], EXPECTED, lambda content: json.load(content)["figures"]) or {}
            found.append(change | {"name": change["id"][:7], "how": "committed"} | figures.get(metric, {}))
            known.add(digest)
    return sorted((point for point in found if "value" in point), key=lambda point: point["at"])[-MOST:]


def plot_points(found: list[dict[str, Any]], start: datetime, metric: str) -> Markup:
    """Draw the figures with their intervals, one after the other, and where the review begins."""
    figure, plot = make_axes(3.2)
    for how, (label, marker, color) in LOOKS.items():
        if places := [place for place, point in enumerate(found) if point["how"] == how]:
            value, low, high = np.array([[found[place][x] for x in ("value", "low", "high")] for place in places]).T
            plot.errorbar(places, value, [value - low, high - value], fmt=marker, color=color, capsize=3, label=label)
    earlier = sum(point["at"] <= start for point in found)
    if 0 < earlier < len(found):
        plot.axvline(earlier - 0.5, color=GREY, linestyle="--", label="this review begins")
    names = [f"{point['name']}\n{point['at']:%d %b}" for point in found]
    plot.set_xticks(range(len(found)), names, rotation=60 if len(found) > 9 else 0, fontsize=8)
    plot.set_ylabel(f"{metric}, {'higher' if metric in HIGHER_IS_BETTER else 'lower'} is better")
    plot.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
    return render_svg(figure, "The leading figure of each version and commit, with its interval")


def difference(run: Any, before: Any) -> str:
    """Say in which settings and in how much data a training run of MLflow differs from the one before, if any."""
    new, rows = run.data.params, int(run.data.metrics["train_rows"])
    if before is None:
        return f"the first: {', '.join(' '.join(item) for item in new.items())}; {rows:,} training rows"
    old, more = before.data.params, rows - int(before.data.metrics["train_rows"])
    names = [name for name in {**old, **new} if new.get(name) != old.get(name)]
    found = [f"{name} {new.get(name, 'not set')} instead of {old.get(name, 'not set')}" for name in names]
    found += [f"{abs(more):,} {'more' if more > 0 else 'fewer'} training rows"] if more else []
    return ", ".join(found) or "the same settings and as many rows"


def start_time(run: Any) -> datetime:
    """Give the time at which a run of MLflow began, UTC without a zone."""
    return in_utc(datetime.fromtimestamp(run.info.start_time / 1000, UTC))


def trainings(client: Any, start: datetime) -> list[dict[str, Any]]:
    """List the training runs since then, the latest first: at, what was different, figures."""
    experiment = client.get_experiment_by_name(read_project().registered_name).experiment_id
    runs = client.search_runs([experiment], "metrics.train_rows > 0", order_by=["attributes.start_time DESC"])
    found = []
    for run, before in zip_longest(runs, runs[1:]):
        found.append(run.data.metrics | {"at": start_time(run), "what": difference(run, before)})
    return [run for run in found if run["at"] >= start]


def reasons(entry: LedgerEntry, verdicts: list[Verdict]) -> list[str]:
    """Say in plain words why a decision of the ledger was taken. verdicts: what the gate says of the version."""
    if entry.event == "rejected":
        failed = [verdict for verdict in verdicts if not verdict.passed]
        return [f"{v.meaning} ({v.rule}: {v.found}; expected {v.expected})" for v in failed]
    if entry.event == "promoted":
        duels = [verdict.found for verdict in verdicts if verdict.rule == "duel with the champion"]
        return [f"It passed all {len(verdicts)} rules of the gate.", *(f"On the same cases: {duel}." for duel in duels)]
    return [*filter(None, (entry.reason, entry.environment, entry.image))][:1]


def weak_slices(verdicts: list[Verdict], metric: str) -> list[dict[str, Any]]:
    """List the slices for which a version is clearly worse than for all rows together, the worst first."""
    sign, best = (1, "high") if metric in HIGHER_IS_BETTER else (-1, "low")
    overall = verdicts[0].interval["value"]
    slices = [x for x in verdicts if x.rule.startswith("slice ") and sign * x.interval[best] < sign * overall]
    found = [{"name": x.rule.removeprefix("slice "), **x.interval} for x in slices]
    return sorted(found, key=lambda part: sign * part["value"])


def errors(said: list[dict[str, Any]], contract: Contract) -> pd.DataFrame:
    """Say for each of (n,) feedbacks how far off the answer was, and always giving the same; NaN without an outcome.

    Of classes it is 0 for right and 1 for wrong. The same is the most frequent class, or the median.
    """
    pairs = [(entry["outcome"], entry["answer"]["prediction"]) for entry in said]
    table = pd.DataFrame(pairs, columns=["outcome", "answer"], dtype="object")
    both = table.apply(convert_values, column=contract.columns[contract.target])
    truth, answers = both["outcome"], both["answer"]
    if contract.is_classification:
        off, guess = truth != answers, truth != next(iter(truth.mode()), None)
    else:
        off, guess = (truth - answers).abs(), (truth - truth.median()).abs()
    return pd.DataFrame({"off": off, "guess": guess}).astype("Float64").where(truth.notna()).astype(float)


def review(since: str) -> None:
    """Write the page. Raises InputError when `since` is no tag, commit or date, or a store is out of reach."""
    contract, params, client = read_contract(), read_params(), registry.connect()
    then, start = start_of(since)
    metric, log = LEADING_METRIC[contract.is_classification], open_log(read_settings().database_url)
    with reading():
        said = read_feedback(log, start, MOST_OUTCOMES)
        comments = read_feedback(log, start, MOST, commented=True)
        watched = latest_monitoring(log)
    versions = [version for version in registry.list_versions(client) if version.verdicts]
    verdicts = {version.number: version.verdicts for version in versions}
    ledger = read_ledger(client)
    earlier = [entry for entry in ledger if entry.time < start]
    champion = champion_number(ledger)
    found = points(versions, commits(f"--max-count={MOST}", "--", "dvc.lock"), metric)
    content = render_page(
        Path(__file__).with_name("review.html"),
        read_project().title,
        contract=contract,
        metric=metric,
        meaning=METRIC_MEANINGS[metric],
        most=MOST,
        since=since,
        start=start,
        end=now(),
        commits=commits("--no-merges", f"{then}..HEAD" if then else "HEAD", "--", *CHANGES),
        runs=trainings(client, start),
        points={point[name]: point for point in found for name in ("name", "id")},
        plot=plot_points(found, start, metric) if found else None,
        rows=list(zip(("all data", "to learn from", "to test with"), rows_at(then), rows_at("HEAD"), strict=True)),
        decisions=[(entry, reasons(entry, verdicts.get(entry.version, []))) for entry in ledger[len(earlier) :][::-1]],
        champion=champion,
        champion_then=champion_number(earlier),
        said=len(said),
        most_said=MOST_OUTCOMES,
        errors=errors(said, contract).dropna(),
        comments=list(zip(comments, errors(comments, contract)["off"], strict=True)),
        weak=weak_slices(verdicts[champion], metric) if champion in verdicts else None,
        watched=watched,
        phases=judge_phases(params, date.today()),
    )
    with write_atomically(REVIEW) as draft:
        draft.write_text(content, encoding="utf-8")
    report_line("review", f"{len(ledger) - len(earlier)} decisions since {start:%Y-%m-%d %H:%M} UTC", REVIEW)
