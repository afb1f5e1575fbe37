"""The hold-out set: the rows that no model is trained on, by which it is judged.

Chosen by key or group, a row's side follows from a hash of that alone and never changes as data grows. Chosen by time,
the last span is held out, which moves with the data.
"""

from datetime import timedelta

import numpy as np
import pandas as pd

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.core.params import Holdout

TIME_BLOCKS = 20  # few enough that each is longer than what hangs together in time


def is_test(keys: pd.DataFrame, share: float) -> np.ndarray:
    """Decide for each row whether it belongs to the test data.

    keys: (n, k) the columns that identify a row or group.
    share: wanted share of test rows, between 0 and 1.
    Returns (n,) booleans, a function of each row's own key alone.
    """
    texts = keys.astype("str").astype("object")
    return pd.util.hash_pandas_object(texts, index=False).to_numpy() / 2**64 < share


def holdout_columns(holdout: Holdout, contract: Contract) -> list[str]:
    """List the columns that decide about a row's side. Raises InputError where the contract has none such."""
    names = {"key": contract.identity, "group": contract.names("group"), "time": contract.names("time")}[holdout.by]
    if holdout.columns and holdout.by != "time":
        names = holdout.columns
    if unknown := [name for name in names if name not in contract.columns]:
        raise InputError(f"params.yaml: prepare.holdout.columns names {unknown[0]}, which contract.yaml does not.")
    if not names:
        raise InputError(
            f"params.yaml: prepare.holdout.by is {holdout.by}, but contract.yaml has no column of this role."
        )
    return names


def split_rows(
    rows: pd.DataFrame, holdout: Holdout, share: float, contract: Contract
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split (n, m) rows in the contract's types into training and test rows; those in the gap are in neither.

    share: of the keys or groups that are tested on.
    """
    names = holdout_columns(holdout, contract)
    if holdout.by != "time":
        is_in_test = is_test(rows[names], share)
        return rows[~is_in_test], rows[is_in_test]
    times = rows[names[0]]
    boundary = times.max() - holdout.last
    return rows[times <= boundary - holdout.gap], rows[times > boundary]


def drop_unsettled(rows: pd.DataFrame, after: timedelta, contract: Contract) -> pd.DataFrame:
    """Drop those of (n, m) rows whose label may still change: less than `after` older than the newest row."""
    if not after:
        return rows
    if contract.time is None:
        raise InputError("params.yaml: prepare.labels.after is set, but no column of contract.yaml has the role time.")
    times = rows[contract.time]
    return pd.DataFrame(rows[times <= times.max() - after])


def group_rows(rows: pd.DataFrame, holdout: Holdout, contract: Contract) -> np.ndarray | None:
    """Number what is independent of one another in (n, m) rows, for the bootstrap: (n,) groups or blocks of time.

    None where each row is. Blocks of time have about the same number of rows; equal times are in the same one.
    """
    if holdout.by == "key":
        return None
    names = holdout_columns(holdout, contract)
    if holdout.by == "group":
        return rows.groupby(names, sort=False).ngroup().to_numpy()
    rank = rows[names[0]].rank(method="min").to_numpy() - 1
    return pd.factorize(rank * TIME_BLOCKS // max(1, len(rows)))[0]
