"""The MLflow tracking store: on SQLite in .mlflow, or wherever MLFLOW_TRACKING_URI says."""

import os
from pathlib import Path
from typing import Any

from .files import CONTRACT, MODEL, PARAMS, RAW, TEST, TRAIN, InputError, first_line
from .lineage import commit, md5

LOCAL_STORE = Path(".mlflow")
EXPERIMENT = str(__package__)


def connect() -> Any:
    """Point MLflow at the store and give a client. Raises InputError when the store is out of reach."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # or the first use lists every step of its schema
    import mlflow  # imported late: it takes longer than all the rest

    local = "MLFLOW_TRACKING_URI" not in os.environ
    if local:
        LOCAL_STORE.mkdir(exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{LOCAL_STORE.as_posix()}/mlflow.db")
    client = mlflow.MlflowClient()
    try:
        if client.get_experiment_by_name(EXPERIMENT) is None:
            client.create_experiment(EXPERIMENT, (LOCAL_STORE / "artifacts").resolve().as_uri() if local else None)
        mlflow.set_experiment(EXPERIMENT)
    except Exception as error:  # a server, a database and a file store each raise their own
        raise InputError(
            f"The tracking store {mlflow.get_tracking_uri()} does not answer: {first_line(error)}"
        ) from None
    return client


def log_training(parameters: dict[str, Any], metrics: dict[str, float]) -> None:
    """Record the training that has just written the model: what it used, and what came out."""
    connect()
    import mlflow

    digests = {f"md5.{path.stem}": md5(path) for path in (RAW, TRAIN, TEST, CONTRACT, MODEL)}
    with mlflow.start_run(run_name=f"train {commit()[:7]}", tags={"git_commit": commit(), **digests}):
        mlflow.log_params(parameters)
        mlflow.log_metrics(metrics)
        for path in (MODEL, CONTRACT, PARAMS):
            mlflow.log_artifact(str(path), artifact_path="model")


def log_evaluation(metrics: dict[str, float], report: Path) -> None:
    """Add the evaluation to the run that trained the model, found by the model's md5, or to a run of its own."""
    client = connect()
    import mlflow

    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    trained = client.search_runs([experiment], f"tags.`md5.model` = '{md5(MODEL)}'", max_results=1)
    run = trained[0].info.run_id if trained else None  # none where the model came from another machine
    with mlflow.start_run(run_id=run, tags=None if run else {"git_commit": commit(), "md5.model": md5(MODEL)}):
        mlflow.log_metrics(metrics)
        mlflow.log_artifact(str(report))
