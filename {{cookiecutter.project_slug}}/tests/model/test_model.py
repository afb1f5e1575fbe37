import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.features import make_features
from {{ cookiecutter.package_name }}.files import InputError
from {{ cookiecutter.package_name }}.model import (
    load_model,
    make_estimator,
    predict,
    save_model,
)
from {{ cookiecutter.package_name }}.train import fit


@pytest.fixture(scope="module")
def model(real):
    return fit(real.params, real.train, real.contract)[0]


@pytest.fixture
def predictions(real, model):
    return predict(model, make_features(real.test, real.contract))


def test_the_same_rows_give_the_same_model(real, predictions):
    again = fit(real.params, real.train, real.contract)[0]
    assert predict(again, make_features(real.test, real.contract)).equals(predictions)


def test_a_stored_model_predicts_the_same_and_equal_models_are_equal_files(real, model, predictions, tmp_path):
    save_model(model, tmp_path / "first.skops")
    save_model(fit(real.params, real.train, real.contract)[0], tmp_path / "second.skops")
    loaded = load_model(tmp_path / "first.skops")
    assert str(loaded[-1].get_params()) == str(model[-1].get_params())
    assert predict(loaded, make_features(real.test, real.contract)).equals(predictions)
    assert (tmp_path / "first.skops").read_bytes() == (tmp_path / "second.skops").read_bytes()


def test_a_row_alone_is_predicted_as_among_others(real, model, predictions):
    for position in range(min(5, len(real.test))):
        alone = predict(model, make_features(real.test.iloc[[position]], real.contract))
        pd.testing.assert_frame_equal(alone, predictions.iloc[[position]], check_exact=False, rtol=1e-9)


def test_missing_values_and_new_categories_are_answered(real, model):
    rows = real.test.head(20).copy()
    for name in real.contract.names("feature"):
        column = real.contract.columns[name]
        if column.nullable:
            rows[name] = pd.Series([None] * len(rows), index=rows.index, dtype=rows[name].dtype)
        elif column.type == "category":
            rows[name] = "never seen before"
    figures = predict(model, make_features(rows, real.contract)).iloc[:, -1]
    assert figures.notna().all()


def test_probabilities_add_up_to_one(real, predictions):
    if not real.contract.is_classification:
        assert np.isfinite(predictions["prediction"].astype(float)).all()
    else:
        assert predictions.filter(like="probability_").sum(axis=1).to_numpy() == pytest.approx(1)


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


def test_a_file_that_is_no_model_or_would_run_code_is_refused(tmp_path):
    (tmp_path / "text.skops").write_text("no model")
    with pytest.raises(InputError, match="is no model that can be loaded"):
        load_model(tmp_path / "text.skops")
    with pytest.raises(InputError, match=r"not trusted: .*Popen"):
        save_model({"step": __import__("subprocess").Popen}, tmp_path / "evil.skops")
    assert not (tmp_path / "evil.skops").exists()
