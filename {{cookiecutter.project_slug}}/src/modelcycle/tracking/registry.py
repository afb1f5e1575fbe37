"""The MLflow store of runs, versions and decisions: on SQLite in .mlflow, or wherever MLFLOW_TRACKING_URI says.

A version is a model that was put before the gate; the alias `champion` names the one in use. The ledger is an
experiment with a run for each decision, to which is only ever added. The alias follows the ledger.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import NullPool, create_engine

from modelcycle.core.digest import content_md5, md5
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.paths import CONTRACT, EXPECTED, MODEL, PARAMS, PROFILE, RAW, TEST, TRAIN
from modelcycle.core.project import read_project
from modelcycle.tracking.git import commit, git

LOCAL_STORE = Path(".mlflow")
ORDER = "attributes.start_time ASC"
RELEASED = (MODEL, CONTRACT, PARAMS, PROFILE, EXPECTED)  # the files that a version consists of
FACTS = ("git_commit", "verdict", "train_rows", "test_share", "figures", "gate")
MOVES = ("promoted", "rolled back")  # the events after which another version is in use
IS_LOCAL = not os.environ.get("MLFLOW_TRACKING_URI")  # known here: MLflow sets the variable itself later


def connect() -> Any:
    """Point MLflow at the store and give a client. Raises InputError when the store is out of reach."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # or the first use lists every step of its schema
    import mlflow  # imported late: it takes longer than all the rest

    if not PARAMS.exists():
        raise InputError(f"{PARAMS} is not in {Path.cwd()}; run this in the repository's top folder.")
    if not IS_LOCAL and ":" not in (address := os.environ["MLFLOW_TRACKING_URI"]) and address != "databricks":
        raise InputError(f"MLFLOW_TRACKING_URI is {address}; expected an address such as https://mlflow.example.com.")
    if IS_LOCAL:
        LOCAL_STORE.mkdir(exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{LOCAL_STORE.as_posix()}/mlflow.db")
    # Two commands that make the tables of a new store at once leave it broken.
    alone: Any = FileLock(LOCAL_STORE / "connect.lock") if IS_LOCAL else nullcontext()
    try:
        if os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("postgresql", "mysql")):
            os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
            # MLflow would try for an hour. Without a pool, nothing stays open.
            create_engine(mlflow.get_tracking_uri(), poolclass=NullPool).connect().close()
        with alone:
            client = mlflow.MlflowClient()
            if client.get_experiment_by_name(read_project().registered_name) is None:
                client.create_experiment(read_project().registered_name, _artifacts())
            mlflow.set_experiment(read_project().registered_name)
    except Exception as error:  # a server, a database and a file store each raise their own
        raise InputError(
            f"The tracking store {mlflow.get_tracking_uri()} does not answer: {first_line(error)}"
        ) from None
    return client


def _artifacts() -> str | None:
    """Say where files go: to where a server wants them; with a database alone, into the local store's folder."""
    served = not IS_LOCAL and os.environ["MLFLOW_TRACKING_URI"].startswith(("http:", "https:", "databricks"))
    return None if served else (LOCAL_STORE / "artifacts").resolve().as_uri()


def log_training(parameters: dict[str, Any], metrics: dict[str, float]) -> str:
    """Record the training that has just written the model, what it used and what came out. Returns the run's id."""
    connect()
    import mlflow

    digests = {f"md5.{path.stem}": md5(path) for path in (RAW, TRAIN, TEST, CONTRACT, MODEL)}
    with mlflow.start_run(run_name=f"train {commit()[:7]}", tags={"git_commit": commit(), **digests}) as run:
        mlflow.log_params(parameters)
        mlflow.log_metrics(metrics)
        for path in (MODEL, CONTRACT, PARAMS):
            mlflow.log_artifact(str(path), artifact_path="model")
    return str(run.info.run_id)


def find_run(client: Any, digests: dict[str, str]) -> str | None:
    """Find the latest training with these md5 tags; None where it was done elsewhere, with another store."""
    experiment = client.get_experiment_by_name(read_project().registered_name).experiment_id
    wanted = "".join(f"tags.`{name}` = '{digest}' and " for name, digest in digests.items())
    runs = client.search_runs([experiment], f"{wanted}params.seed != ''", max_results=1)
    return runs[0].info.run_id if runs else None


def log_evaluation(metrics: dict[str, float], report: Path) -> None:
    """Add the evaluation to the run that trained the model, or to a run of its own."""
    client = connect()
    import mlflow

    run = find_run(client, {"md5.model": md5(MODEL)})
    with mlflow.start_run(run_id=run, tags=None if run else {"git_commit": commit(), "md5.model": md5(MODEL)}):
        mlflow.log_metrics(metrics)
        mlflow.log_artifact(str(report))


def versions(client: Any, condition: str = "") -> list[Any]:
    """List the registered versions, the newest first; `condition` is one of MLflow's, such as tags.verdict = 'x'."""
    found = client.search_model_versions(
        f"name = '{read_project().registered_name}'" + (f" and {condition}" if condition else "")
    )
    return sorted(found, key=lambda version: -int(version.version))


def champion(client: Any) -> Any:
    """Give the version in use, None before the first release. Mends the alias where a command was interrupted."""
    name = champion_number(ledger(client))
    if name is None:
        return None
    try:
        current = find_version(client, name)
    except InputError as error:
        raise InputError(f"{error} It is the champion by the ledger: `rollback VERSION` to another one.") from None
    if "champion" not in current.aliases:
        client.set_registered_model_alias(read_project().registered_name, "champion", current.version)
    return current


def champion_number(entries: list[dict[str, str]]) -> str | None:
    """Say which version is in use by the decisions so far: the one that was last moved to."""
    moves = [entry["version"] for entry in entries if entry["event"] in MOVES]
    return moves[-1] if moves else None


def was_champion(entries: list[dict[str, str]], version: str) -> bool:
    """Say whether a version was ever moved to: by the gate, or by a rollback that somebody forced."""
    return champion_number([entry for entry in entries if entry["version"] == version]) is not None


def pushed(entries: list[dict[str, str]], version: str) -> dict[str, str]:
    """Give the images of a version by their target, each with the digest that was pushed last."""
    found = [entry for entry in entries if entry["event"] == "pushed" and entry["version"] == version]
    return {entry["target"]: entry["image"] for entry in found}


def find_version(client: Any, name: str) -> Any:
    """Find a version by its number or alias. Raises InputError with those there are."""
    from mlflow.exceptions import MlflowException

    try:
        number = (
            name if name.isdigit() else client.get_model_version_by_alias(read_project().registered_name, name).version
        )
        return client.get_model_version(read_project().registered_name, number)
    except MlflowException:
        there = ", ".join(str(version.version) for version in versions(client)) or "none yet: `make release` makes one"
        raise InputError(f"There is no version '{name}'. Versions: {there}.") from None


def model_folder(client: Any, version: Any) -> Path:
    """Fetch a version's files and give the folder they are in.

    Raises InputError when they are out of reach, or are not those that were released.
    """
    import mlflow

    if "git_commit" not in version.tags:
        raise InputError(f"Version {version.version} was not made by `make release`: it names no commit.")
    source = client.get_model_version_download_uri(read_project().registered_name, version.version)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=source))
    except Exception as error:  # every kind of store has its own
        raise InputError(f"The files of version {version.version} can't be had: {first_line(error)}") from None
    for path in RELEASED:
        found = md5(folder / path.name) if (folder / path.name).exists() else "nothing"
        if found != (said := version.tags.get(f"md5.{path.stem}")):
            raise InputError(f"{path.name} in the registry has md5 {found}, version {version.version} says {said}.")
    return folder


def facts_md5(tags: dict[str, str]) -> str:
    """Digest what a version says of itself, for the ledger: a later edit of its tags shows."""
    own = {name: tags[name] for name in sorted(tags) if name in FACTS or name.startswith("md5.")}
    return content_md5(json.dumps(own))


def append_to_ledger(client: Any, event: str, version: str, **facts: str) -> None:
    """Add a decision to the ledger; then the alias follows."""
    by = git("config", "user.name") or os.environ.get("GIT_AUTHOR_NAME") or os.environ.get("USER") or "unknown"
    name = f"{read_project().registered_name} ledger"
    book = client.get_experiment_by_name(name)
    book_id = book.experiment_id if book else client.create_experiment(name, _artifacts())
    tags = {"event": event, "version": str(version), "by": by, **facts}
    # Later than all others also where another machine's clock is ahead: the order is what counts.
    latest = max([int(entry["milliseconds"]) for entry in ledger(client)], default=0)
    at = max(int(time.time() * 1000), latest + 1)
    entry = client.create_run(book_id, at, tags | {"md5": entry_md5(tags, at)}, f"version {version} {event}")
    client.set_terminated(entry.info.run_id)
    champion(client)  # moves the alias


def entry_md5(tags: dict[str, str], at: int) -> str:
    """Digest an entry of the ledger, for the entry itself: a later edit of it shows."""
    return content_md5(json.dumps([at, sorted(tags.items())]))


def require_champion(client: Any, version: str) -> None:
    """Raise InputError when the champion is not `version` (none: there is none): another machine has decided."""
    present = champion_number(ledger(client)) or "none"
    if present != str(version):
        raise InputError(f"Version {present} has become the champion meanwhile; try again.")


def ledger(client: Any) -> list[dict[str, str]]:
    """List all decisions, the oldest first: event, version, by, when and further facts.

    `edited` is among them where an entry is not as it was written. Of two machines that replace the same champion at
    the same time the first is right; the other's event is `overtaken`, since it was not compared with the new champion.
    """
    from mlflow.entities import ViewType  # ALL: a run that somebody deletes stays in the ledger

    book = client.get_experiment_by_name(f"{read_project().registered_name} ledger")
    runs = client.search_runs([book.experiment_id], "", ViewType.ALL, 50_000, [ORDER]) if book else []
    entries, replaced = [], ""
    for run in runs:
        at = run.info.start_time
        entry = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
        if entry.pop("md5", "") != entry_md5(entry, at):
            entry = dict.fromkeys(("event", "version", "by", "commit"), "unknown") | entry | {"edited": "yes"}
        if entry["event"] in MOVES:
            if entry.get("replaced") == replaced:
                entry["event"] = "overtaken"
            replaced = entry.get("replaced", "")
        when = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        entries.append(entry | {"when": when, "milliseconds": str(at)})
    return entries


def history() -> None:
    """Print every decision of the ledger."""
    for entry in ledger(connect()):
        where = f" in {entry['environment']}" if "environment" in entry else ""
        replaced = f", replaced {entry['replaced']}" if entry["event"] in MOVES else ""
        edited = ", EDITED since" if "edited" in entry else ""
        result = f"version {entry['version']} {entry['event']}{where}{replaced}{edited}"
        reason = entry.get("image") or entry.get("figures") or entry.get("reason")
        detail = f"{entry['by']}, commit {entry['commit'][:7]}, {reason}"
        print(f"{entry['when']}  {result:<40} {detail}")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let commands that decide wait for each other on this machine; the system frees the lock of a killed one."""
    LOCAL_STORE.mkdir(exist_ok=True)
    with FileLock(LOCAL_STORE / "decision.lock"):
        yield
