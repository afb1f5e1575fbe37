"""What a stage of a pipeline is to all readers, and how they say that they do not know something."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


class Unknown(Exception):
    """The file holds what neither its reader nor the provider knows."""


@dataclass
class Stage:
    """A job of a pipeline, whatever its provider calls it."""

    when: set[str]  # of change, main, schedule, hand
    person: bool = False  # it waits for a person's yes
    needs: set[str] = field(default_factory=set)  # the stages that have to succeed before it
    scripts: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # and variables; $NAME is a setting's value
    keeps: set[str] = field(default_factory=set)  # files
    takes: set[str] = field(default_factory=set)  # files of an earlier stage that its scripts read
    pushes: bool = False  # it may push a branch

    def keep(self, paths: set[str]) -> None:
        """Keep files that a script has written."""
        if not self.scripts:
            raise Unknown(f"{', '.join(sorted(paths))} would be kept before a script has written it")
        self.keeps |= paths

    def take(self, paths: set[str], folder: str = "") -> None:
        """Take files of an earlier stage, which come to a folder, before a script reads them."""
        if self.scripts or (folder and any(folder != path.rpartition("/")[0] for path in paths)):
            raise Unknown(f"{', '.join(sorted(paths))} would come too late, or to another folder")
        self.takes |= paths

    def calls(self) -> list[str]:
        """List the arguments of each line that calls make."""
        lines = "\n".join(script for script, _ in self.scripts)
        return re.findall(r"^\s*(?:timeout \d+[mh] )?make (.+)$", lines, re.MULTILINE)

    def variables(self) -> dict[str, str]:
        """Give the variables of all scripts together."""
        return {name: value for _, variables in self.scripts for name, value in variables.items()}


def check_keys(content: dict[str, Any], known: str, where: str) -> None:
    """Raise Unknown for a key that is not known."""
    if unknown := set(content) - set(known.split()):
        raise Unknown(f"{where}: unknown {', '.join(sorted(map(str, unknown)))}")


def look_up(known: dict[Any, Any], value: Any, where: str) -> Any:
    """Give what a value means; Unknown where it is not known."""
    if value not in known:
        raise Unknown(f"{where}: unknown {value}")
    return known[value]


def asked_in(script: str, asked: Iterable[str], where: str) -> dict[str, str]:
    """Give the variables of a script, as "$NAME" in it, whose values are asked of who starts it by hand."""
    names = {name for name in re.findall(r'"\$(\w+)"', script) if name.isupper()}
    return {name: f"${name}" for name in names if look_up(dict.fromkeys(asked, True), name, f"{where}: variable")}
