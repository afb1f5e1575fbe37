"""The model that params.yaml and model.py describe, trained on a sample of the project's own rows."""

import numpy as np
import pandas as pd
import pytest
from modelcycle.core.model_file import load_model, predict, save_model
from modelcycle.core.team import make_features, read_project
from modelcycle.pipeline.train import fit_model


def test_the_same_rows_give_the_same_model(real, predictions):
    again = fit_model(real.params, real.train, real.contract)[0]
    assert predict(again, make_features(real.test, real.contract)).equals(predictions)


def test_a_stored_model_predicts_the_same_and_equal_models_are_equal_files(real, model, predictions, tmp_path):
    trusted = read_project().trusted_types
    save_model(model, tmp_path / "first.skops", trusted)
    save_model(fit_model(real.params, real.train, real.contract)[0], tmp_path / "second.skops", trusted)
    loaded = load_model(tmp_path / "first.skops", trusted)
    assert str(loaded[-1].get_params()) == str(model[-1].get_params())
    assert predict(loaded, make_features(real.test, real.contract)).equals(predictions)
    assert (tmp_path / "first.skops").read_bytes() == (tmp_path / "second.skops").read_bytes()


def test_a_row_alone_is_predicted_as_among_others(real, model, predictions):
    for position in range(min(5, len(real.test))):
        alone = predict(model, make_features(real.test.iloc[[position]], real.contract))
        pd.testing.assert_frame_equal(alone, predictions.iloc[[position]], check_exact=False, rtol=1e-9)


def test_probabilities_add_up_to_one(real, predictions):
    if not real.contract.is_classification:
        assert np.isfinite(predictions["prediction"].astype(float)).all()
    else:
        assert predictions.filter(like="probability_").sum(axis=1).to_numpy() == pytest.approx(1)
