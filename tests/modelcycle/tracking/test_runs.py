import json

from modelcycle.core.output import md5
from modelcycle.core.paths import CONTRACT, MODEL, PARAMS, RAW, REPORT, TEST, TRAIN
from modelcycle.tracking import store
from modelcycle.tracking.store import find_run, log_evaluation, log_training


def runs_of(client):
    """List the runs of the project, the latest first."""
    return client.search_runs([client.get_experiment_by_name("flight_delays").experiment_id])


def artifacts(client, run, folder=None):
    return {file.path for file in client.list_artifacts(run, folder)}


def test_training_and_evaluation_are_one_run(repository, client):
    (run,) = runs_of(client)
    commit = repository.run("git", "rev-parse", "HEAD^").strip()
    assert run.info.run_name == f"train {commit[:7]}"
    assert run.data.tags["git_commit"] == commit
    for name, path in (("raw", RAW), ("train", TRAIN), ("test", TEST), ("contract", CONTRACT), ("model", MODEL)):
        assert run.data.tags[f"md5.{name}"] == md5(path)
    assert run.data.params["estimator"] == "HistGradientBoostingClassifier"
    assert (run.data.params["seed"], run.data.params["max_iter"]) == ("0", "200")
    assert run.data.metrics["roc_auc"] == json.loads(repository.read("reports/metrics.json"))["roc_auc"]
    assert run.data.metrics["train_seconds"] > 0
    assert artifacts(client, run.info.run_id, "model") == {f"model/{path.name}" for path in (MODEL, CONTRACT, PARAMS)}
    assert str(REPORT.name) in artifacts(client, run.info.run_id)


def test_the_latest_training_with_these_inputs_is_found(repository, client):
    (first,) = runs_of(client)
    repository.replace("params.yaml", "max_iter: 200", "max_iter: 100")
    again = log_training({"seed": 0}, {"train_rows": 5})
    digest = md5(MODEL)
    assert find_run(client, {"md5.model": digest}) == again
    assert find_run(client, {"md5.model": digest, "md5.raw": md5(RAW)}) == again
    assert find_run(client, {"md5.model": digest, "md5.raw": "other"}) is None
    run = client.get_run(again)
    assert run.data.tags["git_commit"].endswith("-dirty")
    assert run.data.metrics == {"train_rows": 5}
    client.delete_run(again)
    assert find_run(client, {"md5.model": digest}) == first.info.run_id


def test_a_model_that_was_trained_elsewhere_has_a_run_of_its_own(repository, client, monkeypatch):
    monkeypatch.setattr(store, "connect", lambda: client)
    (before,) = runs_of(client)
    log_evaluation({"roc_auc": 0.5}, REPORT)
    assert client.get_run(before.info.run_id).data.metrics["roc_auc"] == 0.5
    MODEL.unlink()
    MODEL.write_text("another model")
    log_evaluation({"roc_auc": 0.25}, REPORT)
    after, _ = runs_of(client)
    assert after.data.metrics == {"roc_auc": 0.25}
    assert after.data.tags["md5.model"] == md5(MODEL)
    assert artifacts(client, after.info.run_id) == {REPORT.name}
    assert find_run(client, {"md5.model": md5(MODEL)}) is None  # it is no training
