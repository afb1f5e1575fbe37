"""Ask git, and run git and DVC."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from modelcycle.core.errors import InputError

log = logging.getLogger(__name__)


def git(*arguments: str) -> str:
    """Ask git; the answer is empty where there is no repository or no such commit."""
    return subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False).stdout.strip()


def run(
    *command: str | Path, environment: dict[str, str] | None = None, show: bool = False, folder: Path | None = None
) -> str:
    """Run a command, `dvc` and `python` being those of this environment, and give what it prints, or show it.

    Raises InputError with what it said last, if it fails; of a step of the pipeline it is the step's own sentence.
    """
    # A step of the pipeline calls the project's own command, which a schedule does not have on its PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    log.debug("$ %s", " ".join(map(str, command)))
    given = os.environ | {"PATH": path, "GIT_TERMINAL_PROMPT": "0"} | (environment or {})
    start = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
    kept = None if show else subprocess.PIPE
    done = subprocess.run(
        [*start, *command[1:]],
        env=given,
        cwd=folder,
        stdout=kept,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        said = f"{done.stdout or ''}{done.stderr}".strip().splitlines() or [
            f"exit status {done.returncode}, no message"
        ]
        sentences = [line for line in said if line.startswith("error: ")][-1:]
        sentences += [line for line in said if line.startswith("fatal: ")] + said[-1:]  # of git's, the first says most
        last = re.sub("^(error|fatal|ERROR|ValueError): ", "", sentences[0])
        name = command[2] if command[1] == "-m" else command[0]
        raise InputError(f"{name} failed: {last}")
    return "" if show else done.stdout.strip()


def commit() -> str:
    """Name the commit that the work tree is at, with '-dirty' when tracked files have changed since."""
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "nothing committed yet"


def committed(revision: str, path: str) -> bytes | None:
    """Give the bytes that a file of this folder has in a commit, or None where it has no such file."""
    done = subprocess.run(["git", "cat-file", "blob", f"{revision}:./{path}"], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def is_shallow() -> bool:
    """Say whether this is a clone without its older commits."""
    return git("rev-parse", "--is-shallow-repository") == "true"


def how_to_fetch() -> str:
    """Give the command that brings a commit which is not here; git refuses --unshallow in a complete clone."""
    return "git fetch --unshallow" if is_shallow() else "git fetch"


def first_commits() -> list[str]:
    """List the commits that the history begins with, the oldest last; empty where that can't be known from here."""
    return [] if is_shallow() else git("rev-list", "--max-parents=0", "HEAD").splitlines()


def is_on_a_branch(revision: str) -> bool:
    """Say whether a commit belongs to a branch or a tag, here or as last fetched: git keeps it then."""
    return bool(git("for-each-ref", "--contains", revision, "--count=1", "refs/heads", "refs/remotes", "refs/tags"))
