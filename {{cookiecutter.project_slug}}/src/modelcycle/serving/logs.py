"""The log of the service: lines of JSON on standard output, without personal data."""

import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from pydantic_core import to_json

from modelcycle.versions.run_version import describe_place


class JsonLinesFormatter(logging.Formatter):
    """Format each record, with what is in its `facts`, as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; of an error only its type and the code that led to it, as its text may quote a request."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {"at": at, "level": record.levelname.lower(), "message": record.getMessage()}
        if error := record.exc_info and record.exc_info[1]:
            kind, place = type(error).__name__, describe_place(error)
            facts |= {"error": getattr(error, "kind", kind), "where": getattr(error, "place", place)}
        return to_json(facts | getattr(record, "facts", {})).decode()


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
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        threading.Thread(target=lines.put, args=[None], daemon=True).start()  # which waits while the queue is full
        writer.join(2)
