import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from modelcycle.core.metrics import bootstrap_intervals, score_resamples

random = np.random.default_rng(0)
WEIGHTS = random.integers(0, 3, (5, 400)).astype(float)


def frame(probabilities: np.ndarray, classes: list) -> pd.DataFrame:
    named = pd.DataFrame(probabilities, columns=[f"probability_{name}" for name in classes])
    named.insert(0, "prediction", np.array(classes)[probabilities.argmax(axis=1)])
    return named


def test_two_classes_score_as_in_scikit_learn():
    truth = random.random(400) < 0.3
    probability = np.round(np.clip(0.3 * truth + random.random(400) * 0.7, 0.01, 0.99), 2)  # rounded: there are ties
    scores = score_resamples(truth, frame(np.c_[1 - probability, probability], [False, True]), WEIGHTS)
    for i, weights in enumerate(WEIGHTS):
        assert scores["roc_auc"][i] == pytest.approx(metrics.roc_auc_score(truth, probability, sample_weight=weights))
        assert scores["log_loss"][i] == pytest.approx(metrics.log_loss(truth, probability, sample_weight=weights))
        assert scores["brier"][i] == pytest.approx(metrics.brier_score_loss(truth, probability, sample_weight=weights))
        expected = metrics.accuracy_score(truth, probability > 0.5, sample_weight=weights)
        assert scores["accuracy"][i] == pytest.approx(expected)


def test_many_classes_score_as_in_scikit_learn():
    truth = random.choice(["a", "b", "c"], 400).astype(object)
    probabilities = random.dirichlet([1, 1, 1], 400)
    scores = score_resamples(truth, frame(probabilities, ["a", "b", "c"]), np.ones((1, 400)))
    expected = metrics.roc_auc_score(truth.astype(str), probabilities, multi_class="ovr", average="macro")
    assert scores["roc_auc"][0] == pytest.approx(expected)
    assert scores["log_loss"][0] == pytest.approx(metrics.log_loss(truth.astype(str), probabilities))


@pytest.mark.parametrize("offset", [0, 1e9])
def test_amounts_score_as_in_scikit_learn(offset):
    truth = offset + random.normal(size=400)
    guess = truth + random.normal(size=400)
    scores = score_resamples(truth, pd.DataFrame({"prediction": guess}), WEIGHTS)
    for i, weights in enumerate(WEIGHTS):
        assert scores["mae"][i] == pytest.approx(metrics.mean_absolute_error(truth, guess, sample_weight=weights))
        expected = metrics.root_mean_squared_error(truth, guess, sample_weight=weights)
        assert scores["rmse"][i] == pytest.approx(expected)
        assert scores["r2"][i] == pytest.approx(metrics.r2_score(truth, guess, sample_weight=weights))
    assert np.isnan(score_resamples(np.full(400, 1.5), pd.DataFrame({"prediction": guess}), WEIGHTS)["r2"]).all()


def test_an_interval_holds_its_value_and_covers_the_truth_as_often_as_it_says():
    covered = 0
    for _ in range(200):
        error = random.normal(size=100)
        figures = bootstrap_intervals(np.zeros(100), pd.DataFrame({"prediction": error}), 200).loc["mae"]
        assert figures["low"] <= figures["value"] <= figures["high"]
        covered += figures["low"] <= np.sqrt(2 / np.pi) <= figures["high"]
    assert 0.88 <= covered / 200 <= 0.99


def test_one_class_alone_has_no_ranking_to_judge():
    figures = bootstrap_intervals(np.zeros(20, dtype=bool), frame(np.full((20, 2), 0.5), [False, True]), 20)
    assert np.isnan(figures.loc["roc_auc", "value"])
    assert figures.loc["accuracy", "value"] == 1
