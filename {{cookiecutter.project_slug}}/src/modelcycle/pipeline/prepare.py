"""Check the rows against the contract and split them into training and test data.

The side of a row follows from its key alone, so that it never changes as data grows: no model is ever tested on a row
that it was trained on.
"""

import json
from typing import Any

import numpy as np
import pandas as pd

from modelcycle.core.contract import (
    Contract,
    find_violations,
    read_contract,
    read_table,
    require_unique_keys,
    select_rejects,
)
from modelcycle.core.errors import InputError
from modelcycle.core.output import report_line, write_atomically, write_text
from modelcycle.core.params import read_params
from modelcycle.core.paths import PROFILE, RAW, REJECTS, TEST, TRAIN

QUANTILES = np.r_[0:1:101j, 0.001, 0.002, 0.005, 0.995, 0.998, 0.999]  # closer at the ends, where values are far apart


def is_test(keys: pd.DataFrame, share: float) -> np.ndarray:
    """Decide for each row whether it belongs to the test data.

    keys: (n, k) the columns that identify a row.
    share: wanted share of test rows, between 0 and 1.
    Returns (n,) booleans, a function of each row's own key alone.
    """
    texts = keys.astype("str").astype("object")
    return pd.util.hash_pandas_object(texts, index=False).to_numpy() / 2**64 < share


def summarize_violations(violations: pd.DataFrame, n_rows: int) -> str:
    """Summarize which column breaks which rule, how often, with three examples: the most frequent first."""
    lines = []
    groups = violations.groupby(["column", "rule"])["found"]
    for (column, rule), values in sorted(groups, key=lambda group: -len(group[1])):
        examples = ", ".join(values.dropna().drop_duplicates().head(3))
        line = f"{column} {rule} in {len(values):,} of {n_rows:,} rows"
        lines.append(f"{line}, e.g. {examples}" if examples else line)
    return "; ".join(lines[:3]) + (f"; {len(lines) - 3} more" if len(lines) > 3 else "")


def require_trainable(train: pd.DataFrame, test: pd.DataFrame, contract: Contract) -> None:
    """Raise InputError when there is nothing to learn from or nothing to test on."""
    target = contract.target
    for name, part in [("training", train), ("test", test)]:
        if len(part) < 2:
            raise InputError(f"{RAW} leaves {len(part)} {name} rows; expected at least 2 with a known '{target}'.")
    classes = train[target].unique()
    if len(classes) < 2:
        kind = "classes" if contract.is_classification else "values"
        raise InputError(f"{RAW}: the target '{target}' is always {classes[0]}; expected at least two {kind}.")


def describe_column(values: pd.Series, kind: str) -> dict[str, Any]:
    """Describe (n,) values of one of the contract's types, as the reference for later drift tests.

    Numbers by mean, standard deviation, median and quantiles: `edges` are values that occur, from the minimum to the
    maximum, `shares` the shares of values above the previous edge and up to each one. Categories and booleans by the
    share of each value, datetimes by their median.
    """
    present = values.dropna()
    description: dict[str, Any] = {"rows": len(values), "missing_share": round(float(values.isna().mean()), 6)}
    if kind in ("number", "integer") and len(present):
        numbers = present.to_numpy(float)
        edges = np.unique(np.quantile(numbers, QUANTILES, method="inverted_cdf"))
        description |= {"mean": float(numbers.mean()), "std": float(numbers.std()), "median": float(np.median(numbers))}
        description["edges"] = edges.tolist()
        description["shares"] = (np.bincount(np.searchsorted(edges, numbers)) / len(numbers)).tolist()
    elif kind == "datetime" and len(present):  # the median day at the median time of day
        days = present.dt.normalize()
        median = days.quantile(0.5, "lower") + (present - days).quantile(0.5, "lower")
        description["median"] = median.isoformat(timespec="minutes")
    elif kind in ("boolean", "category"):
        shares = present.astype("str").value_counts(normalize=True).sort_index()
        description["shares"] = {str(value): float(share) for value, share in shares.items()}
    return description


def make_profile(rows: pd.DataFrame, contract: Contract) -> dict[str, Any]:
    """Describe (n, k) training rows column by column: the inputs and the target."""
    names = [*contract.inputs, contract.target]
    return {name: describe_column(rows[name], contract.columns[name].type) for name in names}


def prepare() -> None:
    """Check data/raw.parquet, write the rejects, split the rest and describe the training data."""
    contract, params = read_contract(), read_params().prepare
    raw = read_table(RAW, "ingest", contract)
    typed, violations = find_violations(raw, contract)
    rejects = select_rejects(raw, violations)
    with write_atomically(REJECTS) as draft:
        rejects.to_csv(draft, index_label="row")
    if len(rejects) > params.max_rejected * len(raw):
        raise InputError(
            f"{RAW}: {len(rejects):,} of {len(raw):,} rows ({len(rejects) / len(raw):.1%}) break contract.yaml, "
            f"prepare.max_rejected in params.yaml allows {params.max_rejected:.1%}. "
            f"{summarize_violations(violations, len(raw))}. All of them: {REJECTS}."
        )
    valid = typed.drop(index=rejects.index)
    require_unique_keys(valid, contract)
    labelled = valid[valid[contract.target].notna()]
    is_in_test = is_test(labelled[contract.identity], params.test_share)
    train, test = labelled[~is_in_test], labelled[is_in_test]
    require_trainable(train, test, contract)
    for path, part in [(TRAIN, train), (TEST, test)]:
        with write_atomically(path) as draft:
            part.to_parquet(draft, index=False)
    write_text(PROFILE, json.dumps(make_profile(train, contract), indent=1, ensure_ascii=False) + "\n")
    unlabelled = len(valid) - len(labelled)
    report_line("prepare", f"{len(raw):,} rows, {len(rejects):,} rejected, {unlabelled:,} without a target", REJECTS)
    report_line("", f"{len(train):,} train, {len(test):,} test", TRAIN.parent)
