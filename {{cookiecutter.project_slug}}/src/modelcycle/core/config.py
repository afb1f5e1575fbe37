"""Read YAML files into pydantic models, and edit params.yaml without losing its comments."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from modelcycle.core.errors import InputError
from modelcycle.core.output import write_atomically
from modelcycle.core.paths import PARAMS

Config = TypeVar("Config", bound=BaseModel)


def read_config(model: type[Config], path: Path) -> Config:
    """Read a YAML file into a pydantic model. Raises InputError with file, key, found and expected."""
    try:
        return parse_config(model, path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise InputError(f"{path} is not in {Path.cwd()}; run this in the repository's top folder.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def parse_config(model: type[Config], text: str, path: Path) -> Config:
    """Turn YAML text into a pydantic model; `path` is where it stands. Raises InputError as read_config does."""
    try:
        # Pure Python reads YAML 1.2, where `no` is a word; the C parser would read it as false.
        return model.model_validate(YAML(typ="safe", pure=True).load(text))
    except ValidationError as error:
        raise InputError(f"{path}: {explain_validation_error(error)}") from None
    except (YAMLError, ValueError) as error:  # ValueError: an impossible date
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def explain_validation_error(error: ValidationError) -> str:
    """Turn the first of pydantic's errors into a sentence: 'KEY is VALUE; expected ...'."""
    first, *rest = error.errors(include_url=False)
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" ({len(rest)} more below it.)" if rest else ""
    match first["type"]:
        case "missing":
            return f"{key} is missing.{more}"
        case "extra_forbidden":
            return f"{key} is not a known key; check its spelling and its indentation.{more}"
        case "value_error":
            return f"{key + ': ' if first['loc'] else ''}{first['ctx']['error']}.{more}"
    return f"{key} is {first['input']!r}; expected {first['msg'].replace('Input should be', '').strip()}.{more}"


def make_yaml() -> YAML:
    """Make a YAML reader and writer that writes as people do: short lists inline, no wrapping, `null` spelled out."""

    def represent_text(representer: Any, value: str) -> Any:
        style = '"' if re.search(r"^\? |[\x85\u2028\u2029]", value) else None  # unquoted, it would not be read back
        return representer.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)  # as params.yaml is written
    yaml.representer.add_representer(str, represent_text)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


@contextmanager
def edit_params() -> Iterator[Any]:
    """Yield the values of params.yaml for editing, then write them back; comments and layout stay."""
    yaml = make_yaml()
    params = yaml.load(PARAMS.read_text(encoding="utf-8"))
    yield params
    with write_atomically(PARAMS) as draft, draft.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)
