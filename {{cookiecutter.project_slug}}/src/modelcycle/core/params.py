"""The values of params.yaml, for ingest, prepare, train, evaluate, gate and monitor, checked before anything runs."""

from datetime import date, datetime
from typing import Any, Literal

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


class Behaviour(Section):
    """How predictions must react when columns of the test rows are changed."""

    set: dict[str, Any] = {}
    add: dict[str, float] = {}
    shuffle: list[str] = []
    expect: Literal["same", "different", "higher", "lower"]
    by: float = Field(ge=0)


class Duel(Section):
    """How much worse than the champion a model may be, and how sure of that the gate has to be."""

    margin: float = Field(default=0.015, ge=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class Gate(Section):
    """What a model has to show before it becomes the champion.

    Every value has a default, here and in Monitor: a team's params.yaml may be older than a section.
    """

    bound: float | None = None
    too_good: float | None = None
    slice_gap: float = Field(default=0.1, ge=0)
    calibration_gap: float = Field(default=0.03, ge=0)
    fewest_rows: float = Field(default=0.5, ge=0)
    duel: Duel = Duel()
    behaviour: list[Behaviour] = []
    process: bool = False


class Monitor(Section):
    """When `monitor` alerts."""

    chance: float = Field(default=0.01, gt=0, lt=1)
    shift: float = Field(default=0.1, gt=0)
    share: float = Field(default=0.05, gt=0, le=1)
    quality: float = Field(default=0.02, ge=0)
    labels: int = Field(default=100, ge=20)
    milliseconds: float = Field(default=500, gt=0)
    sample: int = Field(default=50_000, ge=1000)


class Params(Section):
    """All of params.yaml."""

    ingest: Ingest
    prepare: Prepare
    train: Train
    evaluate: Evaluate
    gate: Gate = Gate()
    monitor: Monitor = Monitor()


def read_params() -> Params:
    """Read params.yaml. Raises InputError with key, found and expected."""
    return read_config(Params, PARAMS)
