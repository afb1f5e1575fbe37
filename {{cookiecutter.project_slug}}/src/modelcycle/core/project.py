"""Which project this is: the entry [tool.modelcycle] of pyproject.toml."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelcycle.core.config import explain_validation_error
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
