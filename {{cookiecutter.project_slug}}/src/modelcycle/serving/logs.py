"""The log of the service: lines of JSON on standard output, without personal data."""

import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb

from pydantic_core import to_json


class JsonLinesFormatter(logging.Formatter):
    """Format each record, with what is in its `facts`, as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; of an error only its type and the code that led to it, as its text may quote a request."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {"at": at, "level": record.levelname.lower(), "message": record.getMessage()}
        if error := record.exc_info and record.exc_info[1]:
            facts |= {"error": type(error).__name__, "where": describe_place(error)}
        return to_json(facts | getattr(record, "facts", {})).decode()


def describe_place(error: BaseException) -> str:
    """Name the lines of the team's and our own code that led to an error, and the one of a library that raised it."""
    frames = extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename][-4:]
    shown = own if frames[-1:] == own[-1:] else [*own, frames[-1]]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in shown)


class NeverWaiting(logging.Handler):
    """Hand lines to the thread that writes them; while its queue is full, drop them."""

    def __init__(self, lines: "queue.Queue[str | None]") -> None:
        """Hand lines over in a queue."""
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Put a line into the queue."""
        with suppress(queue.Full):
            self.lines.put_nowait(self.format(record))


def write_lines(lines: "queue.Queue[str | None]") -> None:
    """Write lines to standard output until None comes.

    Past Python's buffer, whose lock a write that stalls would hold for ever.
    """
    while (line := lines.get()) is not None:
        with suppress(OSError):  # nobody reads any more
            os.write(sys.stdout.fileno(), f"{line}\n".encode())


@contextmanager
def log_from_a_thread() -> Iterator[None]:
    """Write the log of this process from a thread of its own: a reader that stalls delays no answer.

    At the end, what is still to be written has two seconds.
    """
    lines = queue.Queue[str | None](10_000)
    handler = NeverWaiting(lines)
    handler.setFormatter(JsonLinesFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    writer = threading.Thread(target=write_lines, args=[lines], daemon=True)
    writer.start()
    yield
    threading.Thread(target=lines.put, args=[None], daemon=True).start()  # which waits while the queue is full
    writer.join(2)
