from types import SimpleNamespace

import pandas as pd
import pytest

from modelcycle.core import team
from modelcycle.core.contract import Contract, convert_columns
from modelcycle.core.errors import InputError
from modelcycle.core.team import make_features


@pytest.fixture
def ours(monkeypatch):
    """Let a function be the team's make_features."""

    def take(function):
        monkeypatch.setattr(team, "_import_module", lambda name: SimpleNamespace(**{f"make_{name}": function}))

    return take


def test_features_py_sees_what_a_request_brings(ours, contract, rows):
    table = convert_columns(rows, contract.used, contract)
    ours(lambda given, _: given)
    assert list(make_features(table, contract)) == contract.inputs
    assert make_features(table, contract).index.equals(rows.index)


@pytest.mark.parametrize(("column", "role"), [("order", "key"), ("returned", "target")])
def test_features_py_that_reads_another_column_is_told_what_it_gets(ours, contract, rows, column, role):
    ours(lambda given, _: given[[]].assign(peek=given[column]))
    sentence = f"^features.py reads '{column}', which has the role {role} in contract.yaml: no request brings it"
    with pytest.raises(InputError, match=sentence):
        make_features(convert_columns(rows, contract.used, contract), contract)


def test_an_error_of_the_team_s_own_stays_what_it_is(ours, contract, rows):
    def fail(given, _):
        raise KeyError

    for function, error in ((fail, KeyError), (lambda given, _: given["nothing"], KeyError), (len, TypeError)):
        ours(function)
        with pytest.raises(error):
            make_features(convert_columns(rows, contract.used, contract), contract)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_date_gives_the_parts_that_the_contract_names_and_a_missing_one_none(contract, unit):
    parts = ["year", "month", "day_of_year", "weekday", "hour", "age"]
    columns = contract.model_dump()["columns"]
    columns = {"at": columns["at"] | {"parts": []}, "returned": columns["returned"]}
    columns["born"] = {"role": "feature", "type": "datetime", "nullable": True, "parts": parts}
    rows = pd.DataFrame({"at": ["2024-03-02", "2024-03-02"], "born": ["2024-02-29 18:30", None]}).apply(pd.to_datetime)
    rows["born"] = rows["born"].astype(f"datetime64[{unit}]")
    features = make_features(rows, Contract.model_validate({"description": "", "columns": columns}))
    assert list(features) == [f"born:{part}" for part in parts]
    assert (features.dtypes == "float64").all()
    assert features.iloc[0].tolist() == [2024, 2, 60, 3, 18.5, 1 + 5.5 / 24]
    assert features.iloc[1].isna().all()
