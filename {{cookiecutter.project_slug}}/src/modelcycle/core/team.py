"""The team's own: the entry [tool.modelcycle] of pyproject.toml, and the code in src/<package>/ that it names."""

import importlib
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sklearn.pipeline import Pipeline

from modelcycle.core.config import explain_validation_error
from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError

PYPROJECT = Path("pyproject.toml")


class Project(BaseModel):
    """The project's own names.

    package: the team's package below src/. experiment: the name of experiment, registered model and ledger in MLflow,
    by default the package's. trusted_types: types that model files may hold besides those that `model_file` lists.
    accepted_vulnerabilities: those that `audit` passes over, by their ids, with the reason.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    experiment: str = ""
    trusted_types: list[str] = []
    accepted_vulnerabilities: dict[str, str] = {}

    @model_validator(mode="after")
    def _is_not_the_machinery(self) -> "Project":
        if self.package == "modelcycle":
            raise ValueError("package is modelcycle, which is the machinery's name; expected that of your own package")
        return self

    def travelling(self) -> dict[str, Any]:
        """Give what a version is run with, also by code of other years, which refuses a name that it does not know."""
        return self.model_dump(include={"package", "experiment", "trusted_types"})

    @property
    def registered_name(self) -> str:
        """The name of experiment, registered model and, with `ledger` behind it, of the ledger."""
        return self.experiment or self.package

    @property
    def title(self) -> str:
        """The name that people read."""
        return self.package.replace("_", " ")


def read_project() -> Project:
    """Read the entry. Raises InputError where there is no pyproject.toml, or no such entry in it."""
    try:
        entries = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{PYPROJECT} is not in {Path.cwd()}; run this in the repository's top folder.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{PYPROJECT} is not valid TOML: {error}.") from None
    try:
        return Project.model_validate(entries.get("tool", {}).get("modelcycle", {}))
    except ValidationError as error:
        raise InputError(f"{PYPROJECT}, [tool.modelcycle]: {explain_validation_error(error)}") from None


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
