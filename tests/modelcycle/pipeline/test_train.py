import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import cross_val_score

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.core.params import Search, Train
from modelcycle.core.team import make_features, make_model
from modelcycle.pipeline.train import fit_model, make_estimator, search_parameters

random = np.random.default_rng(0)
TREE = "sklearn.tree.DecisionTree"
TARGETS = {
    "boolean": pd.Series(["yes", "no"] * 60).eq("yes").astype("boolean"),
    "category": pd.Series(["a", "b", "c"] * 40),
    "number": pd.Series(random.normal(size=120)),
}


def make_contract(kind: str) -> Contract:
    columns = {"x": {"role": "feature", "type": "number"}, "shop": {"role": "feature", "type": "category"}}
    return Contract.model_validate({"description": "", "columns": columns | {"y": {"role": "target", "type": kind}}})


def make_rows(kind: str) -> pd.DataFrame:
    """120 rows in which x and the shop tell the target but for some noise."""
    target = TARGETS[kind]
    codes = pd.Series(target.astype("category").cat.codes if kind != "number" else target)
    return pd.DataFrame(
        {"x": codes + random.normal(0, 0.4, 120), "shop": np.where(codes > 0, "Köln", "Ulm"), "y": target}
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "scoring"), [("boolean", "roc_auc"), ("category", "neg_log_loss"), ("number", "neg_mean_absolute_error")]
)
def test_a_search_takes_the_trial_that_cross_validation_scores_best(capsys, kind, scoring):
    contract, rows = make_contract(kind), make_rows(kind)
    features, target = make_features(rows, contract), rows["y"].to_numpy(bool if kind == "boolean" else object)
    target = target.astype(float) if kind == "number" else target
    search = Search(trials=4, folds=3, parameters={"min_samples_leaf": [1, 20, 40, 55]})
    params = Train(estimator=TREE, parameters={"max_depth": 4}, seed=7, search=search)
    found = search_parameters(params, search, features, target, contract.is_classification)
    scores = {}
    for leaf in (1, 20, 40, 55):
        values = {"max_depth": 4, "min_samples_leaf": leaf}
        model = make_model(make_estimator(TREE, values, 7, contract.is_classification), features)
        scores[leaf] = cross_val_score(model, features, target, cv=3, scoring=scoring).mean()
    best = max(scores, key=scores.get)
    assert found == {"min_samples_leaf": best}
    said = f"best {scoring.removeprefix('neg_')} {abs(scores[best]):.4f} of 4 trials"
    assert capsys.readouterr().out.split() == ["search", *said.split(), *str(found).split()]


@pytest.mark.filterwarnings("ignore")  # which say the same at length
def test_more_folds_than_a_class_has_rows_are_refused():
    rows = make_rows("category")
    rows.loc[rows.index[5:], "y"] = "a"
    search = Search(trials=1, folds=4, parameters={"max_depth": [2]})
    with pytest.raises(InputError, match=r"train\.search\.folds is 4, more than a class of the target has rows"):
        fit_model(Train(estimator=TREE, seed=0, search=search), rows, make_contract("category"))


@pytest.mark.parametrize("kind", TARGETS)
def test_the_fitted_model_has_the_parameters_of_file_and_search(kind):
    rows, contract = make_rows(kind), make_contract(kind)
    search = Search(trials=1, folds=2, parameters={"max_depth": [3]})
    params = Train(estimator=TREE, parameters={"max_depth": 9, "min_samples_leaf": 2}, seed=5, search=search)
    model, parameters = fit_model(params, rows, contract)
    assert parameters == {"max_depth": 3, "min_samples_leaf": 2}
    assert model[-1].get_params()["max_depth"] == 3
    assert model[-1].random_state == 5
    predicted = model.predict(make_features(rows, contract))
    if kind == "number":
        assert mean_absolute_error(rows["y"], predicted) < 0.5
    else:
        assert (predicted == rows["y"].to_numpy(object)).mean() > 0.8
    assert params.parameters == {"max_depth": 9, "min_samples_leaf": 2}  # as they were read


def test_what_an_estimator_refuses_is_said_in_its_words():
    params = Train(estimator="sklearn.ensemble.HistGradientBoosting", parameters={"max_iter": -1}, seed=0)
    with pytest.raises(
        InputError, match=r"^params\.yaml: sklearn\.ensemble\.HistGradientBoosting refuses to train: .*max_iter"
    ):
        fit_model(params, make_rows("boolean"), make_contract("boolean"))


def test_features_have_to_be_a_table(monkeypatch):
    monkeypatch.setattr("modelcycle.pipeline.train.make_features", lambda rows, contract: rows.to_numpy())
    with pytest.raises(InputError, match=r"^features\.py: make_features gives a ndarray; expected a DataFrame\.$"):
        fit_model(Train(estimator=TREE, seed=0), make_rows("boolean"), make_contract("boolean"))


def test_a_training_is_recorded_with_its_parameters_and_what_it_came_from(reproduced):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{reproduced.path}/.mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("flight_delays").experiment_id])
    assert run.data.params["estimator"] == "HistGradientBoostingClassifier"
    assert (run.data.params["seed"], run.data.params["max_iter"]) == ("0", "200")
    assert 0 < run.data.metrics["train_seconds"] < 60
    assert run.data.metrics["train_rows"] == len(pd.read_parquet(reproduced.path / "data/train.parquet"))
