"""The MLflow store on SQLite in .mlflow, or wherever MLFLOW_TRACKING_URI says, and its runs: one for each training."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import NullPool, create_engine

from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import md5
from modelcycle.core.paths import CONTRACT, MODEL, PARAMS, RAW, TEST, TRAIN
from modelcycle.core.team import read_project
from modelcycle.tracking.git import describe_head, find_root_commits

LOCAL_STORE = Path(".mlflow")
FIRST_COMMIT = "first_commit"  # the experiment's tag by which two projects of one name are told apart
# The columns of MLflow's tables that say where files are.
PLACES = [
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
]
RUN_FILES = (RAW, TRAIN, TEST, CONTRACT, MODEL)  # whose md5 a run has as tags; a version has the same
RUN_TAGS = tuple(f"md5.{path.stem}" for path in RUN_FILES)
IS_LOCAL = not os.environ.get("MLFLOW_TRACKING_URI")  # read at import: MLflow sets the variable itself later


def connect() -> Any:
    """Point MLflow at the store and return a client. Raises InputError when the store is out of reach."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # or the first use lists every step of its schema
    import mlflow  # imported late: it takes longer than all the rest

    if not IS_LOCAL and ":" not in (address := os.environ["MLFLOW_TRACKING_URI"]) and address != "databricks":
        raise InputError(f"MLFLOW_TRACKING_URI is {address}; expected an address such as https://mlflow.example.com.")
    name = read_project().registered_name
    if IS_LOCAL:
        LOCAL_STORE.mkdir(exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{LOCAL_STORE.resolve().as_posix()}/mlflow.db")
    try:
        with lock_setup(mlflow.get_tracking_uri()):
            if IS_LOCAL:
                follow_folder()
            client = mlflow.MlflowClient()
            ensure_experiment(client, name, artifact_location())
            experiment = mlflow.set_experiment(name)
    except Exception as error:  # a server, a database and a file store each raise their own
        raise InputError(f"The tracking store {mlflow.get_tracking_uri()} {explain(error)}") from None
    if not IS_LOCAL:
        require_own_experiment(client, experiment)
    return client


def explain(error: Exception) -> str:
    """Say why the store can't be used: it is out of reach, or another MLflow has made its tables."""
    import mlflow

    if not (found := re.search(r"out-of-date database schema \(found version (\w+),", str(error))):
        return f"does not answer: {first_line(error)}"
    migrations = Path(mlflow.__file__).parent / "store/db_migrations/versions"
    if not any(migrations.glob(f"{found[1]}_*.py")):
        newer = "uv lock --upgrade-package mlflow` and `make setup"
        return f"was made or upgraded by an MLflow newer than {mlflow.__version__}, which is installed: type `{newer}`."
    address = f"sqlite:///{LOCAL_STORE.as_posix()}/mlflow.db" if IS_LOCAL else '"$MLFLOW_TRACKING_URI"'
    return f"was made by an older MLflow: make a backup, then type `uv run mlflow db upgrade {address}`."


@contextmanager
def lock_setup(address: str) -> Iterator[None]:
    """Let commands that make the tables of a new store wait for each other: two at once would leave it broken.

    A server has made its tables before it answers. A database is asked first: MLflow would try for an hour.
    """
    if IS_LOCAL:
        with FileLock(LOCAL_STORE / "connect.lock"):
            yield
    elif database := re.match("postgresql|mysql", address):
        os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
        lock = {"postgresql": "select pg_advisory_lock(4067)", "mysql": "select get_lock('mlflow', 60)"}[database[0]]
        with create_engine(address, poolclass=NullPool).connect() as connection:  # which holds the lock
            connection.exec_driver_sql(lock)
            yield
    else:
        yield


def ensure_experiment(client: Any, name: str, location: str | None) -> str:
    """Return the id of an experiment, which is made where there is none: by whichever machine comes first."""
    from mlflow import MlflowException

    if experiment := client.get_experiment_by_name(name):
        return str(experiment.experiment_id)
    try:
        return str(client.create_experiment(name, location))
    except MlflowException:
        if experiment := client.get_experiment_by_name(name):
            return str(experiment.experiment_id)
        raise


def follow_folder() -> None:
    """Let the local store find its files where this repository is now: MLflow notes absolute addresses.

    It may have been moved, renamed or copied; a copy must neither read from nor write to the original.
    """
    database = LOCAL_STORE / "mlflow.db"
    if not database.exists():
        return
    with closing(sqlite3.connect(database)) as connection, connection:
        if not connection.execute("select 1 from sqlite_master where name = 'model_versions'").fetchone():
            return  # MLflow was stopped while it made the tables
        present = artifact_location()
        others = connection.execute(
            "select distinct artifact_location from experiments "
            "where artifact_location like 'file://%/.mlflow/artifacts' and artifact_location != ?",
            [present],
        )
        for (old,) in others.fetchall():
            for table, column in PLACES:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?",  # noqa: S608
                    [present, len(old) + 1, len(old), old],
                )


def require_own_experiment(client: Any, experiment: Any) -> None:
    """Raise InputError where an experiment is another repository's: its first commit is none of this one's.

    An experiment without the tag gets it. A shallow clone and a repository without a commit can't tell.
    """
    from mlflow import MlflowException

    root_commits, tagged_commit = find_root_commits(), experiment.tags.get(FIRST_COMMIT)
    if root_commits and not tagged_commit:
        with suppress(MlflowException):  # who may only read leaves it to those who may write
            client.set_experiment_tag(experiment.experiment_id, FIRST_COMMIT, root_commits[-1])
    elif root_commits and tagged_commit not in root_commits:
        own = root_commits[-1]
        tag = f"mlflow.set_experiment('{experiment.name}'); mlflow.set_experiment_tag('{FIRST_COMMIT}', '{own}')"
        raise InputError(
            f"{os.environ['MLFLOW_TRACKING_URI']} holds {experiment.name} of another repository, whose first commit is "
            f"{tagged_commit[:7]}, not {own[:7]}: give yours another name under [tool.modelcycle] in pyproject.toml, "
            f'as in `experiment = "our_{experiment.name}"`; or, if it is this one before its history was rewritten, '
            f'type `.venv/bin/python -c "import mlflow; {tag}"`.'
        )


def artifact_location() -> str | None:
    """Say where files go: None for where a server wants them; with a database alone, the local store's folder."""
    is_server = not IS_LOCAL and os.environ["MLFLOW_TRACKING_URI"].startswith(("http:", "https:", "databricks"))
    return None if is_server else (LOCAL_STORE / "artifacts").resolve().as_uri()


def log_training(parameters: dict[str, Any], metrics: dict[str, float]) -> str:
    """Record the training that has just written the model, with its inputs and metrics. Returns the run's id."""
    connect()
    import mlflow

    commit = describe_head()
    digests = {tag: md5(path) for tag, path in zip(RUN_TAGS, RUN_FILES, strict=True)}
    with mlflow.start_run(run_name=f"train {commit[:7]}", tags={"git_commit": commit, **digests}) as run:
        mlflow.log_params(parameters)
        mlflow.log_metrics(metrics)
        for path in (MODEL, CONTRACT, PARAMS):
            mlflow.log_artifact(str(path), artifact_path="model")
    return str(run.info.run_id)


def find_run(client: Any, digests: dict[str, str]) -> str | None:
    """Find the latest training with these md5 tags; None where it was done elsewhere, with another store."""
    experiment = client.get_experiment_by_name(read_project().registered_name).experiment_id
    conditions = "".join(f"tags.`{name}` = '{digest}' and " for name, digest in digests.items())
    runs = client.search_runs([experiment], f"{conditions}params.seed != ''", max_results=1)
    return runs[0].info.run_id if runs else None


def log_evaluation(metrics: dict[str, float], report: Path) -> None:
    """Add the evaluation to the run that trained the model, or to a run of its own."""
    client = connect()
    import mlflow

    run = find_run(client, {"md5.model": md5(MODEL)})
    with mlflow.start_run(run_id=run, tags=None if run else {"git_commit": describe_head(), "md5.model": md5(MODEL)}):
        mlflow.log_metrics(metrics)
        mlflow.log_artifact(str(report))
