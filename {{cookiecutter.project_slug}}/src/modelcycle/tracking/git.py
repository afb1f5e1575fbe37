"""Run git, DVC and other programs; where one fails, its own words say why.

A question to git whose answer is no, such as for a commit that is not here, is one thing; a git that fails is another.
"""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from modelcycle.core.errors import InputError

log = logging.getLogger(__name__)

# Settings that change what git prints. All others stay the user's: identity, proxy, safe.directory, hooks.
SETTINGS = ("color.ui=never", "core.quotePath=false", "log.showSignature=false", "status.showUntrackedFiles=normal")
PINNED = ["git", *(word for setting in SETTINGS for word in ("-c", setting))]
# What git sets for hooks and aliases: which repository it was called for.
CALLERS_VARIABLES = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"),
)


def forget_callers_repository() -> None:
    """Let git, DVC and all else that is started from here look for their repository in the folder they are started in.

    A hook names its own, and what it starts elsewhere, such as in a copy, would write into that.
    """
    for name in CALLERS_VARIABLES:
        os.environ.pop(name, None)


def git(*arguments: str | Path, environment: dict[str, str] | None = None) -> str:
    """Return what git prints, empty where its answer is no. Raises InputError with git's own words where it fails."""
    return git_bytes(arguments, environment).decode("utf-8", "surrogateescape").strip()


def git_bytes(
    arguments: tuple[str | Path, ...], environment: dict[str, str] | None = None, typed: bytes = b""
) -> bytes:
    """Return what git prints, byte for byte. typed: what it reads on standard input. Raises as `git` does."""
    log.debug("$ git %s", " ".join(map(str, arguments)))
    variables = os.environ | {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0"} | (environment or {})
    done = subprocess.run([*PINNED, *arguments], env=variables, input=typed, capture_output=True, check=False)
    if done.returncode and (done.returncode != 1 or done.stderr):
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        words = [re.sub("^(fatal|error): ", "", line.strip()) for line in lines if not line.startswith("hint: ")]
        reason = " ".join(filter(None, words)) or f"exit status {done.returncode}, no message"
        if reason.startswith("not a git repository"):
            raise InputError("This folder is not a git repository; type `make setup`, which makes it one, and commit.")
        raise InputError(f"git failed: {reason}")
    return done.stdout


def find_commit(name: str, folder: Path = Path()) -> str:
    """Return the whole name of a commit, by a branch, a tag or the start of its name; empty where it is not here."""
    return git("-C", folder, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")


def has_commit() -> bool:
    """Say whether this folder is in a git repository with a commit."""
    try:
        return bool(find_commit("HEAD"))
    except InputError as error:
        if "not a git repository" in str(error):
            return False
        raise


def describe_head() -> str:
    """Name the commit that the work tree is at, with '-dirty' when tracked files have changed since."""
    if not has_commit():
        return "nothing committed yet"
    commit = find_commit("HEAD")
    return f"{commit}-dirty" if git("status", "--porcelain", "--untracked-files=no") else commit


def is_shallow() -> bool:
    """Say whether this is a clone without its older commits."""
    return git("rev-parse", "--is-shallow-repository") == "true"


def find_root_commits() -> list[str]:
    """List the commits without a parent, the oldest last; empty in a shallow clone, which does not have them."""
    return git("rev-list", "--max-parents=0", "HEAD").splitlines() if has_commit() and not is_shallow() else []


def run(
    *command: str | Path, environment: dict[str, str] | None = None, show: bool = False, folder: Path | None = None
) -> str:
    """Run a command, `dvc` and `python` being those of this environment, and return its output, or show it.

    Raises InputError with the reason if it fails: of a step of the pipeline the step's own sentence.
    """
    # A step of the pipeline calls the project's own command, which a schedule does not have on its PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    log.debug("$ %s", " ".join(map(str, command)))
    program = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
    process = subprocess.run(
        [*program, *command[1:]],
        env=os.environ | {"PATH": path, "GIT_TERMINAL_PROMPT": "0"} | (environment or {}),
        cwd=folder,
        stdout=None if show else subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    if process.returncode:
        name = command[2] if command[1] == "-m" else command[0]
        raise InputError(f"{name} failed: {_failure_reason(process)}")
    return "" if show else process.stdout.strip()


def _failure_reason(process: subprocess.CompletedProcess[str]) -> str:
    """Choose the line of a failed command's output that says most: an error of ours, git's first, or the last one."""
    output = f"{process.stdout or ''}{process.stderr}".strip().splitlines()
    output = output or [f"exit status {process.returncode}, no message"]
    reasons = [line for line in output if line.startswith("error: ")][-1:]
    reasons += [line for line in output if line.startswith("fatal: ")] + output[-1:]
    return re.sub("^(error|fatal|ERROR|ValueError): ", "", reasons[0])
