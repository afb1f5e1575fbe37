import pandas as pd
import pytest

from modelcycle.core.contract import find_violations
from modelcycle.core.errors import InputError
from modelcycle.pipeline.prepare import describe_column, is_test, make_profile, require_trainable, summarize_violations


def test_a_row_keeps_its_side_when_data_grows(rows):
    keys = rows[["order"]]
    assert (is_test(keys, 0.2)[:30] == is_test(keys[:30], 0.2)).all()
    assert (is_test(keys.sample(frac=1, random_state=0).sort_index(), 0.2) == is_test(keys, 0.2)).all()


def test_the_split_stays_the_same_for_ever():
    # If this fails, a library hashes in a new way: champions would be tested on rows that they have learned.
    keys = pd.DataFrame({"order": pd.array(range(12), dtype="Int64"), "shop": ["Köln", "NO"] * 6})
    assert is_test(keys, 0.5).nonzero()[0].tolist() == [0, 5, 6, 9, 11]


def test_the_share_of_test_rows_is_the_one_that_was_asked_for():
    assert is_test(pd.DataFrame({"key": range(20_000)}), 0.2).mean() == pytest.approx(0.2, abs=0.01)


def test_a_target_with_one_value_is_refused(rows, contract):
    typed, _ = find_violations(rows.assign(returned="yes"), contract)
    with pytest.raises(InputError, match="the target 'returned' is always True"):
        require_trainable(typed[:40], typed[40:], contract)
    with pytest.raises(InputError, match="leaves 0 test rows"):
        require_trainable(typed, typed[:0], contract)


def test_rejects_are_reported_with_column_rule_count_and_three_examples(rows, contract):
    rows.loc[:4, "price"] = ["101", "102", "103", "104", "105"]
    _, broken = find_violations(rows, contract)
    assert summarize_violations(broken, 60) == "price is above 100 EUR in 5 of 60 rows, e.g. 101.0, 102.0, 103.0"


def test_the_profile_describes_numbers_and_shares(rows, contract):
    typed, _ = find_violations(rows, contract)
    described = make_profile(typed, contract)
    assert described["price"]["mean"] == pytest.approx(30.0)
    assert sum(described["price"]["shares"]) == pytest.approx(1)
    assert described["shop"]["shares"] == pytest.approx({"Köln": 1 / 3, "NO": 2 / 3})
    assert described["returned"]["missing_share"] == 0


def test_the_usual_time_is_the_middle_day_at_the_middle_time_of_day():
    times = pd.Series(pd.to_datetime(["2024-03-01 23:00", "2024-03-09 08:00", "2024-03-05 09:30:40"], format="mixed"))
    assert describe_column(times, "datetime")["median"] == "2024-03-05T09:30"
    assert "median" not in describe_column(times[:0], "datetime")
