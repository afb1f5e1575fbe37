"""Bring new data and labelled feedback in as a new version of the data, run the pipeline, and let the gate decide.

What comes of it is a commit, so that the new version can be traced like any other. Running it again changes nothing.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from . import registry
from .adopt import edited_params
from .contract import Contract, convert, read_contract, request_table, violations
from .files import DATA_CARD, MODEL_CARD, PARAMS, Alert, InputError, first_line, say, whole
from .ingest import csv_options, read_source
from .lineage import content_md5, git, provenance
from .log import open_log, read_labelled, reading
from .monitor import monitor, read_time
from .params import Ingest, read_params
from .release import need_clean_tree, release
from .settings import read_settings


def labelled_rows(cases: list[dict[str, Any]], contract: Contract) -> pd.DataFrame:
    """Give the logged inputs with their outcome as the target, (n, k) in the contract's types.

    Cases that break the contract are left out, as those without a key: nothing tells them from one another.
    """
    used = [name for name, column in contract.columns.items() if column.role != "ignored"]
    rows = request_table([case["inputs"] | {contract.target: case["outcome"]} for case in cases], used, contract)
    rows = rows.drop_duplicates(contract.identity, keep="last", ignore_index=True)
    typed, broken = violations(rows, contract)
    return typed[~typed.index.isin(broken["index"]) & typed[contract.target].notna()]


def not_in(rows: pd.DataFrame, source: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Give those of (n, k) typed rows that the raw source does not hold yet, by what identifies a row."""
    names = contract.identity
    known = pd.DataFrame({name: convert(source[name], contract.columns[name]) for name in names}).drop_duplicates()
    side = rows[names].merge(known, how="left", on=names, indicator=True)["_merge"]
    return rows.loc[(side == "left_only").to_numpy()]


def append(rows: pd.DataFrame, path: Path, options: dict[str, Any], contract: Contract) -> None:
    """Add (n, k) typed rows to a CSV or Parquet file, in its columns and its way of writing."""
    with whole(path) as draft:
        if path.suffix.lower() == ".parquet":
            old = pq.read_table(path)
            new = rows.reindex(columns=old.column_names).convert_dtypes(dtype_backend="pyarrow")
            pq.write_table(_joined(old, new), draft)
            return
        encoding = options.get("encoding", "utf-8").replace("utf-8-sig", "utf-8")  # its mark stays as it is
        with path.open(encoding=encoding, newline="") as content:  # and so do the line ends
            text = content.read()
        columns = [str(name).strip() for name in pd.read_csv(path, **csv_options(options), nrows=0)]
        written = rows.astype("object").where(rows.notna(), None)
        for name in rows:
            if pd.api.types.is_datetime64_any_dtype(rows[name]):
                form = contract.columns[str(name)].format
                written[name] = rows[name].map(lambda t, f=form: t.strftime(f) if f else t.isoformat(), "ignore")
            elif options.get("decimal", ".") != "." and contract.columns[str(name)].type == "number":
                written[name] = rows[name].map(lambda number: repr(number).replace(".", options["decimal"]), "ignore")
        lines = written.reindex(columns=columns).to_csv(
            index=False, header=False, sep=options.get("sep", ","), lineterminator="\n"
        )
        with draft.open("w", encoding=encoding, newline="") as target:
            target.write(text + ("" if text.endswith("\n") else "\n") + lines)


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
    new = not_in(labelled_rows(cases, contract), read_source(ingest), contract)
    if len(new):
        append(new, path, ingest.csv, contract)
        if Path(f"{path}.dvc").exists():
            run("dvc", "add", "--quiet", str(path))
    return len(new)


def run(*command: str) -> None:
    """Run a command of git or DVC. Raises InputError with the last line that it has to say."""
    start = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
    # The stages call the project's own command, which a schedule does not have on its PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        [*start, *command[1:]], env=os.environ | {"PATH": path}, stderr=subprocess.PIPE, encoding="utf-8", check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["nothing"]
        raise InputError(f"`{' '.join(command)}` failed: {lines[-1]}")


def was_judged() -> bool:
    """Say whether the gate has decided about the results of the present commit."""
    client, lock = registry.connect(), provenance("HEAD")["md5.lock"]
    judged = {entry["version"] for entry in registry.ledger(client)}
    return any(v.tags.get("md5.lock") == lock and str(v.version) in judged for v in registry.versions(client))


def retrain(until: str, if_alert: bool, propose: bool = False) -> None:
    """Retrain with what has become known, and release if the gate agrees. Raises InputError where it does not.

    until: take the source's rows before this time, instead of before `ingest.until` of params.yaml.
    if_alert: only where `monitor` has something to say.
    propose: push the commit as a branch and its data to the DVC remote, for review, instead of releasing.
    """
    need_clean_tree()
    if until:
        read_time(until, "--until")  # before anything is changed
    if if_alert:
        try:
            monitor("", "")
            return say("retrain", "monitor is quiet, so nothing is done")
        except Alert as alert:
            print(alert)
    if until:
        with edited_params() as params:
            params["ingest"]["until"] = DoubleQuotedScalarString(until)
    added = add_feedback(read_params().ingest, read_contract())
    run("dvc", "repro")
    run("git", "add", "--update")  # what git knows already: params.yaml, dvc.lock, the source or its .dvc file
    if not git("status", "--porcelain", "--untracked-files=no"):
        if propose or was_judged():
            return say("retrain", "nothing new: the last commit holds all that is known")
        return release()  # an earlier run was stopped before it got here
    what = f"{added:,} cases with their outcome" + (f", data before {until}" if until else "")
    run("git", "commit", "--quiet", "--message", f"Retrain: {what}")
    say("retrain", what, PARAMS if until else read_params().ingest.source)
    if propose:
        branch = f"retrain-{content_md5(Path('dvc.lock').read_bytes())[:7]}"
        if git("ls-remote", "origin", f"refs/heads/{branch}"):
            return say("retrain", "the same is proposed already", branch)
        run("dvc", "push")
        run("git", "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        return say("", "for review: merging it releases it", branch)
    release()
    if cards := [str(path) for path in (MODEL_CARD, DATA_CARD) if path.exists()]:
        run("git", "add", *cards)
        run("git", "commit", "--quiet", "--message", "Write the cards of the new champion")
