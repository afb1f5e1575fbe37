"""Which rows are held out: no row, group or later time that a model is judged on was trained on."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.core.holdout import TIME_BLOCKS, drop_unsettled, group_rows, holdout_columns, split_rows
from modelcycle.core.params import Holdout

random = np.random.default_rng(0)


def engines(**roles: str) -> Contract:
    """The contract of a table of machines."""
    types = {"reading": "integer", "machine": "category", "at": "datetime", "heat": "number", "life": "number"}
    usual = {"reading": "key", "machine": "group", "at": "time", "heat": "feature", "life": "target"} | roles
    columns = {name: {"role": usual[name], "type": kind} for name, kind in types.items()}
    return Contract.model_validate({"description": "Engines", "columns": columns})


@pytest.fixture
def table() -> pd.DataFrame:
    """900 readings of 90 machines in 300 days."""
    return pd.DataFrame(
        {
            "reading": range(900),
            "machine": [f"M{i % 90}" for i in range(900)],
            "at": pd.date_range("2024-01-01", periods=900, freq="8h"),
            "heat": random.normal(size=900),
            "life": random.normal(size=900),
        }
    )


def test_by_group_no_machine_is_on_both_sides_also_when_data_grows(table):
    early, _ = split_rows(table[:300], Holdout(by="group"), 0.3, engines())
    train, test = split_rows(table, Holdout(by="group"), 0.3, engines())
    assert len(train) + len(test) == 900
    assert 15 < test["machine"].nunique() < 40
    assert not set(train["machine"]) & set(test["machine"])
    assert not set(early["machine"]) & set(test["machine"])


def test_by_time_the_last_span_is_held_out_and_the_gap_is_in_neither_side(table):
    train, test = split_rows(table, Holdout(by="time", last="30d", gap="10d"), 0.2, engines())
    newest = table["at"].max()
    assert (test["at"] > newest - timedelta(days=30)).all()
    assert len(test) == 90
    assert train["at"].max() == newest - timedelta(days=40)
    assert len(train) == 900 - 120


def test_the_boundary_moves_with_the_data(table):
    boundaries = [split_rows(table[:n], Holdout(by="time"), 0.2, engines())[1]["at"].min() for n in (600, 750, 900)]
    assert boundaries == sorted(set(boundaries))


def test_the_named_columns_decide_whatever_else_the_contract_says(table):
    contract = engines(reading="ignored", machine="feature")
    named = Holdout(columns=["machine"])
    assert holdout_columns(named, contract) == ["machine"]
    _, test = split_rows(table, named, 0.3, contract)
    _, the_same = split_rows(table, named, 0.3, engines())
    assert test.equals(the_same)
    _, by_group = split_rows(table, Holdout(by="group"), 0.3, engines())
    assert test.equals(by_group)


@pytest.mark.parametrize(
    ("holdout", "roles", "complaint"),
    [
        ({"by": "group"}, {"machine": "feature"}, "holdout.by is group, but contract.yaml has no column of this role"),
        ({"by": "time"}, {"at": "feature"}, "holdout.by is time, but contract.yaml has no column of this role"),
        ({"columns": ["engine"]}, {}, "prepare.holdout.columns names engine, which contract.yaml does not"),
    ],
)
def test_what_the_contract_does_not_have_can_t_decide(holdout, roles, complaint):
    with pytest.raises(InputError, match=complaint):
        holdout_columns(Holdout(**holdout), engines(**roles))


def test_rows_whose_label_is_not_final_are_left_out(table):
    assert drop_unsettled(table, timedelta(0), engines()).equals(table)
    settled = drop_unsettled(table, timedelta(days=14), engines())
    assert settled["at"].max() == table["at"].max() - timedelta(days=14)
    with pytest.raises(
        InputError, match=r"prepare\.labels\.after is set, but no column of contract\.yaml has the role"
    ):
        drop_unsettled(table, timedelta(days=14), engines(at="feature"))


def test_groups_and_blocks_of_time_are_what_is_independent(table):
    assert group_rows(table, Holdout(), engines()) is None
    machines = group_rows(table, Holdout(by="group"), engines())
    assert pd.Series(machines).groupby(table["machine"]).nunique().eq(1).all()
    assert set(machines) == set(range(90))
    shuffled = table.sample(frac=1, random_state=0)
    blocks = pd.Series(group_rows(shuffled, Holdout(by="time"), engines()))
    spans = shuffled["at"].reset_index(drop=True).groupby(blocks).agg(["min", "max", "size"]).sort_values("min")
    assert spans["size"].tolist() == [45] * TIME_BLOCKS
    assert (spans["max"].iloc[:-1].to_numpy() < spans["min"].iloc[1:].to_numpy()).all()


def test_equal_times_are_in_the_same_block(table):
    days = table.assign(at=table["at"].dt.floor("40D"))
    blocks = pd.Series(group_rows(days, Holdout(by="time"), engines()))
    assert blocks.groupby(days["at"]).nunique().eq(1).all()
    assert set(blocks) == set(range(blocks.nunique()))
