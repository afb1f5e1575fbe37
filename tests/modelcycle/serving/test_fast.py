from datetime import datetime

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from modelcycle.core.contract import make_request_table
from modelcycle.serving.fast import _bin_once, _make_code_matrix, make_fast_predict, make_trial_rows
from support.repository import TREE

FEATURES = (TREE / "src/{{cookiecutter.package_name}}/features.py").read_text(encoding="utf-8")
ODD_ROWS = [
    {"at": datetime(2024, 2, 29, 23, 59), "price": None, "pieces": 0, "shop": "NO", "city": "Paris", "gift": True},
    {"at": datetime(1999, 1, 1), "price": 100.0, "pieces": -5, "shop": "Köln", "city": "Rome", "gift": False},
    {"at": datetime(2030, 7, 7, 7, 7), "price": 0.0, "pieces": 10**9, "shop": "NO", "city": "", "gift": True},
]


def predict_by_pipeline(version, rows):
    """Give (n, c) probabilities or (n, 1) amounts as the version itself does."""
    table = version.predict(make_request_table(rows, version.contract.inputs, version.contract))
    return table.iloc[:, -max(1, len(table.columns) - 1) :].to_numpy(float)


@pytest.mark.parametrize("kind", ["two classes", "an amount"])
@pytest.mark.parametrize(
    ("estimator", "without", "parameters"),
    [
        ("HistGradientBoosting", (), {"max_iter": 20}),
        ("HistGradientBoosting", ("shop", "city"), {"max_iter": 20}),
        ("RandomForest", ("at", "price", "city"), {"n_estimators": 5}),
    ],
    ids=["boosting", "no categories", "forest, whole numbers, none missing"],
)
def test_few_and_many_rows_are_predicted_as_by_the_pipeline(train_version, kind, estimator, without, parameters):
    version = train_version(kind, f"sklearn.ensemble.{estimator}", without, **parameters)
    predict = make_fast_predict(version)
    rows = [{name: row[name] for name in version.contract.inputs} for row in ODD_ROWS]
    expected = predict_by_pipeline(version, rows * 40)
    assert len(np.unique(expected, axis=0)) == 3
    assert predict(rows * 40) == pytest.approx(expected, rel=1e-12)  # the estimator
    assert predict(rows) == pytest.approx(expected[:3], rel=1e-12)  # treelite
    assert predict(rows[:1]).shape == (1, expected.shape[1])


def test_a_row_without_an_optional_value_has_none(train_version):
    version = train_version("two classes", max_iter=20)
    left_out = {name: value for name, value in ODD_ROWS[0].items() if name != "price"}
    assert np.array_equal(make_fast_predict(version)([left_out]), make_fast_predict(version)(ODD_ROWS[:1]))


@pytest.mark.parametrize(
    ("kind", "estimator", "parameters"),
    [
        ("two classes", "linear_model.LogisticRegression", {}),
        ("two classes", "ensemble.RandomForest", {"n_estimators": 5}),
        ("three classes", "ensemble.HistGradientBoosting", {"max_iter": 5}),
    ],
    ids=["no trees", "treelite sends missing values another way", "treelite rounds probabilities by 1e-8"],
)
def test_a_model_whose_fast_answers_would_differ_takes_the_pipeline(train_version, kind, estimator, parameters):
    assert make_fast_predict(train_version(kind, f"sklearn.{estimator}", **parameters)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rows[name].dt.hour + rows[name].dt.minute / 60", "rows[name].dt.hour * 1.0"),
        (
            "    return pd.DataFrame",
            '    features["many"] = (rows["pieces"] > 5).astype("float64")\n    return pd.DataFrame',
        ),
        ('features[name] = rows[name].astype("str")', 'features[name] = rows[name].astype("str").str.upper()'),
    ],
    ids=["another meaning", "another feature", "other categories"],
)
def test_features_of_a_team_s_own_take_the_pipeline(train_version, old, new):
    assert old in FEATURES
    assert make_fast_predict(train_version("two classes", features=FEATURES, max_iter=20)) is not None
    changed = FEATURES.replace(old, new)
    assert make_fast_predict(train_version("two classes", features=changed, max_iter=20)) is None


def test_trial_rows_hold_common_missing_and_unseen_values_of_every_column(train_version):
    version = train_version("two classes", max_iter=20)
    rows = make_trial_rows(version, 400)
    values = {name: [row[name] for row in rows] for name in version.contract.inputs}
    assert len(rows) == 400
    assert set(values["shop"]) == {"Köln", "NO"}
    assert set(values["city"]) == {"Bonn", "Oslo", "Rome", "never seen before"}
    assert set(values["gift"]) == {True, False}
    assert 40 < values["price"].count(None) < 120  # about a fifth
    assert not any(value is None for name in values if name != "price" for value in values[name])
    prices, edges = [price for price in values["price"] if price is not None], version.profile["price"]["edges"]
    assert edges[0] - 1 <= min(prices) < max(prices) <= edges[-1] + 1
    assert 100 < sum(price in edges for price in prices) < 240  # about half
    assert set(values["pieces"]) == set(range(10))  # beyond 1 to 8, which training held
    assert {time.month for time in values["at"]} == set(range(1, 13))
    assert len({time.year for time in values["at"]}) == 20
    assert make_trial_rows(version, 400) == rows


@pytest.mark.parametrize("seen", [[0, 1, 2], [0, 2]], ids=["every code", "a gap"])
def test_looking_up_bins_once_changes_no_answer_whichever_codes_were_seen(seen):
    random = np.random.default_rng(0)
    known, train = dict(zip("abc", range(3), strict=True)), random.normal(size=(600, 2))
    train[:, 0] = random.choice(seen, 600)
    target = (train[:, 0] == 2) ^ (train[:, 1] > 0)
    model = HistGradientBoostingClassifier(categorical_features=[0], max_iter=20).fit(train, target)
    rows = random.normal(size=(400, 2))
    rows[:, 0] = random.choice([0, 1, 2, np.nan], 400)
    answers = _bin_once(model, "predict_proba", _make_code_matrix([known], 2))(rows)
    assert np.array_equal(answers, model.predict_proba(rows))


def test_the_matrix_of_codes_holds_each_code_and_a_missing_one():
    matrix = _make_code_matrix([{"a": 0.0, "b": 1.0, "c": 2.0}, {"x": 5.0}], 4)
    expected = [[0, 5, 2, 3], [1, np.nan, 2, 3], [2, 5, 2, 3], [np.nan, np.nan, 2, 3]]
    assert np.array_equal(matrix, expected, equal_nan=True)
    assert _make_code_matrix([], 2).tolist() == [[0, 1]]
