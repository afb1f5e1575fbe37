"""The command `modelcycle VERB`: each room brings its verbs, in its verbs.py.

Results go to standard output, diagnostics and progress to standard error. What a person can correct becomes one
sentence and exit status 1; an alert is 2, and a gate that can't decide 3.
"""

import gc
import getpass
import logging
import os
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from modelcycle.core.errors import Alert, InputError, Undecided, first_line
from modelcycle.core.output import configure_logging, mask_passwords
from modelcycle.tracking.git import forget_callers_repository

ROOMS = ("adopt", "pipeline", "release", "serving", "monitoring", "delivery", "process")  # as they are listed

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for room in ROOMS:
    if Path(__file__).with_name(room).joinpath("verbs.py").exists():  # the rooms that the answers have chosen
        app.add_typer(import_module(f"modelcycle.{room}.verbs").app)
log = logging.getLogger(__name__)


@app.callback()
def configure(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show results and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show what is run, and tracebacks.")] = False,
) -> None:
    """From data to a judged model: ingest, prepare, train, evaluate, or all of them with `make reproduce`.

    Start from your own table with adopt.
    """
    configure_logging(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)


def main() -> None:
    """Run a command."""
    forget_callers_repository()
    gc.set_threshold(100_000)  # what imports make stays: to look through it again and again takes a fifth of `trace`
    configure_logging(logging.INFO)
    try:
        require_identity()
        require_own_code()
        app()
    except Alert as alert:
        exit_with_message(str(alert), 2)
    except Undecided as verdict:
        exit_with_message(str(verdict), 3)
    except Exception as error:
        is_mlflow_error = type(error).__module__.startswith("mlflow.")  # the store went away meanwhile
        if not (is_mlflow_error or isinstance(error, InputError | OSError)):
            raise
        exit_with_message(f"error: {describe_error(error)}", 1)


def require_identity() -> None:
    """Name a user whom the system does not know, as in a container. Raises InputError where there is no home folder."""
    try:
        getpass.getuser()  # which libraries ask as well
    except (KeyError, OSError):
        os.environ["USER"] = f"uid-{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        raise InputError(
            f"{getpass.getuser()} has no home folder: set HOME to one that it may write to, as in `export HOME=/tmp`."
        ) from None


def require_own_code() -> None:
    """Raise InputError where other code would run: .venv was copied, another is active, or PYTHONPATH leads away."""
    own, imported = Path("src/modelcycle"), Path(__file__).parent
    if own.exists() and not own.samefile(imported):
        command = shlex.join([".venv/bin/modelcycle", *sys.argv[1:]])
        remedy = (
            f"type `make setup`, then `{command}`; if that says the same, .venv was copied from there: "
            "`rm -rf .venv` first."
        )
        if str(imported.parent) in os.environ.get("PYTHONPATH", "").split(os.pathsep):
            remedy = f"PYTHONPATH names {imported.parent}: type `unset PYTHONPATH`, then `{command}`."
        raise InputError(f"{imported} would have run instead of this repository's {own}: {remedy}")


def describe_error(error: Exception) -> str:
    """Describe an error in a sentence."""
    if isinstance(error, InputError):
        return str(error)
    if not isinstance(error, OSError):
        return f"the tracking store: {first_line(error)}"
    if error.filename == "git":
        return "git is not installed, or not on the PATH."
    return f"{error.filename or 'input and output'}: {error.strerror or error}"


def exit_with_message(sentence: str, status: int) -> NoReturn:
    """Print a sentence to standard error and exit."""
    log.debug("what led to it:", exc_info=True)
    print(mask_passwords(sentence), file=sys.stderr)
    sys.exit(status)
