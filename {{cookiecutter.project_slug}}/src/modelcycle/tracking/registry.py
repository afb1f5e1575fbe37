"""The MLflow store of runs, versions and decisions: on SQLite in .mlflow, or wherever MLFLOW_TRACKING_URI says.

A version is a model that was put before the gate; the alias `champion` names the one in use. The ledger is an
experiment with a run for each decision, to which is only ever added. The alias follows the ledger.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import NullPool, create_engine

from modelcycle.core.digest import content_md5, md5
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.paths import CONTRACT, EXPECTED, MODEL, PARAMS, PROFILE, RAW, TEST, TRAIN
from modelcycle.core.project import read_project
from modelcycle.core.verdict import Verdict
from modelcycle.tracking.git import commit, first_commits
from modelcycle.tracking.ledger import append_to_ledger, champion_number, read_ledger

LOCAL_STORE = Path(".mlflow")
FACTS = ("git_commit", "verdict", "train_rows", "test_share", "metrics", "gate")
RELEASED = (MODEL, CONTRACT, PARAMS, PROFILE, EXPECTED)  # the files that a version consists of
FIRST_COMMIT = "first_commit"  # the experiment's tag by which two projects of one name are told apart
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
            experiment = mlflow.set_experiment(read_project().registered_name)
    except Exception as error:  # a server, a database and a file store each raise their own
        raise InputError(
            f"The tracking store {mlflow.get_tracking_uri()} does not answer: {first_line(error)}"
        ) from None
    if not IS_LOCAL:
        require_own_experiment(client, experiment)
    return client


def require_own_experiment(client: Any, experiment: Any) -> None:
    """Raise InputError where an experiment is another repository's: its first commit is none of this one's.

    An experiment without the tag gets it. A shallow clone and a repository without a commit can't tell.
    """
    from mlflow import MlflowException

    ours, theirs = first_commits(), experiment.tags.get(FIRST_COMMIT)
    if ours and not theirs:
        with suppress(MlflowException):  # who may only read leaves it to those who may write
            client.set_experiment_tag(experiment.experiment_id, FIRST_COMMIT, ours[-1])
    elif ours and theirs not in ours:
        tag = f"mlflow.set_experiment('{experiment.name}'); mlflow.set_experiment_tag('{FIRST_COMMIT}', '{ours[-1]}')"
        raise InputError(
            f"{os.environ['MLFLOW_TRACKING_URI']} holds {experiment.name} of another repository, whose first commit is "
            f"{theirs[:7]}, not {ours[-1][:7]}: give yours another name under [tool.modelcycle] in pyproject.toml, as "
            f'in `experiment = "our_{experiment.name}"`; or, if it is this one before its history was rewritten, type '
            f'`.venv/bin/python -c "import mlflow; {tag}"`.'
        )


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


@dataclass(frozen=True)
class Version:
    """A registered version of the model. created: UTC without a zone. tags: what `release` has noted of it."""

    number: str
    run_id: str
    source: str
    created: datetime
    tags: dict[str, str]
    aliases: list[str]

    @classmethod
    def of(cls, found: Any) -> "Version":
        """Make it of MLflow's own."""
        created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).replace(tzinfo=None)
        return cls(str(found.version), found.run_id or "", found.source, created, dict(found.tags), list(found.aliases))

    @property
    def commit(self) -> str:
        """The commit that it was made from. Raises InputError where it was not made by `release`."""
        if "git_commit" not in self.tags:
            raise InputError(f"Version {self.number} was not made by `make release`: it names no commit.")
        return self.tags["git_commit"]

    @property
    def verdicts(self) -> list[Verdict]:
        """What the gate has said of it, rule by rule. Raises InputError where somebody has edited that."""
        try:
            return [Verdict(**verdict) for verdict in json.loads(self.tags.get("gate", "[]"))]
        except (ValueError, TypeError):
            raise InputError(
                f"The tag gate of version {self.number} is not as `release` wrote it: `modelcycle trace {self.number}`."
            ) from None


def list_versions(client: Any, condition: str = "") -> list[Version]:
    """List the registered versions, the newest first; `condition` is one of MLflow's, such as tags.verdict = 'x'."""
    wanted = f"name = '{read_project().registered_name}'" + (f" and {condition}" if condition else "")
    return sorted(map(Version.of, client.search_model_versions(wanted)), key=lambda version: -int(version.number))


def find_version(client: Any, name: str) -> Version:
    """Find a version by its number or alias. Raises InputError with those there are."""
    from mlflow.exceptions import MlflowException

    model = read_project().registered_name
    try:
        number = name if name.isdigit() else client.get_model_version_by_alias(model, name).version
        return Version.of(client.get_model_version(model, number))
    except MlflowException:
        there = ", ".join(version.number for version in list_versions(client)) or "none yet: `make release` makes one"
        raise InputError(f"There is no version '{name}'. Versions: {there}.") from None


def find_champion(client: Any) -> Version | None:
    """Give the champion, None before the first release. Mends the alias where a command was interrupted."""
    number = champion_number(read_ledger(client))
    if number is None:
        return None
    try:
        champion = find_version(client, number)
    except InputError as error:
        raise InputError(f"{error} It is the champion by the ledger: `rollback VERSION` to another one.") from None
    if "champion" not in champion.aliases:
        client.set_registered_model_alias(read_project().registered_name, "champion", number)
    return champion


def require_champion(client: Any, number: str) -> None:
    """Raise InputError when the champion is not version `number` (none: there is none): another machine has decided."""
    present = champion_number(read_ledger(client)) or "none"
    if present != number:
        raise InputError(f"Version {present} has become the champion meanwhile; try again.")


def record_decision(client: Any, event: str, version: str, **facts: str) -> None:
    """Add a decision to the ledger; then the alias follows."""
    append_to_ledger(client, _artifacts(), event, version, **facts)
    find_champion(client)  # moves the alias


def model_folder(client: Any, version: Version) -> Path:
    """Fetch a version's files and give the folder they are in.

    Raises InputError when they are out of reach, or are not those that were released.
    """
    import mlflow

    version.commit  # noqa: B018  raises where there is none
    source = client.get_model_version_download_uri(read_project().registered_name, version.number)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=source))
    except Exception as error:  # every kind of store has its own
        raise InputError(f"The files of version {version.number} can't be had: {first_line(error)}") from None
    for path in RELEASED:
        found = md5(folder / path.name) if (folder / path.name).exists() else "nothing"
        if found != (noted := version.tags.get(f"md5.{path.stem}")):
            raise InputError(f"{path.name} in the registry has md5 {found}, version {version.number} says {noted}.")
    return folder


def facts_md5(tags: dict[str, str]) -> str:
    """Digest what a version says of itself, for the ledger: a later edit of its tags shows."""
    own = {name: tags[name] for name in sorted(tags) if name in FACTS or name.startswith("md5.")}
    return content_md5(json.dumps(own))


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let commands that decide wait for each other on this machine; the system frees the lock of a killed one."""
    LOCAL_STORE.mkdir(exist_ok=True)
    with FileLock(LOCAL_STORE / "decision.lock"):
        yield
