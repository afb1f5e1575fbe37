"""A rule of the gate: features.py makes the features of a row from that row alone, whichever rows come with it."""

import numpy as np
import pandas as pd

from modelcycle.core.contract import Contract
from modelcycle.core.errors import first_line
from modelcycle.core.team import make_features
from modelcycle.versions.registry import Verdict

N_ROWS, BATCH = 500, 8
TOLERANCE = 1e-9  # relative: numpy may round the last digit of a long column in another way than of a short one


def judge_row_wise(rows: pd.DataFrame, contract: Contract) -> Verdict:
    """Judge whether 500 of (n, m) rows have the same features in the whole table, in batches of 8 and alone.

    Training sees a whole table, the service a row or a few: where they differ, the test says nothing about the use.
    """
    whole = make_features(rows, contract)
    chosen = rows.sample(min(N_ROWS, len(rows)), random_state=0)  # in another order than in the table
    difference = ""
    for size, company in ((BATCH, f"in batches of {BATCH}"), (1, "alone")):
        difference = difference or find_difference(chosen, size, company, whole, contract)
    return Verdict(
        "features row by row",
        not difference,
        difference or f"{len(chosen)} rows have the same in any company",
        "the same alone as in the whole table",
        "make_features looks at rows beside the one that is asked for, which the service does not have. What has to be "
        "learned from training data, such as means by group or ranks, belongs in model.py as a transformer.",
    )


def find_difference(rows: pd.DataFrame, size: int, company: str, whole: pd.DataFrame, contract: Contract) -> str:
    """Say where the features of (n, m) rows, made for so many at a time, are not those of the whole table; or nothing.

    company: how to call it.
    """
    try:
        parts = [make_features(rows.iloc[i : i + size], contract) for i in range(0, len(rows), size)]
    except Exception as error:  # the team's own, whatever it is
        return f"make_features fails for rows {company}: {type(error).__name__}: {first_line(error)}"
    other = next((list(part) for part in parts if list(part) != list(whole)), None)
    if other is not None:
        names = sorted({*map(str, other)} ^ {*map(str, whole)}) or ["in another order"]
        return f"rows {company} have other columns: {', '.join(names)}"
    made, expected = pd.concat(parts), whole.loc[rows.index]
    for name in whole:
        is_same = compare_columns(made[name], expected[name])
        if not is_same.all():
            return f"{name} differs in {np.count_nonzero(~is_same)} of {len(rows)} rows {company}"
    return ""


def compare_columns(made: pd.Series, expected: pd.Series) -> np.ndarray:
    """Say for each of (n,) values whether it is as expected; numbers within the tolerance."""
    if pd.api.types.is_numeric_dtype(made) and pd.api.types.is_numeric_dtype(expected):
        left, right = (column.to_numpy(float, na_value=np.nan) for column in (made, expected))
        return np.asarray(np.isclose(left, right, rtol=TOLERANCE, atol=0, equal_nan=True))
    both_missing = made.isna().to_numpy(bool) & expected.isna().to_numpy(bool)
    return np.asarray(both_missing | (made.to_numpy(object) == expected.to_numpy(object)), dtype=bool)
