"""All values of params.yaml: those of the pipeline, and what gate and monitor demand of a version."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from modelcycle.core import params
from modelcycle.core.config import read_config
from modelcycle.core.params import Section
from modelcycle.core.paths import PARAMS


class Behaviour(Section):
    """How predictions must react when columns of the test rows are changed."""

    set: dict[str, Any] = Field(default={})
    add: dict[str, float] = Field(default={})
    shuffle: list[str] = Field(default=[])
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
    accepted_leaks: dict[str, str] = Field(default={})
    slice_gap: float = Field(default=0.1, ge=0)
    calibration_gap: float = Field(default=0.03, ge=0)
    fewest_rows: float = Field(default=0.5, ge=0)
    duel: Duel = Duel()
    behaviour: list[Behaviour] = Field(default=[])
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


class Params(params.Params):
    """All of params.yaml; an unknown section is an error."""

    model_config = ConfigDict(extra="forbid")

    gate: Gate = Gate()
    monitor: Monitor = Monitor()


def read_params() -> Params:
    """Read params.yaml. Raises InputError with key, found and expected."""
    return read_config(Params, PARAMS)
