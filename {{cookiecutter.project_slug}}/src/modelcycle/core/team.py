"""The team's own code, src/<package>/, found by the entry [tool.modelcycle] of pyproject.toml."""

import importlib
from functools import cache
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.core.project import read_project


def make_features(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Turn (n, m) rows into features (n, k), by the team's features.py, which sees of them what a request brings.

    Raises InputError where it reads another column of the contract.
    """
    try:
        features: pd.DataFrame = _import_module("features").make_features(rows[contract.inputs], contract)
    except KeyError as error:
        name = str(error.args[0]) if error.args else ""
        if name not in contract.columns:
            raise
        raise InputError(
            f"features.py reads '{name}', which has the role {contract.columns[name].role} in contract.yaml: no "
            "request brings it. features.py gets the columns with the roles feature and time."
        ) from error
    return features


def make_model(estimator: Any, features: pd.DataFrame) -> Pipeline:
    """Put the encoding that an estimator needs for (n, k) features in front of it, by the team's model.py."""
    return _import_module("model").make_model(estimator, features)


@cache  # the gate asks for a row at a time
def _import_module(name: str) -> Any:
    return importlib.import_module(f"{read_project().package}.{name}")
