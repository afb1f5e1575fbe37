"""Check the rows against the contract and split them into training and test data.

The side of a row follows from its key alone, so that it never changes as data grows: no model is ever tested on a row
that it was trained on.
"""

from importlib.util import find_spec

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
from modelcycle.core.output import report_line, write_atomically
from modelcycle.core.params import read_params
from modelcycle.core.paths import RAW, REJECTS, TEST, TRAIN


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
    if find_spec("modelcycle.versions"):  # the scope exploration has none
        from modelcycle.versions.reference import write_profile

        write_profile(train, contract)
    unlabelled = len(valid) - len(labelled)
    report_line("prepare", f"{len(raw):,} rows, {len(rejects):,} rejected, {unlabelled:,} without a target", REJECTS)
    report_line("", f"{len(train):,} train, {len(test):,} test", TRAIN.parent)
