"""How files are written and read, and how a command reports what it has done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelcycle.core.errors import InputError


def report_line(verb: str, result: str, place: object = "") -> None:
    """Print a line about what a command has done and where to look next."""
    print(f"{verb:<10}{result:<58} {place}".rstrip(), flush=True)


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
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


def require_output(path: Path, verb: str) -> Path:
    """Give the path of an earlier step's output. Raises InputError that names the verb which writes it."""
    if not path.exists():
        raise InputError(f"{path} is missing; `make reproduce` writes it (its step is {verb}).")
    return path
