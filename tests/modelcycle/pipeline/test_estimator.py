import pytest

from modelcycle.core.errors import InputError
from modelcycle.pipeline.train import make_estimator


@pytest.mark.parametrize(
    ("name", "parameters", "complaint"),
    [
        ("sklearn.ensemble.Nothing", {}, "train.estimator is sklearn.ensemble.Nothing; expected a scikit-learn"),
        ("nowhere.Model", {}, "train.estimator is nowhere.Model"),
        ("json.dumps", {}, "train.estimator is json.dumps"),
        ("sklearn.ensemble.RandomForest", {"trees": 3}, "train.parameters.trees is no parameter of RandomForest"),
    ],
)
def test_an_unknown_estimator_or_parameter_is_named(name, parameters, complaint):
    with pytest.raises(InputError, match=complaint):
        make_estimator(name, parameters, 0, True)


def test_an_estimator_that_does_not_fit_the_target_is_refused():
    with pytest.raises(InputError, match="holds classes"):
        make_estimator("sklearn.linear_model.Ridge", {}, 0, True)
    with pytest.raises(InputError, match="holds amounts"):
        make_estimator("sklearn.linear_model.LogisticRegression", {}, 0, False)


def test_an_estimator_without_probabilities_is_refused_for_classes():
    with pytest.raises(InputError, match=r"sklearn.svm.LinearSVC, which gives no probabilities"):
        make_estimator("sklearn.svm.LinearSVC", {}, 0, True)


def test_a_name_without_its_ending_is_completed_by_the_target_and_gets_seed_and_parameters():
    forest = make_estimator("sklearn.ensemble.RandomForest", {"n_estimators": 3}, 7, False)
    assert type(forest).__name__ == "RandomForestRegressor"
    assert (forest.n_estimators, forest.random_state) == (3, 7)
    assert make_estimator("sklearn.ensemble.RandomForest", {"random_state": 1}, 7, True).random_state == 1
    neighbours = make_estimator("sklearn.neighbors.KNeighborsClassifier", {}, 7, True)  # which has no seed
    assert type(neighbours).__name__ == "KNeighborsClassifier"
