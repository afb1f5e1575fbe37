import subprocess
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from modelcycle.core.errors import InputError
from modelcycle.core.model_file import load_model, predict, save_model

FEATURES = pd.DataFrame({"x": [0.0, 1, 2, 3] * 5}, index=range(10, 30))


def fit_forest() -> RandomForestClassifier:
    return RandomForestClassifier(3, random_state=0).fit(FEATURES, np.array(["a", "b", "b", "c"] * 5))


def test_the_prediction_is_the_most_probable_class():
    predictions = predict(fit_forest(), FEATURES)
    assert list(predictions) == ["prediction", "probability_a", "probability_b", "probability_c"]
    assert predictions.index.equals(FEATURES.index)
    assert predictions["prediction"].tolist() == ["a", "b", "b", "c"] * 5
    assert predictions["probability_b"].tolist()[:4] == [0, 1, 1, 0]


def test_an_amount_has_no_probabilities():
    predictions = predict(LinearRegression().fit(FEATURES, FEATURES["x"] * 2 + 1), FEATURES)
    assert list(predictions) == ["prediction"]
    assert predictions["prediction"].tolist() == pytest.approx([1, 3, 5, 7] * 5)
    assert predictions.index.equals(FEATURES.index)


@pytest.mark.slow
def test_equal_models_are_equal_files_that_predict_the_same(tmp_path):
    first, second = tmp_path / "first.skops", tmp_path / "second.skops"
    save_model(fit_forest(), first)
    save_model(fit_forest(), second)
    assert first.read_bytes() == second.read_bytes()
    assert predict(load_model(first), FEATURES).equals(predict(fit_forest(), FEATURES))


def test_a_file_that_is_no_model_or_would_run_code_is_refused(tmp_path):
    (tmp_path / "text.skops").write_text("no model")
    with pytest.raises(InputError, match="is no model that can be loaded"):
        load_model(tmp_path / "text.skops")
    with pytest.raises(InputError, match=r"not trusted: .*Popen"):
        save_model({"step": subprocess.Popen}, tmp_path / "evil.skops")
    assert not (tmp_path / "evil.skops").exists()


def test_a_type_of_the_teams_is_stored_and_loaded_where_it_is_trusted(tmp_path):
    path = tmp_path / "model.skops"
    with pytest.raises(InputError, match=r"not trusted: collections\.Counter\. .*trusted_types"):
        save_model(Counter("abba"), path)
    save_model(Counter("abba"), path, ["collections.Counter"])
    assert load_model(path, ["collections.Counter"]) == Counter("abba")
    with pytest.raises(InputError, match=r"is no model that can be loaded.*collections\.Counter"):
        load_model(path)
