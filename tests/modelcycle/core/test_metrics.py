import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t
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
    tail = norm.cdf(np.sqrt(50 / 49) * t.ppf(0.025, 49))
    expected = [np.abs(error).mean(), *np.quantile(scores, [tail, 1 - tail])]
    assert 0.018 < tail < 0.025
    assert table.loc["mae"].tolist() == [round_to_six_digits(value) for value in expected]
    assert list(table) == ["value", "low", "high"]


def count_covered(make_errors, n_draws: int) -> float:
    """Draw tables whose mean absolute error is known, and give the share of 95 % intervals that hold it."""
    covered = 0
    for _ in range(n_draws):
        errors, groups, truth = make_errors()
        low, high = bootstrap_intervals(np.zeros(len(errors)), frame_of(errors), 200, groups).loc[
            "mae", ["low", "high"]
        ]
        covered += low <= truth <= high
    return covered / n_draws


def frame_of(amounts: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"prediction": amounts})


def clustered() -> tuple[np.ndarray, np.ndarray, float]:
    """Errors of 40 machines with 10 rows each, most of which is the machine's."""
    machines = np.repeat(np.arange(40), 10)
    return random.normal(size=40)[machines] + random.normal(0, 0.5, 400), machines, np.sqrt(1.25 * 2 / np.pi)


def in_time() -> tuple[np.ndarray, np.ndarray, float]:
    """Errors of 1,000 hours, each of which resembles the one before, in blocks of time."""
    steps = random.normal(0, np.sqrt(1 - 0.8**2), 1000)
    errors = np.zeros(1000)
    errors[0] = random.normal()
    for hour in range(1, 1000):
        errors[hour] = 0.8 * errors[hour - 1] + steps[hour]
    return errors, np.arange(1000) * 20 // 1000, np.sqrt(2 / np.pi)


@pytest.mark.slow
@pytest.mark.parametrize("make_errors", [clustered, in_time])
def test_intervals_of_groups_and_blocks_of_time_cover_the_truth(make_errors):
    assert count_covered(make_errors, 200) >= 0.89
    assert count_covered(lambda: (make_errors()[0], None, make_errors()[2]), 200) < 0.8  # rows alone do not


def test_rows_of_a_group_are_drawn_together_and_weights_count():
    groups = np.array([0, 0, 1, 2, 2, 2])
    (drawn,) = draw_resamples(6, 5, 0, groups, np.array([1.0, 2, 1, 1, 1, 0]))
    assert (drawn[:, 1] == 2 * drawn[:, 0]).all()
    assert (drawn[:, 3] == drawn[:, 4]).all()
    assert not drawn[:, 5].any()
    assert (drawn[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_a_row_of_weight_three_counts_like_three_rows():
    truth, guess = np.array([0.0, 1, 5]), frame_of(np.array([1.0, 1, 1]))
    weighted = score_predictions(truth, guess, np.array([1.0, 1, 3]))
    repeated = score_predictions(np.array([0.0, 1, 5, 5, 5]), frame_of(np.ones(5)))
    assert weighted["mae"] == pytest.approx(repeated["mae"])
    assert weighted["rmse"] == pytest.approx(repeated["rmse"])


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
