import numpy as np
import pandas as pd
import pytest

from modelcycle.adopt.choose_holdout import choose_holdout, describe_span, find_units, repeats_in_blocks
from modelcycle.adopt.infer import Wishes, infer_contract
from modelcycle.core.errors import InputError


def make_rows(n: int = 300) -> pd.DataFrame:
    """Make n rows of 30 machines, ten of each, in the order of time."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"order": [f"o{i:04}" for i in range(n)], "machine_id": [f"m{i // 10:02}" for i in range(n)]})
    rows["at"] = pd.date_range("2024-01-01", periods=n, freq="12h").astype("str")
    return rows.assign(heat=random.normal(size=n).round(3), wear=random.normal(size=n).round(3))


def choose(rows: pd.DataFrame, by: str = "", **wishes) -> tuple[dict, str]:
    contract, _ = infer_contract(rows, "t.csv", Wishes("wear", **wishes))
    return choose_holdout(rows, contract, by)


def test_values_that_repeat_in_blocks_are_units_and_keep_their_rows_together():
    holdout, why = choose(make_rows(), time="at")
    assert holdout == {"by": "group"}
    assert why == (
        "held out for testing by group: all rows of some machine_id, since the rows of one are alike; --holdout key: "
        "rows drawn by all inputs together, as if they were independent; --holdout time: the last 30d, as in production"
    )


@pytest.mark.parametrize(
    ("values", "in_blocks"),
    [
        ([i // 10 for i in range(200)], True),
        ([i % 20 for i in range(200)], False),  # in turn: a shop, a weekday
        ([i // 50 for i in range(200)], False),  # four values are a class
        ([i // 2 for i in range(200)], False),  # pairs
    ],
)
def test_blocks_are_of_many_rows_and_there_are_many_of_them(values, in_blocks):
    assert repeats_in_blocks(pd.Series(values)) == in_blocks
    rows = pd.DataFrame({"customer": values, "grade": values})
    assert find_units(rows, list(rows)) == (["customer"] if in_blocks else [])


def test_without_units_the_time_draws_and_without_both_the_key():
    rows = make_rows().drop(columns="machine_id")
    holdout, why = choose(rows, time="at")
    assert holdout == {"by": "time", "last": "30d", "gap": "0d"}
    assert why.startswith("held out for testing by time: the last 30d, as in production; --holdout key: ")
    holdout, why = choose(rows, time="at", by="key")
    assert holdout == {"by": "key", "columns": ["at", "heat"]}
    assert why.endswith("; --holdout time: the last 30d, as in production")
    shuffled = rows.sample(frac=1, random_state=0, ignore_index=True)
    holdout, why = choose(shuffled, key=["order"])
    assert holdout == {"by": "key"}
    assert "rows drawn by order, as if they were independent" in why


def test_rows_that_are_in_the_order_of_one_date_have_it_as_their_time():
    rows = make_rows().drop(columns="machine_id")
    for in_order in (rows, rows[::-1].reset_index(drop=True)):
        assert choose(in_order)[0] == {"by": "time", "last": "30d", "gap": "0d"}
    assert choose(rows.sample(frac=1, random_state=0, ignore_index=True))[0]["by"] == "key"
    assert choose(rows.assign(due=rows["at"]))[0]["by"] == "key"  # which of the two?
    assert choose(rows.assign(at=rows["at"].where(rows.index != 5)))[0]["by"] == "key"  # a time has no gaps
    assert choose(make_rows())[0]["by"] == "group"


def test_few_different_times_draw_nothing():
    rows = make_rows().drop(columns="machine_id").assign(at=[f"2024-01-{i % 19 + 1:02}" for i in range(300)])
    assert choose(rows, time="at")[0]["by"] == "key"
    rows["at"] = [f"2024-01-{i % 20 + 1:02}" for i in range(300)]
    assert choose(rows, time="at")[0]["by"] == "time"


def test_ignoring_a_column_later_moves_no_row():
    """The columns that are hashed are written down where there is no key."""
    rows = make_rows().drop(columns="machine_id").sample(frac=1, random_state=0, ignore_index=True)
    assert choose(rows)[0]["columns"] == ["at", "heat"]


@pytest.mark.parametrize(
    ("by", "needed"), [("group", "--group NAME"), ("time", "needs the column that says when a row happened: --time")]
)
def test_what_a_person_wants_needs_its_column(by, needed):
    with pytest.raises(InputError, match=needed):
        choose(make_rows().drop(columns=["machine_id", "at"]), by=by)


@pytest.mark.parametrize(
    ("span", "text"), [("1s", "1h"), ("0h", "1h"), ("47.5h", "48h"), ("48.1h", "3d"), ("27.2d", "28d"), ("30d", "30d")]
)
def test_a_span_is_rounded_up(span, text):
    assert describe_span(pd.Timedelta(span)) == text
