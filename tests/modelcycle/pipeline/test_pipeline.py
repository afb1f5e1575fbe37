"""The stages one after another, on the example: any estimator, a search, more data, another store."""

import re
from functools import partial

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from modelcycle.core.contract import read_contract
from modelcycle.core.model_file import load_model, predict
from modelcycle.core.params import read_params
from modelcycle.core.team import make_features
from modelcycle.pipeline.train import fit_model

slow = partial(pytest.param, marks=pytest.mark.slow)


def set_train(project, estimator: str, parameters: str, search: str = "null") -> None:
    text = project.read("params.yaml")
    for key, value in {"estimator": estimator, "parameters": parameters, "search": search}.items():
        text = re.sub(rf"(?m)^  {key}: .*", f"  {key}: {value}", text)
    (project.path / "params.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        ("sklearn.linear_model.LogisticRegression", "{C: 0.1}"),
        ("sklearn.naive_bayes.GaussianNB", "{}"),
        slow("sklearn.ensemble.RandomForest", "{n_estimators: 30, min_samples_leaf: 20}"),
        slow("sklearn.ensemble.GradientBoosting", "{n_estimators: 20, learning_rate: 0.15}"),
        slow("sklearn.neighbors.KNeighbors", "{}"),
        slow("sklearn.neural_network.MLP", "{hidden_layer_sizes: [8], max_iter: 4}"),
    ],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # which is stopped early
def test_any_estimator_of_scikit_learn_trains_and_is_stored(reproduced, tmp_path, monkeypatch, estimator, parameters):
    project = reproduced.copy_to(tmp_path)
    set_train(project, estimator, parameters)
    project.verb("train")
    monkeypatch.chdir(project.path)
    contract, train, test = read_contract(), *(pd.read_parquet(f"data/{name}.parquet") for name in ("train", "test"))
    features, stored = make_features(test, contract), load_model(project.path / "models/model.skops", [])
    answers = predict(stored, features)
    assert predict(fit_model(read_params().train, train, contract)[0], features).equals(answers)
    assert roc_auc_score(test["late"].to_numpy(bool), answers["probability_True"]) > 0.55


@pytest.mark.slow
def test_a_search_logs_what_it_found(reproduced, tmp_path):
    project = reproduced.copy_to(tmp_path)
    search = "{trials: 4, folds: 2, parameters: {max_iter: [5, 100], learning_rate: [0.05, 0.1]}}"
    set_train(project, "sklearn.ensemble.HistGradientBoosting", "{}", search)
    assert re.search(r"search +best roc_auc 0\.\d+ of 4 trials +\{.*'max_iter': 100", project.verb("train"))


@pytest.mark.slow
def test_tracking_goes_where_the_environment_says(reproduced, tmp_path):
    project = reproduced.copy_to(tmp_path)
    before = (project.path / ".mlflow/mlflow.db").read_bytes()
    project.verb("train", MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/elsewhere.db")
    assert (tmp_path / "elsewhere.db").exists()
    assert (project.path / ".mlflow/mlflow.db").read_bytes() == before


def test_moving_time_on_keeps_every_row_on_its_side(reproduced, tmp_path):
    project = reproduced.copy_to(tmp_path)
    before, train = (
        set(pd.read_parquet(project.path / f"data/{name}.parquet")["flight_id"]) for name in ("test", "train")
    )
    project.replace("params.yaml", '"2013-07-01"', "null")
    project.verb("ingest")
    project.verb("prepare")
    after = set(pd.read_parquet(project.path / "data/test.parquet")["flight_id"])
    assert len(after) > 1.8 * len(before)
    assert before <= after
    assert not train & after
