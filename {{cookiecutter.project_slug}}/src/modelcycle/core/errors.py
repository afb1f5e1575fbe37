"""What can go wrong and a person can correct: the command line turns each into a sentence and an exit status."""

from pathlib import Path
from traceback import extract_tb


class InputError(Exception):
    """Something that a person can correct; the text says what, where, found, expected and what to type."""


class Alert(Exception):
    """Something that a person should look at; the text gives the reasons. The exit status is 2."""


def first_line(error: Exception) -> str:
    """Give the first line of an error's message, or its type where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def describe_place(error: BaseException) -> str:
    """Name the lines of the team's code, or else of ours, that led to an error, and the line that raised it."""
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "importlib" not in Path(frame.filename).parts
    ]
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    team = [frame for frame in own if "modelcycle" not in Path(frame.filename).parts]
    shown = (team or own)[-3:]
    shown += [frame for frame in frames[-1:] if frame not in shown]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in shown)
