"""The dependencies of a stage in dvc.yaml: read, and edited so that every other character of the file stays."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from modelcycle.core.errors import InputError
from modelcycle.core.output import write_atomically

PIPELINE = Path("dvc.yaml")


def dependencies(stage: str) -> list[str]:
    """List what a stage of dvc.yaml depends on; nothing where there is no such stage."""
    return list(_load(PIPELINE.read_text(encoding="utf-8"), stage)) if PIPELINE.exists() else []


def add_dependency(stage: str, path: Path) -> None:
    """Let a stage of dvc.yaml depend on a file. Raises InputError where the stage has no list to put it into."""
    text, wanted = PIPELINE.read_bytes().decode(), [path.as_posix(), *dependencies(stage)]
    if path.as_posix() in wanted[1:]:
        return
    try:  # in front of the first: in a list on one line, or as a line of its own
        found = _load(text, stage)
        line, column = found.lc.item(0)
        lines = text.split("\n")
        before, rest = lines[line][:column], lines[line][column:]
        end = "\r\n" if rest.endswith("\r") else "\n"
        lines[line] = f"{before}{path.as_posix()}{', ' if found.fa.flow_style() else end + before}{rest}"
        _write("\n".join(lines), stage, wanted)
    except (AttributeError, LookupError, TypeError):
        raise InputError(f"dvc.yaml: add {path.as_posix()} to the deps of the stage {stage}.") from None


def remove_dependency(stage: str, path: Path) -> None:
    """Let a stage of dvc.yaml no longer depend on a file."""
    wanted = [other for other in dependencies(stage) if other != path.as_posix()]
    if wanted != dependencies(stage):
        name = re.escape(path.as_posix())
        text = re.sub(
            rf"^ *- *{name} *(#.*)?\r?\n|{name} *, *|, *{name}", "", PIPELINE.read_bytes().decode(), flags=re.M
        )
        _write(text, stage, wanted)


def _load(text: str, stage: str) -> Any:
    return ((YAML().load(text) or {}).get("stages", {}).get(stage) or {}).get("deps") or []


def _write(text: str, stage: str, wanted: list[str]) -> None:
    """Write dvc.yaml, if the stage now has the wanted dependencies. Raises InputError where it has not."""
    if list(_load(text, stage)) != wanted:
        raise InputError(f"dvc.yaml: the stage {stage} should have the deps {', '.join(wanted)}; write them there.")
    with write_atomically(PIPELINE) as draft:
        draft.write_bytes(text.encode())
