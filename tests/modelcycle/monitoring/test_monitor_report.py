import re

import numpy as np
import pandas as pd
import pytest

from modelcycle.monitoring.histogram import Histogram
from modelcycle.monitoring.monitor_report import (
    compute_trend,
    period_length,
    plot_effects,
    plot_load,
    plot_quality,
    plot_trends,
)
from modelcycle.monitoring.observations import Observations, summarize_periods
from modelcycle.versions.reference import describe_column

STARTS = np.array(["2024-03-01", "2024-03-02", "2024-03-03"], "datetime64[D]")
NUMBERS = describe_column(pd.Series([1.0, 2, 3, 4, None]), "number")
SHOPS = describe_column(pd.Series(["a", "a", "b", "b"]), "category")


def count(values: list, profile: dict) -> Histogram:
    """Count two values a day, on the first two of three days."""
    return Histogram.count(pd.Series(values), np.array([0, 0, 1, 1]), 3, profile)


@pytest.mark.parametrize(
    ("row", "histogram", "profile", "trend", "title"),
    [
        ({"what": "values"}, count([1, 3, 4, 9], NUMBERS), NUMBERS, [2, 6.5, None], "x: mean"),
        ({"what": "missing"}, count([1, None, 4, 9], NUMBERS), NUMBERS, [0.5, 0, None], "x: share that is missing"),
        (
            {"what": "unseen"},
            count([0, 5, 4, 9], NUMBERS),
            NUMBERS,
            [1, 0.5, None],
            "x: share that training never held",
        ),
        ({"what": "values", "category": "b"}, count([*"abbb"], SHOPS), SHOPS, [0.5, 1, None], "x: share of b"),
        (
            {"what": "values", "category": ""},
            count([*"abbz"], SHOPS),
            SHOPS,
            [0, 0.5, None],
            "x: share that training never held",
        ),
        ({"what": "prediction"}, count([1, 1, 2, 2], NUMBERS), NUMBERS, [1, 2, None], "prediction of x: mean"),
        (
            {"what": "prediction", "category": "a"},
            count([*"aabb"], SHOPS),
            SHOPS,
            [1, 0, None],
            "prediction of x: share of a",
        ),
    ],
)
def test_a_panel_shows_the_mean_or_a_share_and_a_gap_where_there_was_nothing(row, histogram, profile, trend, title):
    values, shown = compute_trend({"column": "x", "category": None} | row, histogram, profile)
    assert shown == title
    assert [None if np.isnan(value) else value for value in values] == trend


def test_the_length_of_a_period_is_that_between_two_or_an_hour_or_a_day():
    assert period_length(STARTS) == np.timedelta64(24 * 60, "m")
    assert period_length(STARTS[::2]) == np.timedelta64(48 * 60, "m")
    assert period_length(STARTS[:1]) == np.timedelta64(24 * 60, "m")
    assert period_length(STARTS[:1].astype("datetime64[h]")) == np.timedelta64(60, "m")


def test_the_fifteen_columns_that_moved_most_are_drawn_and_what_alerts_stands_out():
    rows = [{"column": f"c{i:02}", "what": "values", "effect": i / 100, "alert": i == 19} for i in range(20)]
    rows += [{"column": "y", "what": "prediction", "effect": 1.0, "alert": False}]
    rows += [{"column": "gone", "what": "missing", "effect": 2.0, "alert": True}]
    svg = plot_effects(rows, 0.1)
    drawn = re.findall(r">(prediction of y|c\d\d|gone)</text>", svg)
    assert sorted(drawn) == sorted([*(f"c{i:02}" for i in range(6, 20)), "prediction of y"])
    assert svg.count("#d9721f") == 1
    assert "limit: 0.1" in svg


def test_an_odd_number_of_panels_is_drawn_beside_their_values_in_training():
    observations = Observations(
        STARTS, np.ones(3), {}, 3, {"x": NUMBERS}, {"x": count([1, 2, 3, 4], NUMBERS)}, pd.Series(dtype=float)
    )
    row = {"column": "x", "what": "values", "category": None, "then": 2.5, "alert": True}
    svg = plot_trends([row, row | {"alert": False}, row | {"what": "unseen"}], observations)
    assert svg.count(">x: mean</text>") == 2
    assert svg.count(">x: share that training never held</text>") == 1


def test_the_load_is_drawn_with_the_times_that_were_logged():
    latencies = pd.Series([2.0, 4, 6], [0, 0, 1])
    observations = Observations(STARTS, np.array([5, 7, 0]), {}, 3, {}, {}, latencies)
    periods = summarize_periods(observations)
    assert periods == [
        {"from": "2024-03-01", "answers": 5, "milliseconds_50": 3.0, "milliseconds_95": 3.9},
        {"from": "2024-03-02", "answers": 7, "milliseconds_50": 6.0, "milliseconds_95": 6.0},
        {"from": "2024-03-03", "answers": 0, "milliseconds_50": None, "milliseconds_95": None},
    ]
    quick, slow = (plot_load(pd.DataFrame(periods), STARTS, is_slow) for is_slow in (False, True))
    assert "95 % took at most" in quick
    assert "#d9721f" in slow
    assert "#d9721f" not in quick
    unknown = pd.DataFrame(periods).assign(milliseconds_50=None, milliseconds_95=None)
    assert "took at most" not in plot_load(unknown, STARTS, False)


def test_the_quality_over_time_is_drawn_beside_that_of_the_test_data():
    interval = {"value": 0.7, "low": 0.6, "high": 0.8}
    over_time = [{"at": pd.Timestamp("2024-03-01"), "labels": 100, **interval}]
    svg = plot_quality({"metric": "roc_auc", "then": interval, "alert": True, "over_time": over_time}, STARTS)
    assert "roc_auc with its 95 % interval" in svg
    assert "on the test data" in svg
    assert "#d9721f" in svg
