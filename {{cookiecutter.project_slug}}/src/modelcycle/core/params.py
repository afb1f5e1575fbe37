"""The values of params.yaml for ingest, prepare, train and evaluate, checked before anything runs."""

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from modelcycle.core.config import read_config
from modelcycle.core.paths import PARAMS


def parse_span(value: Any) -> timedelta:
    """Parse a span of time such as 28d or 12h. Raises ValueError, with an example."""
    try:
        if isinstance(value, str | timedelta) and (span := pd.Timedelta(value)) >= pd.Timedelta(0):
            return span.to_pytimedelta()
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"a span of time is expected, such as 28d or 12h; found {value}")


Span = Annotated[timedelta, BeforeValidator(parse_span)]


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


class Labels(Section):
    """When labels are final: rows younger than `after`, counted from the newest, are left out."""

    after: Span = timedelta(0)


class Holdout(Section):
    """Which rows are held out: a share of the keys or groups, or the last span of time.

    columns: those that the hash is taken of, by default the contract's key or group. last, gap: with `by: time`, how
    long the test span is, and how long the span before it that is left out of training.
    """

    by: Literal["key", "group", "time"] = "key"
    columns: list[str] = []
    last: Span = timedelta(days=28)
    gap: Span = timedelta(0)


class Prepare(Section):
    """How rows are checked and split. test_share: of the keys or groups."""

    holdout: Holdout = Holdout()
    test_share: float = Field(gt=0, lt=1)
    labels: Labels = Labels()
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
    refit: bool = False
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
