"""Bring new data and labelled feedback in as a new version of the data, run the pipeline, and let the gate decide.

What comes of it is a commit, so that the new version can be traced like any other. Running it again changes nothing.
"""

import logging
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from modelcycle.core.config import edit_params
from modelcycle.core.contract import (
    Contract,
    convert_values,
    find_violations,
    make_request_table,
    read_contract,
    require_columns,
)
from modelcycle.core.digest import content_md5
from modelcycle.core.errors import Alert, InputError, first_line
from modelcycle.core.output import report_line, write_atomically
from modelcycle.core.params import Ingest, read_params
from modelcycle.core.paths import DATA_CARD, MODEL_CARD, PARAMS
from modelcycle.core.settings import read_settings
from modelcycle.core.table import csv_options, read_source
from modelcycle.monitoring.monitor import monitor, read_time
from modelcycle.release.release import release, require_clean_tree
from modelcycle.tracking import registry
from modelcycle.tracking.git import git, run
from modelcycle.tracking.ledger import read_ledger
from modelcycle.tracking.lineage import outputs, provenance
from modelcycle.tracking.log import open_log, read_labelled, reading

log = logging.getLogger(__name__)
TITLE = "Retrain: "  # of the commits


def labelled_rows(cases: list[dict[str, Any]], contract: Contract) -> pd.DataFrame:
    """Give the logged inputs with their outcome as the target, (n, k) in the contract's types.

    Cases that break the contract are left out, as those without a key: nothing tells them from one another.
    """
    used = [name for name, column in contract.columns.items() if column.role != "ignored"]
    rows = make_request_table([case["inputs"] | {contract.target: case["outcome"]} for case in cases], used, contract)
    rows = rows.drop_duplicates(contract.identity, keep="last", ignore_index=True)
    typed, broken = find_violations(rows, contract)
    return typed[~typed.index.isin(broken["index"]) & typed[contract.target].notna()]


def not_in(rows: pd.DataFrame, ingest: Ingest, contract: Contract) -> pd.DataFrame:
    """Give those of (n, k) typed rows that the source does not hold yet, by what identifies a row.

    They are compared as they would be read once they are written, since a file may hold less: times by the minute, or a
    key with a sign that counts as a missing value.
    """
    path = Path(ingest.source)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        shutil.copy(path, trial)
        append(rows, trial, ingest.csv, contract)
        table = read_source(ingest.model_copy(update={"source": str(trial)}), contract)
    require_columns(table.columns, contract, ingest.source)
    identities = pd.DataFrame({name: convert_values(table[name], contract.columns[name]) for name in contract.identity})
    is_known = identities.duplicated().tail(len(rows))
    _, broken = find_violations(table.tail(len(rows)), contract)
    return rows.loc[(~is_known & ~is_known.index.isin(broken["index"])).to_numpy()]


def append(rows: pd.DataFrame, path: Path, options: dict[str, Any], contract: Contract) -> None:
    """Add (n, k) typed rows to a CSV or Parquet file, in its columns and its way of writing."""
    with write_atomically(path) as draft:
        if path.suffix.lower() == ".parquet":
            old = pq.read_table(path)
            new = rows.reindex(columns=old.column_names).convert_dtypes(dtype_backend="pyarrow")
            pq.write_table(_joined(old, new), draft)
            return
        encoding = options.get("encoding", "utf-8").replace("utf-8-sig", "utf-8")  # its mark stays as it is
        with path.open(encoding=encoding, newline="") as content:  # and so do the line ends
            text = content.read()
        end = "\r\n" if "\r\n" in text else "\n"
        columns = [str(name).strip() for name in pd.read_csv(path, **csv_options(options), nrows=0)]
        written = rows.astype("object").where(rows.notna(), None)
        for name in rows:
            if pd.api.types.is_datetime64_any_dtype(rows[name]):
                form = contract.columns[str(name)].format
                written[name] = rows[name].map(lambda t, f=form: t.strftime(f) if f else t.isoformat(), "ignore")
            elif options.get("decimal", ".") != "." and contract.columns[str(name)].type == "number":
                written[name] = rows[name].map(lambda number: repr(number).replace(".", options["decimal"]), "ignore")
        lines = written.reindex(columns=columns).to_csv(
            index=False, header=False, sep=options.get("sep", ","), lineterminator=end
        )
        with draft.open("w", encoding=encoding, newline="") as target:
            try:
                target.write(text + ("" if text.endswith("\n") else end) + lines)
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{path} is written in {encoding}, which has no {error.object[error.start]!r}, as a case whose "
                    "outcome is known does; save it as UTF-8 and set ingest.csv.encoding in params.yaml to utf-8."
                ) from None


def _joined(old: Any, new: pd.DataFrame) -> Any:
    """Put new rows below a table, in its types. Raises InputError where they don't fit."""
    import pyarrow as pa

    try:
        return pa.concat_tables([old, pa.Table.from_pandas(new, old.schema, preserve_index=False)])
    except pa.ArrowException as error:
        raise InputError(f"The feedback does not fit into the source's columns: {first_line(error)}") from None


def add_feedback(ingest: Ingest, contract: Contract) -> int:
    """Add the cases whose outcome has become known to the source, which DVC or git keeps. Returns how many."""
    path = Path(ingest.source)
    if path.suffix.lower() == ".sql":  # a database gets its labels from where its rows come from
        return 0
    with reading():
        cases = read_labelled(open_log(read_settings().database_url))
    if not cases:
        return 0
    rows = labelled_rows(cases, contract)
    new = not_in(rows, ingest, contract) if len(rows) else rows
    if len(new):
        append(new, path, ingest.csv, contract)
        if Path(f"{path}.dvc").exists():
            run("dvc", "add", "--quiet", str(path))
    return len(new)


def written(source: str) -> list[str]:
    """List the files in git that a retraining writes: parameters, the source or its .dvc, results of the pipeline."""
    return git("ls-files", "-z", "--", str(PARAMS), "dvc.lock", source, f"{source}.dvc", *outputs()).split("\0")[:-1]


def is_unpushed() -> bool:
    """Say whether the last commit is a retraining that no branch elsewhere has: its push has failed."""
    is_ours = git("log", "-1", "--format=%s").startswith(TITLE)
    return is_ours and not git("for-each-ref", "--contains=HEAD", "--count=1", "refs/remotes")


def was_judged() -> bool:
    """Say whether the gate has decided about the results of the present commit."""
    client, lock = registry.connect(), provenance("HEAD")["md5.lock"]
    judged = {entry.version for entry in read_ledger(client)}
    return any(v.tags.get("md5.lock") == lock and v.number in judged for v in registry.list_versions(client))


def retrain(until: str, if_alert: bool, propose: bool = False) -> None:
    """Retrain with what has become known, and release if the gate agrees. Raises InputError where it does not.

    until: take the source's rows before this time, instead of before `ingest.until` of params.yaml.
    if_alert: only where `monitor` has something to say.
    propose: push the commit as a branch and its data to the DVC remote, for review, instead of releasing.
    """
    require_clean_tree()
    if not propose and not git("symbolic-ref", "--quiet", "HEAD"):
        raise InputError("No branch is checked out, so that the retraining would be on none: `git checkout main`.")
    source = read_params().ingest.source
    if until:
        read_time(until, "--until")  # before anything is changed
    if if_alert:
        try:
            monitor("", "")
            return report_line("retrain", "monitor is quiet, so nothing is done")
        except Alert as alert:
            log.warning(alert)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a schedule's way to stop it: like Ctrl-C
    try:
        if until:
            with edit_params() as params:
                params["ingest"]["until"] = DoubleQuotedScalarString(until)
        added = add_feedback(read_params().ingest, read_contract())
        run("dvc", "repro", show=True)
        ours = written(source)
        what = f"{added:,} cases with their outcome" + (f", data before {until}" if until else "")
        if is_new := bool(git("status", "--porcelain", "--", *ours)):
            run("git", "commit", "--quiet", "--message", f"{TITLE}{what}", "--", *ours)
    except BaseException:
        git("restore", "--staged", "--worktree", "--", *written(source))  # as it was, so that it can be tried again
        with suppress(InputError):  # what is neither in the cache nor needed
            run("dvc", "checkout", "--quiet")
        raise
    if is_new:
        report_line("retrain", what, PARAMS if until else source)
    elif (not is_unpushed()) if propose else was_judged():  # else an earlier run was stopped after its commit
        return report_line("retrain", "nothing new: the last commit holds all that is known")
    if propose:
        branch = f"retrain-{content_md5(Path('dvc.lock').read_bytes())[:7]}"
        if run("git", "ls-remote", "origin", f"refs/heads/{branch}"):
            return report_line("retrain", "the same is proposed already", branch)
        run("dvc", "push")
        run("git", "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        return report_line("", "for review: merging it releases it", branch)
    release()
    cards = [str(path) for path in (MODEL_CARD, DATA_CARD) if path.exists()]
    if cards and git("status", "--porcelain", "--", *cards):
        run("git", "commit", "--quiet", "--message", "Write the cards of the new champion", "--", *cards)
