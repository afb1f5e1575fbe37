import numpy as np
import pandas as pd
import pytest

from modelcycle.core.contract import Column, Contract
from modelcycle.core.leaks import find_leaks

KINDS = {"b": "boolean", "M": "datetime", "i": "number", "f": "number"}


def make_contract(rows, **roles):
    columns = {}
    for name in rows:
        kind = KINDS.get(rows[name].dtype.kind, "category")
        role = roles.get(name, "target" if name == "y" else "feature")
        columns[name] = Column(role=role, type=kind, nullable=role != "time")
    return Contract(description="", columns=columns)


def plant(rule, seed, n=1500):
    """Make a table of noise in which some columns give `y` away, and name them."""
    random = np.random.default_rng(seed)
    amounts = {name: random.gamma(2, size, n) for name, size in [("p", 20), ("q", 30), ("r", 10)]}
    flags = {name: random.random(n) < 0.2 for name in ("f", "g", "h")}
    at = pd.Timestamp(2025, 1, 1) + pd.to_timedelta(random.integers(0, 500_000, n), unit="min")
    rows = pd.DataFrame(
        amounts | flags | {"at": at, "noise": random.normal(size=n), "shop": random.choice([*"abc"], n)}
    )
    rows["closed"] = at + pd.to_timedelta(random.normal(2, 3, n), unit="D")
    y, names = rule(rows, random)
    return rows[random.permutation(rows.columns)].assign(y=y.to_numpy()), names


def correct_some(y, random):
    return y.where(random.random(len(y)) > 0.05, y * random.uniform(0, 3, len(y)))


RULES = {
    "sum": lambda t, _: (t["p"] + t["q"], "pq"),
    "sum, one row in twenty corrected": lambda t, random: (correct_some(t["p"] + t["q"], random), "pq"),
    "sum of three, rounded": lambda t, _: ((t["p"] + t["q"] + t["r"]).round(), "pqr"),
    "difference": lambda t, _: (t["q"] - t["p"], "pq"),
    "product in cents": lambda t, _: ((t["p"] * t["q"]).round(2), "pq"),
    "ratio": lambda t, _: (t["p"] / t["q"] ** 2, "pq"),
    "duration": lambda t, _: ((t["closed"] - t["at"]) / pd.Timedelta(hours=1), ("at", "closed")),
    "or": lambda t, _: (t["f"] | t["g"], "fg"),
    "or of three": lambda t, _: (t["f"] | t["g"] | t["h"], "fgh"),
    "and": lambda t, _: ((t["p"] > 25) & ~t["g"], "pg"),
    "late": lambda t, _: (t["closed"] > t["at"] + pd.Timedelta(days=1), ("at", "closed")),
    "limit on a ratio": lambda t, _: (t["p"] / t["q"] > 0.7, "pq"),
    "classes by a sum": lambda t, _: (pd.cut(t["p"] + t["q"], [-1, 60, 110, 1e9], labels=[*"abc"]).astype(str), "pq"),
}


@pytest.mark.parametrize("rule", RULES)
def test_columns_that_give_the_target_away_together_are_named(rule, seed):
    rows, names = plant(RULES[rule], seed)
    (leak,) = [leak for leak in find_leaks(rows, make_contract(rows)) if leak.blocks]
    assert set(leak.columns) == set(names), f"seed {seed}"


@pytest.fixture
def seed():
    """Draw a seed; a failure says which."""
    return int(np.random.default_rng().integers(1_000_000))


def test_copies_with_noise_and_with_errors_are_named(seed):
    random = np.random.default_rng(seed)
    rows, _ = plant(lambda t, random: (t["p"] + random.normal(0, 30, len(t)), ()), seed)
    rows["copy"] = rows["y"] * 1.8 + random.normal(0, 0.01 * 1.8 * rows["y"].std(), len(rows))
    assert [leak.columns for leak in find_leaks(rows, make_contract(rows)) if leak.blocks] == [("copy",)], seed
    rows["y"] = random.choice([*"abc"], len(rows))
    rows["copy"] = rows["y"].where(random.random(len(rows)) > 0.01, "a")
    assert [leak.columns for leak in find_leaks(rows, make_contract(rows)) if leak.blocks] == [("copy",)], seed


def test_the_rule_is_written_as_people_write_it():
    rules = {
        rule: find_leaks(rows, make_contract(rows))[0].rule
        for rule in ("difference", "product in cents", "ratio")
        for rows, _ in [plant(RULES[rule], 0)]
    }
    assert rules["difference"] == "q - p"
    assert sorted(rules["product in cents"].split(" * ")) == ["p", "q"]
    assert rules["ratio"] == "p / q^2"


def test_excellent_honest_data_is_told_and_not_blocked():
    """Classes that lie apart are told by every column, and amounts with 1 % of noise by none."""
    random = np.random.default_rng(0)
    y = random.choice([*"abc"], 600)
    centres = dict(zip("abc", random.normal(size=(3, 12)) * 1.5, strict=True))
    rows = pd.DataFrame(np.array([centres[c] for c in y]) + random.normal(size=(600, 12))).rename(columns=str)
    (leak,) = find_leaks(rows.assign(y=y), make_contract(rows.assign(y=y)))
    assert not leak.blocks
    assert leak.rule.startswith("nearly perfect, roc_auc 0.99")
    score = rows["0"] + rows["1"]
    amount = score + random.normal(0, 0.1 * score.std(), 600)
    assert find_leaks(rows.assign(y=amount), make_contract(rows.assign(y=amount))) == []


def test_what_is_later_than_the_row_or_called_like_an_outcome_is_told():
    rows, _ = plant(lambda t, random: (t["p"] + random.normal(0, 30, len(t)), ()), 0)
    rows["ended"] = rows["at"] + pd.Timedelta(days=3)
    rows["refund_amount"] = rows.pop("r")
    leaks = find_leaks(rows, make_contract(rows, at="time"))
    assert {leak.columns[0]: leak.blocks for leak in leaks} == dict.fromkeys(
        ["closed", "ended", "refund_amount"], False
    )
    assert "ended (later than at in 100% of the rows)" in map(str, leaks)


@pytest.mark.parametrize("n", [0, 5, 19])
def test_few_rows_are_too_few_to_tell(n):
    rows, _ = plant(RULES["sum"], 0)
    assert [leak for leak in find_leaks(rows.head(n), make_contract(rows)) if leak.blocks] == []


@pytest.mark.parametrize("kind", ["boolean", "category", "number"])
def test_a_leak_is_what_tells_the_target_nearly_without_fault(kind):
    random = np.random.default_rng(0)
    codes = pd.Series(random.integers(0, 2 if kind == "boolean" else 3, 600))
    target = {"boolean": codes.astype(bool), "category": codes.map({0: "a", 1: "b", 2: "c"}), "number": codes * 1.5}[
        kind
    ]
    rows = pd.DataFrame({"y": target, "copy": -codes, "noisy": codes.where(random.random(600) > 0.1, 1 - codes)})
    columns = {name: Column(role="feature", type="number") for name in ("copy", "noisy")}
    contract = Contract(description="", columns=columns | {"y": Column(role="target", type=kind, nullable=True)})
    assert [leak.columns for leak in find_leaks(rows, contract)] == [("copy",)]
    rows["y"] = rows["y"].astype(object).where(rows.index % 2 == 0, None)
    # The rows without a target do not count.
    assert [leak.columns for leak in find_leaks(rows, contract) if leak.blocks] == [("copy",)]
    assert find_leaks(rows.head(10), contract) == []  # five known are too few to tell
