"""The real dvc.yaml, in copies of this repository whose source is a small sample."""

import json
from pathlib import Path

import nbformat
import pytest
from modelcycle.core.output import md5
from modelcycle.testing import run
from nbclient import NotebookClient
from ruamel.yaml import YAML


def lock(folder):
    stages = YAML(typ="safe").load(folder / "dvc.lock")["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}


def test_the_pipeline_writes_what_it_says(reproduced):
    assert all((reproduced / path).stat().st_size for path in lock(reproduced))
    assert json.loads((reproduced / "reports/metrics.json").read_text())["rows"] > 0
    assert "<svg" in (reproduced / "reports/report.html").read_text(encoding="utf-8")


def test_nothing_runs_when_nothing_has_changed(reproduced):
    assert "Data and pipelines are up to date" in run(reproduced, "dvc", "repro")


def test_another_clone_gives_the_same_bytes(reproduced, clone):
    other = clone()
    run(other, "dvc", "repro")
    assert lock(other) == lock(reproduced)


def test_the_run_is_tracked_with_what_it_came_from(reproduced, monkeypatch):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{reproduced}/.mlflow/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    run = client.search_runs([experiment.experiment_id], "tags.`md5.model` != ''")[-1]
    metrics = json.loads((reproduced / "reports/metrics.json").read_text())
    assert {name: run.data.metrics[name] for name in metrics} == pytest.approx(metrics)
    assert run.data.params["estimator"]
    for name, path in [("raw", "data/raw.parquet"), ("train", "data/train.parquet"), ("contract", "contract.yaml")]:
        assert run.data.tags[f"md5.{name}"] == md5(reproduced / path)
    assert run.data.tags["git_commit"]
    assert {file.path for file in client.list_artifacts(run.info.run_id, "model")} == {
        "model/model.skops",
        "model/contract.yaml",
        "model/params.yaml",
    }


NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, reproduced, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    notebook = nbformat.read(reproduced / "notebooks" / path.name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(reproduced / "notebooks")}}).execute()
