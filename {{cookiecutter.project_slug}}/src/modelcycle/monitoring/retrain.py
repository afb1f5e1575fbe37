"""Bring new data and labelled feedback in as a new version of the data, run the pipeline, and let the gate decide.

What comes of it is a commit, so that the new version can be traced like any other. Running it again changes nothing.
"""

import logging
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from modelcycle.core.config import edit_params
from modelcycle.core.contract import Contract, find_violations, read_contract
from modelcycle.core.errors import Alert, InputError
from modelcycle.core.output import content_md5, report_line, write_atomically
from modelcycle.core.params import Ingest, read_params
from modelcycle.core.paths import FEEDBACK, PARAMS
from modelcycle.monitoring.monitor import monitor, read_time
from modelcycle.release.commit import require_clean_tree
from modelcycle.release.release import release
from modelcycle.tracking import store
from modelcycle.tracking.feedback import POINTER, add_dependency, has_feedback, merge_feedback, read_feedback
from modelcycle.tracking.git import git, run
from modelcycle.versions import registry
from modelcycle.versions.ledger import read_ledger
from modelcycle.versions.lineage import list_outputs, read_provenance
from modelcycle.versions.paths import DATA_CARD, MODEL_CARD
from modelcycle.versions.prediction_log import convert_database_errors, open_log, read_labelled_inputs
from modelcycle.versions.questions import make_request_table

log = logging.getLogger(__name__)
TITLE = "Retrain: "  # of the commits
NEW = (POINTER, POINTER.with_name(".gitignore"))  # what `dvc add` makes the first time


def labelled_rows(cases: list[dict[str, Any]], contract: Contract) -> pd.DataFrame:
    """Give the logged inputs with their outcome as the target, (n, k) in the contract's types.

    Cases that break the contract are left out, as those without a key: nothing tells them from one another.
    """
    known = [case["inputs"] | {contract.target: case["outcome"]} for case in cases]
    rows = make_request_table(known, contract.used, contract)
    rows = rows.drop_duplicates(contract.identity, keep="last", ignore_index=True)
    typed, broken = find_violations(rows, contract)
    return typed[~typed.index.isin(broken["index"]) & typed[contract.target].notna()]


def add_feedback(ingest: Ingest, contract: Contract) -> int:
    """Bring the cases whose outcome is known into data/feedback.parquet, which DVC keeps. Returns how many are new."""
    if Path(ingest.source).suffix.lower() == ".sql":  # a database gets its labels from where its rows come from
        return 0
    if Path(ingest.source) == FEEDBACK:
        raise InputError(f"params.yaml: ingest.source is {FEEDBACK}, which retrain writes; rename the file.")
    with convert_database_errors():
        cases = read_labelled_inputs(open_log())
    if not cases:
        return 0
    new = labelled_rows(cases, contract)
    known = read_feedback(contract) if has_feedback() else new[:0]
    rows = merge_feedback(known, new, contract)
    if rows.empty or rows.equals(known):
        return 0
    with write_atomically(FEEDBACK) as draft:
        rows.to_parquet(draft, index=False)
    run("dvc", "add", "--quiet", FEEDBACK)
    add_dependency("ingest", FEEDBACK)  # not before: DVC refuses a dependency that is missing
    return len(pd.concat([known, rows]).drop_duplicates()) - len(known)


def tracked(source: str) -> list[str]:
    """List the files in git that a retraining writes: parameters, results of the pipeline, what DVC notes of data."""
    names = [PARAMS, "dvc.lock", "dvc.yaml", f"{source}.dvc", *NEW, *list_outputs()]
    return git("ls-files", "-z", "--", *map(str, names)).split("\0")[:-1]


def restore(source: str) -> None:
    """Make everything as it was before, so that it can be tried again."""
    git("restore", "--staged", "--worktree", "--", *tracked(source))
    git("clean", "--quiet", "--force", "--", *map(str, NEW))
    if not has_feedback():
        FEEDBACK.unlink(missing_ok=True)
    with suppress(InputError):  # what is neither in the cache nor needed
        run("dvc", "checkout", "--quiet")


def bring_in(until: str) -> bool:
    """Bring in what has become known, run the pipeline and commit; says whether there was something to commit."""
    ingest = read_params().ingest
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a schedule's way to stop it: like Ctrl-C
    try:
        if until:
            with edit_params() as params:
                params["ingest"]["until"] = DoubleQuotedScalarString(until)
        added = add_feedback(ingest, read_contract())
        run("dvc", "repro", show=True)
        if new := git("ls-files", "--others", "--exclude-standard", "--", *map(str, NEW)).splitlines():
            git("add", "--", *new)
        ours = tracked(ingest.source)
        what = f"{added:,} cases with their outcome" + (f", data before {until}" if until else "")
        is_new = bool(git("status", "--porcelain", "--", *ours))
        if is_new:
            git("commit", "--quiet", "--message", f"{TITLE}{what}", "--", *ours)
    except BaseException:
        restore(ingest.source)
        raise
    if is_new:
        report_line("retrain", what, PARAMS if until else FEEDBACK if added else ingest.source)
    return is_new


def is_unpushed() -> bool:
    """Say whether the last commit is a retraining that no branch elsewhere has: its push has failed."""
    is_ours = git("log", "-1", "--format=%s").startswith(TITLE)
    return is_ours and not git("for-each-ref", "--contains=HEAD", "--count=1", "refs/remotes")


def was_judged() -> bool:
    """Say whether the gate has decided about the results of the present commit."""
    client, lock = store.connect(), read_provenance("HEAD")["md5.lock"]
    judged = {entry.version for entry in read_ledger(client)}
    return any(v.tags.get("md5.lock") == lock and v.number in judged for v in registry.list_versions(client))


def propose_commit() -> None:
    """Push the last commit as a branch for review, and its data to the DVC remote; once for the same results."""
    branch = f"retrain-{content_md5(Path('dvc.lock').read_bytes())[:7]}"
    if git("ls-remote", "origin", f"refs/heads/{branch}"):
        return report_line("retrain", "the same is proposed already", branch)
    run("dvc", "push")
    git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    report_line("", "for review: merging it releases it", branch)


def retrain(until: str, if_alert: bool, propose: bool = False) -> None:
    """Retrain with what has become known, and release if the gate agrees. Raises InputError where it does not.

    until: take the rows before this time, instead of before `ingest.until` of params.yaml.
    if_alert: only where `monitor` has something to say.
    propose: push the commit as a branch and its data to the DVC remote, for review, instead of releasing.
    """
    require_clean_tree()
    if not propose and not git("symbolic-ref", "--quiet", "HEAD"):
        raise InputError("No branch is checked out, so that the retraining would be on none: `git checkout main`.")
    if until:
        read_time(until, "--until")  # before anything is changed
    if if_alert:
        try:
            monitor("", "")
            return report_line("retrain", "monitor is quiet, so nothing is done")
        except Alert as alert:
            log.warning(alert)
    # Where nothing is new, an earlier run may have been stopped after its commit.
    if not bring_in(until) and (not is_unpushed() if propose else was_judged()):
        return report_line("retrain", "nothing new: the last commit holds all that is known")
    if propose:
        return propose_commit()
    release()
    cards = [str(path) for path in (MODEL_CARD, DATA_CARD) if path.exists()]
    if cards and git("status", "--porcelain", "--", *cards):
        git("commit", "--quiet", "--message", "Write the cards of the new champion", "--", *cards)
