"""The MLflow runs: a run for each training, with its evaluation."""

from pathlib import Path
from typing import Any

from modelcycle.core.digest import md5
from modelcycle.core.paths import CONTRACT, MODEL, PARAMS, RAW, TEST, TRAIN
from modelcycle.core.project import read_project
from modelcycle.tracking.git import describe_head
from modelcycle.tracking.store import connect

RUN_FILES = (RAW, TRAIN, TEST, CONTRACT, MODEL)  # whose md5 a run has as tags; a version has the same
RUN_TAGS = tuple(f"md5.{path.stem}" for path in RUN_FILES)


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
