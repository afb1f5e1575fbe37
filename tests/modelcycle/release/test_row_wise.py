"""Features that look at other rows are found, in whichever way, and the column is named."""

import numpy as np
import pandas as pd
import pytest

from modelcycle.core import team
from modelcycle.core.contract import convert_columns
from modelcycle.release import row_wise
from modelcycle.release.row_wise import judge_row_wise


@pytest.fixture
def table(contract, rows):
    """1,200 orders in the contract's types."""
    many = pd.concat([rows] * 20, ignore_index=True)
    many["order"] = range(len(many))
    return convert_columns(many, contract.used, contract)


def price_by_shop(rows, features):
    return features.assign(mean=rows["price"].astype(float).groupby(rows["shop"]).transform("mean"))


def judge(monkeypatch, table, contract, change):
    monkeypatch.setattr(row_wise, "make_features", lambda rows, _: change(rows, team.make_features(rows, contract)))
    return judge_row_wise(table, contract)


def test_the_template_s_own_features_pass(monkeypatch, table, contract):
    monkeypatch.setattr(row_wise, "N_ROWS", 500)
    verdict = judge_row_wise(table, contract)
    assert (verdict.passed, verdict.found) == (True, "500 rows have the same in any company")
    assert judge_row_wise(table.head(3), contract).found == "3 rows have the same in any company"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (price_by_shop, r"mean differs in \d+ of 100 rows in batches of 8"),
        (lambda _, made: made.assign(rank=made["price"].rank()), r"rank differs in \d+ of 100 rows in batches of 8"),
        (lambda _, made: made.assign(before=made["price"].shift()), r"before differs in \d+ of 100 rows in batches"),
        (lambda _, made: made.assign(number=range(len(made))), r"number differs in \d+ of 100 rows in batches of 8"),
        (lambda _, made: made.assign(n=float(len(made))), r"n differs in 100 of 100 rows in batches of 8"),
        (
            lambda _, made: pd.get_dummies(made, columns=["shop"]),
            r"rows alone have other columns: shop_(Köln|NO)|rows in batches of 8 have other columns: shop_(Köln|NO)",
        ),
        (
            lambda _, made: made[sorted(made, reverse=len(made) < 9)],
            "rows in batches of 8 have other columns: in another",
        ),
        (
            lambda _, made: made.assign(mixed=made["shop"] if len(made) > 1 else "alone"),
            "mixed differs in 100 of 100 rows alone",
        ),
        (
            lambda _, made: made.assign(fill=made["price"].fillna(made["price"].mean() if len(made) > 1 else np.nan)),
            r"fill differs in \d+ of 100 rows",
        ),
    ],
    ids=["mean by group", "rank", "row before", "row number", "rows", "dummies", "order", "text", "filled by the mean"],
)
def test_a_feature_that_looks_at_other_rows_is_named(monkeypatch, table, contract, change, found):
    monkeypatch.setattr(row_wise, "N_ROWS", 100)
    table.loc[::7, "price"] = np.nan
    verdict = judge(monkeypatch, table, contract, change)
    assert not verdict.passed
    assert pd.Series([verdict.found]).str.fullmatch(f"({found}).*").all(), verdict.found
    assert "belongs in model.py as a transformer" in verdict.meaning


def test_features_that_fail_for_a_row_alone_are_told(monkeypatch, table, contract):
    def change(rows, made):
        return made.assign(bin=pd.qcut(made["order"], 4, labels=False) if len(made) == 1 else 0)

    verdict = judge(monkeypatch, table, contract, change)
    assert not verdict.passed
    assert verdict.found == "make_features fails for rows alone: KeyError: 'order'"


@pytest.mark.slow
def test_the_last_digit_of_a_number_may_differ(monkeypatch, table, contract):
    def change(rows, made):
        return made.assign(price=made["price"] * (1 + 1e-15 * len(made)))

    assert judge(monkeypatch, table, contract, change).passed
