"""The ledger: every decision about versions, in the order in which they were taken. Nothing is ever changed or removed.

It is an experiment of its own in the MLflow store, with a run for each decision. `registry.record_decision` adds one.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock

from modelcycle.core.output import content_md5
from modelcycle.core.team import read_project
from modelcycle.tracking.git import git
from modelcycle.tracking.store import LOCAL_STORE, ensure_experiment

CHAMPION_EVENTS = ("promoted", "rolled back")  # after which another version is the champion
OLDEST_FIRST = "attributes.start_time ASC"


@dataclass(frozen=True)
class LedgerEntry:
    """A decision.

    event: promoted, rejected, rolled back, overtaken, pushed, deploying, deployed or undeployed. at: UTC, in
    milliseconds. replaced: for a new champion the version, for a deployment the image that was there before. facts: the
    md5 of the version's tags. is_edited: the entry is not as it was written.
    """

    event: str
    version: str
    by: str
    commit: str
    at: int
    replaced: str = ""
    reason: str = ""
    metrics: str = ""
    environment: str = ""
    image: str = ""
    target: str = ""
    facts: str = ""
    is_edited: bool = False

    @property
    def time(self) -> datetime:
        """When it was decided, UTC without a zone."""
        return datetime.fromtimestamp(self.at // 1000, UTC).replace(tzinfo=None)


def read_ledger(client: Any) -> list[LedgerEntry]:
    """List all decisions, the oldest first.

    Of two machines that replace the same champion at the same time the first is right; the other's event becomes
    `overtaken`, since its version was not compared with the new champion.
    """
    from mlflow.entities import ViewType  # ALL: a run that somebody deletes stays in the ledger

    experiment = client.get_experiment_by_name(_experiment_name())
    if experiment is None:
        return []
    runs = client.search_runs([experiment.experiment_id], "", ViewType.ALL, 50_000, [OLDEST_FIRST])
    tag_fields = {field.name for field in fields(LedgerEntry)} - {"at", "is_edited"}
    entries, current = [], "none"
    for run in runs:
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
        is_edited = tags.pop("md5", "") != _entry_md5(tags, run.info.start_time)
        values = dict.fromkeys(("event", "version", "by", "commit"), "unknown")
        values |= {name: value for name, value in tags.items() if name in tag_fields}
        if values["event"] in CHAMPION_EVENTS:
            if values.get("replaced") != current and not is_edited:
                values["event"] = "overtaken"
            else:
                current = values["version"]
        entries.append(LedgerEntry(**values, at=run.info.start_time, is_edited=is_edited))
    return entries


def append_to_ledger(client: Any, artifacts: str | None, event: str, version: str, **facts: str) -> None:
    """Add a decision. artifacts: where the store keeps files, for a ledger that is made now."""
    by = git("config", "user.name") or os.environ.get("GIT_AUTHOR_NAME") or os.environ.get("USER") or "unknown"
    experiment_id = ensure_experiment(client, _experiment_name(), artifacts)
    tags = {"event": event, "version": version, "by": by, **facts}
    # Later than all other entries also where another machine's clock is ahead: the order is what counts.
    latest = max((entry.at for entry in read_ledger(client)), default=0)
    at = max(int(time.time() * 1000), latest + 1)
    entry = client.create_run(experiment_id, at, tags | {"md5": _entry_md5(tags, at)}, f"version {version} {event}")
    client.set_terminated(entry.info.run_id)


def champion_number(entries: list[LedgerEntry]) -> str | None:
    """Return the champion's number by the decisions so far, None before the first promotion."""
    return next((entry.version for entry in reversed(entries) if entry.event in CHAMPION_EVENTS), None)


def was_champion(entries: list[LedgerEntry], version: str) -> bool:
    """Say whether a version was ever the champion: promoted by the gate, or by a rollback that somebody forced."""
    return any(entry.version == version and entry.event in CHAMPION_EVENTS for entry in entries)


def pushed_images(entries: list[LedgerEntry], version: str) -> dict[str, str]:
    """Return the images of a version by their target, each with the digest that was pushed last."""
    return {entry.target: entry.image for entry in entries if (entry.event, entry.version) == ("pushed", version)}


def print_ledger(entries: list[LedgerEntry]) -> None:
    """Print a line for each decision."""
    for entry in entries:
        where = f" in {entry.environment}" if entry.environment else ""
        replaced = f", replaced {entry.replaced}" if entry.event in CHAMPION_EVENTS else ""
        edited = ", EDITED since" if entry.is_edited else ""
        result = f"version {entry.version} {entry.event}{where}{replaced}{edited}"
        detail = entry.image or entry.reason or format_metrics(json.loads(entry.metrics or "{}"))
        print(f"{entry.time:%Y-%m-%d %H:%M:%S}  {result:<40} {entry.by}, commit {entry.commit[:7]}, {detail}")


def _experiment_name() -> str:
    return f"{read_project().registered_name} ledger"


def _entry_md5(tags: dict[str, str], at: int) -> str:
    """Digest an entry, for the entry itself: a later edit of it shows."""
    return content_md5(json.dumps([at, sorted(tags.items())]))


@contextmanager
def lock_decisions() -> Iterator[None]:
    """Let commands that decide wait for each other on this machine; the system frees the lock of a killed one."""
    LOCAL_STORE.mkdir(exist_ok=True)
    with FileLock(LOCAL_STORE / "decision.lock"):
        yield


def format_metrics(metrics: dict[str, float]) -> str:
    """Write metrics as people read them."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
