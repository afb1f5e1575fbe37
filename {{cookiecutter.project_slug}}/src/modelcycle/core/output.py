"""How files are written, read and digested, and how commands report: results to standard output, the rest to stderr."""

import hashlib
import logging
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from modelcycle.core.errors import InputError

Item = TypeVar("Item")


def configure_logging(level: int) -> None:
    """Send the machinery's log records from this level on to standard error, as plain sentences."""
    logger, handler = logging.getLogger("modelcycle"), logging.StreamHandler()
    handler.setFormatter(SentenceFormatter())
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)


class SentenceFormatter(logging.Formatter):
    """Format a record as its message alone, with the passwords in URLs masked."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the text, with the traceback where there is one."""
        return mask_passwords(super().format(record))


def mask_passwords(text: str) -> str:
    """Mask the passwords in URLs such as https://user:password@host."""
    return re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)


def progress_console() -> Console | None:
    """Give a console on standard error for progress bars; None when that is no terminal or with --quiet."""
    console = Console(stderr=True)
    return console if console.is_terminal and logging.getLogger("modelcycle").isEnabledFor(logging.INFO) else None


def track_progress(items: Iterable[Item], description: str, total: int) -> Iterable[Item]:
    """Iterate over items with a progress bar."""
    console = progress_console()
    return track(items, description, total, transient=True, console=console, disable=console is None)


def report_line(verb: str, result: str, place: object = "") -> None:
    """Print a line about what a command has done and where to look next."""
    sys.stdout.write(f"{verb:<10}{result:<58} {place}".rstrip() + "\n")  # in one piece: a log may be written beside it
    sys.stdout.flush()


@contextmanager
def write_atomically(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield a draft to write to, which replaces `path` only when the block succeeds and the disk has it.

    Each writer has its own draft: of several at once, the file of the last one stays, complete.
    folder: where the draft lies, on the same disk; by default beside `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = (folder or path.parent) / f".{path.stem}.{secrets.token_hex(8)}{path.suffix}"  # writers look at the suffix
    try:
        yield draft
        with draft.open("rb+") as content:
            os.fsync(content.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    with suppress(OSError):  # some systems can't open a folder, or have nothing to write for it
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_text(path: Path) -> str:
    """Read a document, empty where there is none. Raises InputError when it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; save it as such.") from None


def write_text(path: Path, text: str) -> None:
    """Write a document in UTF-8, atomically."""
    with write_atomically(path) as draft:
        draft.write_text(text, encoding="utf-8")


def require_output(path: Path, verb: str) -> Path:
    """Give the path of an earlier step's output. Raises InputError that names the verb which writes it."""
    if not path.exists():
        raise InputError(f"{path} is missing; `make reproduce` writes it (its step is {verb}).")
    return path


def md5(path: Path) -> str:
    """Digest a file's content: 32 hexadecimal digits, the same as DVC's."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def content_md5(content: bytes | str) -> str:
    """Digest bytes or a text as DVC does."""
    return hashlib.md5(content if isinstance(content, bytes) else content.encode(), usedforsecurity=False).hexdigest()
