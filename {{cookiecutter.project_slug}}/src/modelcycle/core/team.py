"""The team's own code, src/<package>/, found by the entry [tool.modelcycle] of pyproject.toml."""

import importlib
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from modelcycle.core.contract import Contract
from modelcycle.core.project import read_project


def make_features(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Turn (n, m) rows into features (n, k), by the team's features.py."""
    features: pd.DataFrame = _import_module("features").make_features(rows, contract)
    return features


def make_model(estimator: Any, features: pd.DataFrame) -> Pipeline:
    """Put the encoding that an estimator needs for (n, k) features in front of it, by the team's model.py."""
    return _import_module("model").make_model(estimator, features)


def _import_module(name: str) -> Any:
    return importlib.import_module(f"{read_project().package}.{name}")
