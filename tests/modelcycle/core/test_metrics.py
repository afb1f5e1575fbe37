import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from modelcycle.core.metrics import (
    HIGHER_IS_BETTER,
    LEADING_METRIC,
    METRIC_MEANINGS,
    bootstrap_intervals,
    direction,
    draw_resamples,
    round_to_six_digits,
    score_predictions,
    score_resamples,
    weighted_auc,
)
from modelcycle.versions.ledger import format_metrics

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
    one_hot = truth[:, None] == ["a", "b", "c"]
    assert scores["brier"][0] == pytest.approx(((probabilities - one_hot) ** 2).sum(axis=1).mean())
    right = truth == np.array(["a", "b", "c"])[probabilities.argmax(axis=1)]
    assert scores["accuracy"][0] == pytest.approx(right.mean())


def test_a_probability_of_zero_for_what_happened_is_not_infinitely_wrong():
    scores = score_predictions(np.array([True]), frame(np.array([[1.0, 0.0]]), [False, True]))
    assert scores["log_loss"] == pytest.approx(-np.log(1e-15))
    assert scores["brier"] == 1


def test_rows_without_weight_leave_nothing_to_rank():
    weights = np.array([[1.0, 1, 1, 0], [1, 1, 0, 1]])  # of the first the only positive row has none
    areas = weighted_auc(np.array([False, False, False, True]), np.array([0.1, 0.2, 0.9, 0.2]), weights)
    assert np.isnan(areas[0])
    assert areas[1] == 0.75


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


def test_the_interval_is_that_of_the_resamples():
    error = random.normal(size=50)
    table = bootstrap_intervals(np.zeros(50), pd.DataFrame({"prediction": error}), 300)
    scores = [np.average(np.abs(error), weights=weights) for batch in draw_resamples(50, 300) for weights in batch]
    expected = [np.abs(error).mean(), *np.quantile(scores, [0.025, 0.975])]
    assert table.loc["mae"].tolist() == [round_to_six_digits(value) for value in expected]
    assert list(table) == ["value", "low", "high"]


def test_resamples_come_in_batches_that_fit_and_are_the_same_each_time():
    batches = list(draw_resamples(700_000, 5))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert all((batch.sum(axis=1) == 700_000).all() for batch in batches)
    first, again, other = (np.concatenate(list(draw_resamples(30, 7, seed))) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert len(next(draw_resamples(3_000_000, 1))) == 1


def test_each_metric_has_its_direction_and_meaning():
    assert {metric: direction(metric) for metric in METRIC_MEANINGS} == {
        **{"roc_auc": 1, "accuracy": 1, "log_loss": -1, "brier": -1},
        **{"mae": -1, "rmse": -1, "r2": 1},
    }
    assert set(METRIC_MEANINGS) >= HIGHER_IS_BETTER | set(LEADING_METRIC.values())
    assert LEADING_METRIC == {True: "roc_auc", False: "mae"}


def test_metrics_are_written_as_people_read_them():
    assert format_metrics({"mae": 1234.5678, "r2": 0.5}) == "mae 1235, r2 0.5"
    assert [round_to_six_digits(number) for number in (1234567.8, 0.12345678)] == [1234570.0, 0.123457]


def test_one_class_alone_has_no_ranking_to_judge():
    figures = bootstrap_intervals(np.zeros(20, dtype=bool), frame(np.full((20, 2), 0.5), [False, True]), 20)
    assert np.isnan(figures.loc["roc_auc", "value"])
    assert figures.loc["accuracy", "value"] == 1
