"""Check the rows against the contract and split them into training and test data."""

from importlib.util import find_spec

import pandas as pd

from modelcycle.core.contract import (
    Contract,
    convert_columns,
    find_violations,
    read_contract,
    read_table,
    require_unique_keys,
    select_rejects,
)
from modelcycle.core.errors import InputError
from modelcycle.core.holdout import drop_unsettled, holdout_columns, split_rows
from modelcycle.core.output import report_line, write_atomically
from modelcycle.core.params import read_params
from modelcycle.core.paths import RAW, REJECTS, TEST, TRAIN


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


def read_ignored(raw: pd.DataFrame, names: list[str], contract: Contract) -> pd.DataFrame:
    """Read those of the named columns that the contract ignores, (n, k): they may still decide about a row's side.

    Raises InputError where the source lacks one.
    """
    ignored = [name for name in names if name in contract.names("ignored")]
    if missing := [name for name in ignored if name not in raw]:
        raise InputError(f"params.yaml: prepare.holdout.columns names {missing[0]}, which the source does not have.")
    return convert_columns(raw, ignored, contract)


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
    valid = valid.join(read_ignored(raw, holdout_columns(params.holdout, contract), contract))
    labelled = valid[valid[contract.target].notna()]
    final = drop_unsettled(labelled, params.labels.after, contract)
    train, test = split_rows(final, params.holdout, params.test_share, contract)
    require_trainable(train, test, contract)
    for path, part in [(TRAIN, train), (TEST, test)]:
        with write_atomically(path) as draft:
            part.to_parquet(draft, index=False)
    if find_spec("modelcycle.versions"):  # the scope exploration has none
        from modelcycle.versions.reference import write_profile

        write_profile(train, contract)
    unlabelled = len(valid) - len(labelled)
    report_line("prepare", f"{len(raw):,} rows, {len(rejects):,} rejected, {unlabelled:,} without a target", REJECTS)
    report_line("", f"{len(train):,} train, {len(test):,} test by {params.holdout.by}", TRAIN.parent)
    if left_out := len(labelled) - len(train) - len(test):
        report_line(
            "",
            f"{left_out:,} left out: {len(labelled) - len(final):,} too young for a final label, the rest in the gap",
        )
