import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.tree import DecisionTreeRegressor

from modelcycle.core.contract import Contract
from modelcycle.core.cross_validation import make_folds, score_by_folds
from modelcycle.core.params import Holdout

random = np.random.default_rng(0)


def test_each_fold_has_a_score():
    features = pd.DataFrame(random.normal(size=(90, 2)), columns=["a", "b"], index=range(100, 190))
    target = features["a"].to_numpy() + random.normal(size=90)
    folds = KFold(5, shuffle=True, random_state=0)
    score = score_by_folds(Ridge(), features, target, "mae", folds.split(features))
    same = cross_val_score(Ridge(), features, target, scoring="neg_mean_absolute_error", cv=folds)
    assert score == pytest.approx(-same)


def test_rows_of_a_group_share_a_fold():
    groups = np.repeat(range(40), 5)
    features, target = pd.DataFrame({"group": groups}), random.normal(size=40)[groups]
    tree, mixed, apart = DecisionTreeRegressor(), KFold(5, shuffle=True), GroupKFold(5)
    assert (
        score_by_folds(tree, features, target, "mae", mixed.split(features)).mean() < 0.1
    )  # the others of the group tell
    assert score_by_folds(tree, features, target, "mae", apart.split(features, groups=groups)).mean() > 0.5


def test_a_class_that_a_fold_lacks_costs_what_a_probability_of_nothing_costs():
    features, target = pd.DataFrame({"x": np.zeros(30)}), np.array(["a"] * 29 + ["b"], object)
    folds = KFold(3, shuffle=True, random_state=0).split(features)
    loss = score_by_folds(DummyClassifier(strategy="prior"), features, target, "log_loss", folds)
    assert loss.mean() == pytest.approx((0.05 * 2 + 9 * 0 + -np.log(1e-15) / 10) / 3, abs=0.05)


COLUMNS = {
    "machine": {"role": "group", "type": "integer"},
    "at": {"role": "time", "type": "datetime"},
    "x": {"role": "feature", "type": "number"},
    "fails": {"role": "target", "type": "boolean"},
}
CONTRACT = Contract.model_validate({"description": "", "columns": COLUMNS})


def make_table(n_rows: int = 300) -> pd.DataFrame:
    """Make rows of 20 machines in any order, of which one in three fails."""
    times = pd.date_range("2024-01-01", periods=n_rows, freq="4h")
    rows = pd.DataFrame({"machine": np.arange(n_rows) % 20, "at": times, "x": 0.0, "fails": np.arange(n_rows) % 3 == 0})
    return rows.sample(frac=1, random_state=0)


def test_folds_keep_machines_apart_and_are_trained_on_what_lies_before():
    table = make_table()
    folds = list(make_folds(table, Holdout(by="group"), CONTRACT))
    assert sorted(np.concatenate([judged for _, judged in folds])) == list(range(300))
    for learn, judged in folds:
        assert not set(table["machine"].iloc[learn]) & set(table["machine"].iloc[judged])
    folds = list(make_folds(table, Holdout(by="time", gap="12h"), CONTRACT))
    assert [len(judged) for _, judged in folds] == [50] * 5
    for learn, judged in folds:
        assert table["at"].iloc[judged].min() - table["at"].iloc[learn].max() > pd.Timedelta("12h")


def test_a_fold_with_nothing_to_learn_from_is_left_out():
    table = make_table()
    table["fails"] = table["at"] > pd.Timestamp("2024-01-12")
    folds = list(make_folds(table, Holdout(by="time"), CONTRACT))
    assert len(folds) == 4
    assert all(table["fails"].iloc[learn].nunique() == 2 for learn, _ in folds)
    assert list(make_folds(table, Holdout(by="time", gap="90d"), CONTRACT)) == []
