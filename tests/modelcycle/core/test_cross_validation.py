import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.tree import DecisionTreeRegressor

from modelcycle.core.cross_validation import score_by_folds

random = np.random.default_rng(0)


def test_the_score_is_the_mean_of_the_folds():
    features = pd.DataFrame(random.normal(size=(90, 2)), columns=["a", "b"], index=range(100, 190))
    target = features["a"].to_numpy() + random.normal(size=90)
    score = score_by_folds(Ridge(), features, target, "mae", 5)
    folds = KFold(5, shuffle=True, random_state=0)
    same = cross_val_score(Ridge(), features, target, scoring="neg_mean_absolute_error", cv=folds)
    assert score == pytest.approx(-same.mean())


def test_rows_of_a_group_share_a_fold():
    groups = pd.Series(np.repeat(range(40), 5))
    features, target = pd.DataFrame({"group": groups}), random.normal(size=40)[groups]
    tree = DecisionTreeRegressor()
    assert score_by_folds(tree, features, target, "mae", 5) < 0.1  # the others of the group tell
    assert score_by_folds(tree, features, target, "mae", 5, groups) > 0.5
    with pytest.raises(ValueError, match="groups"):
        score_by_folds(tree, features, target, "mae", 5, groups * 0)


def test_a_class_that_a_fold_lacks_costs_what_a_probability_of_nothing_costs():
    features, target = pd.DataFrame({"x": np.zeros(30)}), np.array(["a"] * 29 + ["b"], object)
    loss = score_by_folds(DummyClassifier(strategy="prior"), features, target, "log_loss", 3)
    assert loss == pytest.approx((0.05 * 2 + 9 * 0 + -np.log(1e-15) / 10) / 3, abs=0.05)
