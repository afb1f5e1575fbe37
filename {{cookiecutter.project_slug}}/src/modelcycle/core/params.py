"""The values of params.yaml for ingest, prepare, train and evaluate, checked before anything runs."""

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from modelcycle.core.config import read_config
from modelcycle.core.paths import PARAMS


class Section(BaseModel):
    """A part of params.yaml; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


class Ingest(Section):
    """Where the data comes from and how much of it to take."""

    source: str = Field(min_length=1)
    database: str | None = None
    csv: dict[str, Any] = {}
    until: datetime | date | None = None

    @field_validator("csv")
    @classmethod
    def _check_csv_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        if unsupported := {"chunksize", "iterator"} & set(value):
            raise ValueError(f"{unsupported.pop()} gives no table; expected options about how the file is written")
        return value

    @field_validator("until", mode="before")
    @classmethod
    def _check_until(cls, value: Any) -> Any:
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
    """The sections of params.yaml that the pipeline reads. Others are checked by whoever reads them."""

    model_config = ConfigDict(extra="ignore")

    ingest: Ingest
    prepare: Prepare
    train: Train
    evaluate: Evaluate


def read_params() -> Params:
    """Read params.yaml. Raises InputError with key, found and expected."""
    return read_config(Params, PARAMS)
