"""Where the pipeline's files lie, how configuration is read, and how outputs are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

CONTRACT = Path("contract.yaml")
PARAMS = Path("params.yaml")
RAW = Path("data/raw.parquet")
TRAIN = Path("data/train.parquet")
TEST = Path("data/test.parquet")
REJECTS = Path("data/rejects.csv")
PROFILE = Path("data/profile.json")
MODEL = Path("models/model.skops")
METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.parquet")
EXPECTED = Path("reports/expected.json")
INTERVALS = Path("reports/intervals.csv")
SLICES = Path("reports/slices.csv")
CALIBRATION = Path("reports/calibration.csv")
IMPORTANCE = Path("reports/importance.csv")
REPORT = Path("reports/report.html")
RELEASE_REPORT = Path("reports/release.html")
MONITORING = Path("reports/monitoring.json")
MONITORING_REPORT = Path("reports/monitoring.html")
REVIEW = Path("reports/review.html")
MODEL_CARD = Path("docs/model_card.md")
DATA_CARD = Path("docs/data_card.md")
FEATURES = "features.py"

Config = TypeVar("Config", bound=BaseModel)


class InputError(Exception):
    """Something that a person can correct; the text says what, where, found, expected and what to type."""


class Alert(Exception):
    """Something that a person should look at; the text gives the reasons. The exit status is 2."""


class Conflict(Exception):
    """Something that only a person can decide; the text says what and how. The exit status is 3."""


def read_config(model: type[Config], path: Path) -> Config:
    """Read a YAML file into a pydantic model. Raises InputError with file, key, found and expected."""
    try:
        return parse_config(model, path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise InputError(f"{path} is not in {Path.cwd()}; run this in the repository's top folder.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def parse_config(model: type[Config], text: str, path: Path) -> Config:
    """Turn YAML text, which stands in `path`, into a pydantic model. Raises InputError as read_config does."""
    try:
        # Pure Python reads YAML 1.2, where `no` is a word; the C parser would read it as false.
        return model.model_validate(YAML(typ="safe", pure=True).load(text))
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from None
    except (YAMLError, ValueError) as error:  # of an impossible date a ValueError
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def explain(error: ValidationError) -> str:
    """Turn the first of pydantic's complaints into 'key is found; expected ...'."""
    first, *others = error.errors(include_url=False)
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" ({len(others)} more below it.)" if others else ""
    match first["type"]:
        case "missing":
            return f"{key} is missing.{more}"
        case "extra_forbidden":
            return f"{key} is not a known key; check its spelling and its indentation.{more}"
        case "value_error":
            return f"{key + ': ' if first['loc'] else ''}{first['ctx']['error']}.{more}"
    return f"{key} is {first['input']!r}; expected {first['msg'].replace('Input should be', '').strip()}.{more}"


def first_line(error: Exception) -> str:
    """Give the first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def say(verb: str, result: str, place: object = "") -> None:
    """Print a line about what a command has done and where to look next."""
    print(f"{verb:<10}{result:<58} {place}".rstrip(), flush=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a draft to write to, which takes the place of `path` only when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """Read a document, empty where there is none. Raises InputError when it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; save it as such.") from None


def need(path: Path, verb: str) -> Path:
    """Give the path of an earlier step's output. Raises InputError that names the verb which writes it."""
    if not path.exists():
        raise InputError(f"{path} is missing; `make reproduce` writes it (its step is {verb}).")
    return path
