"""What to ingest, split, train and evaluate: the values of params.yaml, checked before anything runs."""

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .files import PARAMS, read_config


class Section(BaseModel):
    """A part of params.yaml: no key is taken that does nothing."""

    model_config = ConfigDict(extra="forbid")


class Ingest(Section):
    """Where the data comes from and how much of it to take."""

    source: str = Field(min_length=1)
    database: str | None = None
    csv: dict[str, Any] = {}
    until: datetime | date | None = None

    @field_validator("until", mode="before")
    @classmethod
    def _is_no_number(cls, value: Any) -> Any:
        if isinstance(value, int | float):
            raise ValueError(f'a time is expected, in quotes, such as "2024-01-31"; found the number {value}')
        return value


class Prepare(Section):
    """How rows are checked and split."""

    test_share: float = Field(gt=0, lt=1)
    max_rejected: float = Field(ge=0, le=1)


class Search(Section):
    """Which of the estimator's parameters to try; each trial is scored by cross-validation."""

    trials: int = Field(ge=1)
    folds: int = Field(default=5, ge=2)
    parameters: dict[str, list[Any]] = Field(min_length=1)


class Train(Section):
    """Which model is trained and how."""

    estimator: str
    parameters: dict[str, Any] = {}
    seed: int = Field(ge=0)
    search: Search | None = None


class Evaluate(Section):
    """How the model is judged."""

    bootstrap: int = Field(ge=20)
    slices: list[str] = []


class Params(Section):
    """All of params.yaml."""

    ingest: Ingest
    prepare: Prepare
    train: Train
    evaluate: Evaluate


def read_params() -> Params:
    """Read params.yaml. Raises InputError with key, found and expected."""
    return read_config(Params, PARAMS)
