import json

import pandas as pd
import pytest

from modelcycle.core.contract import find_violations
from modelcycle.core.errors import InputError
from modelcycle.core.holdout import is_test
from modelcycle.pipeline.prepare import require_trainable, summarize_violations
from modelcycle.versions.reference import describe_column, make_profile


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


def test_the_most_frequent_violations_come_first_and_the_rest_is_counted(rows, contract):
    rows.loc[:1, "price"] = "free"
    rows.loc[:2, "shop"] = None
    rows.loc[:4, "gift"] = "perhaps"
    rows.loc[0, "at"] = "soon"
    rows.loc[:1, "order"] = "1.5"
    _, broken = find_violations(rows, contract)
    assert summarize_violations(broken, 60) == (
        "gift is no boolean in 5 of 60 rows, e.g. perhaps; shop is missing in 3 of 60 rows; "
        "order is no integer in 2 of 60 rows, e.g. 1.5; 2 more"
    )


def test_two_rows_are_the_least_on_each_side_and_a_target_has_two_values(rows, contract):
    typed, _ = find_violations(rows, contract)
    require_trainable(typed[:2], typed[2:4], contract)
    with pytest.raises(InputError, match=r"leaves 1 training rows; expected at least 2 with a known 'returned'"):
        require_trainable(typed[:1], typed, contract)
    amounts = contract.model_copy(deep=True)
    amounts.columns["returned"].type = "number"
    with pytest.raises(InputError, match=r"the target 'returned' is always 7\.0; expected at least two values\."):
        require_trainable(typed.assign(returned=7.0), typed, amounts)


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


def test_numbers_are_described_by_values_that_occur_and_the_share_up_to_each():
    described = describe_column(pd.Series([3.0, 1, 1, 2, None]), "number")
    assert (described["rows"], described["missing_share"]) == (5, 0.2)
    assert (described["mean"], described["median"]) == (1.75, 1.5)
    assert described["std"] == pytest.approx(0.829156)
    assert (described["edges"], described["shares"]) == ([1, 2, 3], [0.5, 0.25, 0.25])
    many = describe_column(pd.Series(range(10_000)), "integer")
    assert (many["edges"][0], many["edges"][-1], len(many["edges"])) == (0, 9999, 107)
    assert sum(many["shares"]) == pytest.approx(1)


def test_a_column_without_values_is_described_by_what_is_missing():
    for kind in ("number", "boolean", "datetime"):
        described = describe_column(pd.Series([None, None], dtype="object"), kind)
        assert (described["rows"], described["missing_share"]) == (2, 1)
        assert not described.get("shares")


def test_the_sides_are_written_with_the_profile_of_the_training_rows(reproduced, monkeypatch):
    monkeypatch.chdir(reproduced.path)
    raw, train, test = (pd.read_parquet(f"data/{name}.parquet") for name in ("raw", "train", "test"))
    assert len(train) + len(test) == raw["late"].notna().sum()  # no row of the example is rejected
    assert is_test(test[["flight_id"]], 0.2).all()
    assert not is_test(train[["flight_id"]], 0.2).any()
    profile = json.loads(reproduced.read("data/profile.json"))
    assert profile["temperature"] == describe_column(train["temperature"], "number")
    assert reproduced.read("data/rejects.csv").splitlines()[0].startswith("row,reason,flight_id,")
