"""The contract and the project's own rows: what contract.yaml demands of each, and which side of the split it is on."""

from modelcycle.core.contract import find_violations
from modelcycle.core.holdout import is_test


def test_nearly_every_row_keeps_the_contract(real, sample):
    broken = find_violations(sample, real.contract)[1]
    assert broken["index"].nunique() <= 0.05 * len(sample), broken.groupby(["column", "rule"]).size().to_string()


def test_a_row_that_breaks_the_contract_is_named_with_column_and_rule(real, sample):
    target = real.contract.names("feature")[0]
    column, rows = real.contract.columns[target], sample.head(20).astype("object").copy()
    rows.iloc[3, rows.columns.get_loc(target)] = None if not column.nullable else "no such value"
    broken = find_violations(rows, real.contract)[1]
    found = broken.loc[broken["index"] == rows.index[3], "column"].tolist()
    assert target in found or (column.nullable and column.type == "category" and not column.values)


def test_a_row_keeps_its_side_of_the_split_when_data_grows(real):
    rows = real.train[real.contract.identity]
    assert (is_test(rows, 0.2)[: len(rows) // 2] == is_test(rows.head(len(rows) // 2), 0.2)).all()
    shuffled = rows.sample(frac=1, random_state=0)
    assert (is_test(shuffled, 0.2) == is_test(rows, 0.2)[rows.index.get_indexer(shuffled.index)]).all()
