import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from modelcycle.core.contract import read_contract
from modelcycle.monitoring.drift import compare_column, mark_alerts
from modelcycle.monitoring.histogram import Histogram
from modelcycle.versions.reference import describe_column, make_profile

LIMITS = {"values": 0.1, "missing": 0.05, "unseen": 0.05}
ALERTS = [("values", 0.001, 0.11), ("values", 0.001, 0.1), ("missing", 0.02, 0.9), ("unseen", 0.5, 0.9)]
random = np.random.default_rng(0)


def numbers(rows: int) -> pd.Series:
    return pd.Series(random.normal(10, 2, rows))


def skewed(rows: int) -> pd.Series:
    return pd.Series(np.where(random.random(rows) < 0.9, 0, random.exponential(3, rows)))


def categories(rows: int) -> pd.Series:
    return pd.Series(random.choice(["a", "b", "c", "d"], rows, p=[0.5, 0.3, 0.15, 0.05]))


def booleans(rows: int) -> pd.Series:
    return pd.Series(random.random(rows) < 0.3, dtype="boolean")


def known(then: dict[str, pd.Series]) -> dict[str, dict]:
    """Describe columns as the profile does."""
    kinds = {name: "number" if pd.api.types.is_float_dtype(values) else "category" for name, values in then.items()}
    return {name: describe_column(values, kinds[name]) for name, values in then.items()}


def found(now: dict[str, pd.Series], profile: dict[str, dict]) -> pd.DataFrame:
    """Compare columns with a profile."""
    rows = []
    for name, values in now.items():
        rows += compare_column(
            name, Histogram.count(values, np.zeros(len(values), int), 1, profile[name]), profile[name]
        )
    return mark_alerts(rows, 0.01, LIMITS)


def alerts(now: pd.Series, then: pd.Series) -> list[str]:
    table = found({"column": now}, known({"column": then}))
    return table.loc[table["alert"], "what"].tolist()


@pytest.mark.parametrize(
    ("make", "change", "expected"),
    [
        (numbers, lambda x: x + 0.5, ["values"]),
        (numbers, lambda x: 10 + (x - 10) * 1.5, ["values"]),  # the same mean
        (numbers, lambda x: x.where(x.index % 10 > 0), ["missing"]),
        (numbers, lambda x: x.where(x.index % 10 > 0, 1e6), ["values", "unseen"]),
        (skewed, lambda x: x * 5, ["values"]),
        (categories, lambda x: x.where(x.index % 4 > 0, "d"), ["values"]),
        (categories, lambda x: x.where(x.index % 10 > 0, "new"), ["values", "unseen"]),
        (categories, lambda x: x.where(x.index % 10 > 0), ["missing"]),
        (booleans, lambda x: x | (x.index % 4 == 0), ["values"]),
        (numbers, lambda x: x * np.nan, ["missing"]),
        (numbers, lambda x: x, []),
        (numbers, lambda x: x + 0.02, []),  # a hundredth of a standard deviation
        (skewed, lambda x: x, []),
        (categories, lambda x: x, []),
        (booleans, lambda x: x, []),
    ],
)
def test_each_kind_of_drift_is_found_and_none_where_there_is_none(make, change, expected):
    assert alerts(change(make(5000)), make(20_000)) == expected


def test_a_fifth_of_a_standard_deviation_in_five_of_twenty_columns_is_found_in_those_five():
    then = {f"number {i}": numbers(20_000) for i in range(20)}
    now = {name: numbers(2000) + 0.4 * (i < 5) for i, name in enumerate(then)}
    table = found(now, known(then))
    assert table.loc[table["alert"], "column"].tolist() == list(then)[:5]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [20, 100, 1000, 5000])
def test_a_steady_stream_stays_quiet(rows):
    """Random halves of the training rows: of 50 draws with 12 columns each, at most 2 may alert at a chance of 1 %."""
    then = {f"{make.__name__} {i}": make(10_000) for make in (numbers, skewed, categories, booleans) for i in range(3)}
    profile, halves = known(then), [random.permutation(10_000)[:5000][:rows] for _ in range(50)]
    wrong = [
        found({name: values.iloc[half] for name, values in then.items()}, profile)["alert"].any() for half in halves
    ]
    assert sum(wrong) <= 2


def test_halves_of_the_real_training_rows_stay_quiet_against_all_and_against_each_other(reproduced, monkeypatch):
    monkeypatch.chdir(reproduced.path)
    contract, train = read_contract(), pd.read_parquet("data/train.parquet")
    profile = json.loads(Path("data/profile.json").read_text(encoding="utf-8"))
    for seed in range(4):
        half = train.sample(frac=0.5, random_state=seed)
        columns = {name: half[name] for name in contract.names("feature")}
        for then in (profile, make_profile(train.drop(index=half.index), contract)):
            table = found(columns, then)
            assert len(table) > 3 * 11
            assert not table["alert"].any(), table[table["alert"]]


def test_the_largest_effects_of_a_few_rows_are_no_alert():
    table = found({"column": numbers(12)}, known({"column": numbers(10_000)}))
    assert table.loc[0, "effect"] > 0.1
    assert not table["alert"].any()


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (numbers, 1.1),
        (skewed, 2.2),  # nine in ten are 0, and have moved within the first bin
    ],
)
def test_the_profile_is_enough_for_the_statistics_that_all_values_give(make, most):
    then, now = make(20_000), make(3000) + 0.3
    ours = found({"column": now}, known({"column": then})).loc[0]
    assert ours["statistic"] == pytest.approx(stats.ks_2samp(now, then).statistic, abs=0.01)
    assert ours["statistic"] <= stats.ks_2samp(now, then).statistic + 1e-9
    assert 0.95 < ours["effect"] / (stats.wasserstein_distance(now, then) / then.std()) < most


def test_numbers_are_tested_as_by_scipy_where_the_profile_holds_every_value():
    then = pd.Series([*range(1, 61), *[None] * 20], dtype=float)
    now = pd.Series([*range(11, 61), -3, -1, 70, 75, 90], dtype=float)
    known_then = then.dropna()
    row = found({"column": now}, known({"column": then})).loc[0]
    expected = stats.ks_2samp(now, known_then, method="asymp")
    assert row["statistic"] == pytest.approx(expected.statistic)
    assert row["p"] == pytest.approx(stats.kstwo.sf(expected.statistic, round(55 * 60 / 115)))
    assert row["effect"] == pytest.approx(stats.wasserstein_distance(now, known_then) / known_then.std(ddof=0))
    assert (row["then"], row["now"]) == pytest.approx((known_then.mean(), now.mean()))


def test_categories_are_tested_by_their_counts_less_what_chance_adds():
    then = pd.Series([*"a" * 60, *"b" * 30, *"c" * 8, "d", "e", *[None] * 25])
    now = pd.Series([*"a" * 19, *"b" * 20, *"c" * 7, "d", *"zzz"])
    row = found({"column": now}, known({"column": then})).loc[0]
    # Of c 5 are expected now, of all the rest less.
    test = stats.chi2_contingency([[60, 30, 8, 2], [19, 20, 7, 4]], correction=False)
    assert (row["statistic"], row["p"]) == pytest.approx((test.statistic, test.pvalue))
    p, q = np.array([60, 30, 8, 1, 1, 0]) / 100, np.array([19, 20, 7, 1, 0, 3]) / 50
    divergence = stats.entropy(p, (p + q) / 2, base=2) / 2 + stats.entropy(q, (p + q) / 2, base=2) / 2
    by_chance = 3 * (1 / 50 + 1 / 100) / (8 * np.log(2))
    assert row["effect"] == pytest.approx(np.sqrt(divergence - by_chance))
    assert (row["category"], row["then"], row["now"]) == ("a", 0.6, 0.38)


def test_a_category_that_was_never_there_may_have_changed_most():
    row = found({"column": pd.Series([*"a" * 10, *"z" * 10])}, known({"column": pd.Series(["a", "b"] * 50)})).loc[0]
    assert (row["category"], row["then"], row["now"]) == ("b", 0.5, 0.0)
    row = found({"column": pd.Series([*"ab" * 10, *"z" * 40])}, known({"column": pd.Series(["a", "b"] * 50)})).loc[0]
    assert (row["category"], row["then"], row["now"]) == ("", 0.0, pytest.approx(2 / 3))


def test_shares_of_what_is_missing_or_new_are_tested_exactly():
    then = pd.Series([*range(80), *[None] * 20], dtype=float)
    now = pd.Series([*range(20), 100, 101, *[None] * 3], dtype=float)
    _, missing, unseen = found({"column": now}, known({"column": then})).to_dict("records")
    assert (missing["what"], unseen["what"]) == ("missing", "unseen")
    assert (missing["then"], missing["now"], missing["statistic"]) == pytest.approx((0.2, 0.12, -0.08))
    assert missing["effect"] == pytest.approx(0.08)
    assert missing["p"] == pytest.approx(stats.fisher_exact([[3, 22], [20, 80]]).pvalue)
    assert (unseen["then"], unseen["now"]) == pytest.approx((0, 2 / 22))
    assert unseen["p"] == pytest.approx(stats.fisher_exact([[2, 20], [0, 80]]).pvalue)


def test_an_alert_takes_both_a_small_p_and_a_large_effect():
    rows = [{"what": what, "p": p, "effect": effect} for what, p, effect in ALERTS]
    table = mark_alerts(rows, 0.01, LIMITS)
    assert table["p_adjusted"].tolist() == stats.false_discovery_control([0.001, 0.001, 0.02, 0.5]).tolist()
    assert table["limit"].tolist() == [0.1, 0.1, 0.05, 0.05]
    assert table["alert"].tolist() == [True, False, False, False]


def test_a_constant_column_is_compared_in_its_own_unit():
    constant = pd.Series(np.full(1000, 7.0))
    assert alerts(constant, constant) == []
    assert alerts(constant + 1, constant) == ["values", "unseen"]


def test_chunks_add_up():
    profile, values, periods = describe_column(numbers(1000), "number"), numbers(900), np.arange(900) % 3
    whole = Histogram.count(values, periods, 3, profile)
    first, second = (Histogram.count(values[part], periods[part], 3, profile) for part in (slice(400), slice(400, 900)))
    for name, counts in vars(first + second).items():
        assert counts == pytest.approx(getattr(whole, name)), name
    assert whole.rows.sum() == 900
    assert whole.sums.sum() == pytest.approx(values.sum())


@pytest.mark.parametrize("rows", [5000, 200_000])
def test_the_effect_on_many_categories_does_not_depend_on_how_many_rows_there_are(rows):
    chance, steady = np.random.default_rng(0), np.linspace(1, 2, 300)
    moved = steady * np.where(np.arange(300) % 2, 1.2, 0.8)
    then, same, now = (
        pd.Series(chance.choice(300, many, p=weights / weights.sum())).astype(str)
        for many, weights in ((200_000, steady), (rows, steady), (rows, moved))
    )
    effects = [found({"column": values}, known({"column": then})).loc[0, "effect"] for values in (same, now)]
    assert effects == pytest.approx([0, 0.085], abs=0.025)
