"""Ask git, run other programs, and say what became of it; errors are one sentence for the person who updates."""

import os
import re
import subprocess
import sys
from pathlib import Path

# Settings that change what git prints. All others stay the user's: identity, proxy, safe.directory, merge drivers.
SETTINGS = ("color.ui=never", "core.quotePath=false", "log.showSignature=false", "advice.detachedHead=false")
PINNED = ["git", *(word for setting in SETTINGS for word in ("-c", setting))]

# What git sets for hooks and aliases: which repository it was called for.
CALLERS_VARIABLES = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"),
)


class InputError(Exception):
    """What a person can correct, in one sentence."""


class Stopped(InputError):
    """git was killed, and may have written a part of its files."""


class Conflict(Exception):
    """What a person has to decide before the update goes on."""


def git(*arguments: str | Path, environment: dict[str, str] | None = None) -> str:
    """Return what git prints, empty where its answer is no. Raises InputError with git's own words where it fails."""
    return git_bytes(*arguments, environment=environment).decode("utf-8", "surrogateescape").strip()


def git_bytes(*arguments: str | Path, environment: dict[str, str] | None = None) -> bytes:
    """Return what git prints, as it is, such as the content of a file."""
    variables = os.environ | {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0"} | (environment or {})
    done = subprocess.run([*PINNED, *arguments], env=variables, capture_output=True, check=False)
    if done.returncode < 0:
        raise Stopped(f"git was stopped by signal {-done.returncode}.")
    if done.returncode and (done.returncode != 1 or done.stderr):
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        words = [re.sub("^(fatal|error): ", "", line.strip()) for line in lines if not line.startswith("hint: ")]
        reason = " ".join(filter(None, words)) or f"exit status {done.returncode}, no message"
        raise InputError(f"git failed: {reason}")
    return done.stdout


def run(*command: str | Path, folder: Path | None = None, scratch: Path | None = None) -> None:
    """Run a program of Python, with its scratch files in a folder. Raises InputError with its last line if it fails."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | ({"TMPDIR": str(scratch)} if scratch else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said, _, _ = done.stdout.decode("utf-8", "replace").partition("ERROR: Stopping generation because")  # by a hook
        lines = said.strip().splitlines() or [f"exit status {done.returncode}"]
        reasons = [line for line in lines if line.startswith("error: ")] or lines
        name = command[1] if command[0] == "-m" else Path(command[0]).name
        raise InputError(f"{name} failed: {re.sub('^(error|ERROR|ValueError): ', '', reasons[-1])}")


def mask_passwords(text: str) -> str:
    """Mask the passwords in URLs such as https://user:password@host."""
    return re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)


def find_commit(repository: Path, name: str) -> str:
    """Resolve a tag, a branch, of the remote as well, or a commit to its whole hash; empty where there is none."""
    for full in (name, f"origin/{name}"):
        words = ("rev-parse", "--quiet", "--verify", "--end-of-options", f"{full}^{{commit}}")
        if commit := git("-C", repository, *words):
            return commit
    return ""


def report(verb: str, result: str, place: object = "") -> None:
    """Print a line about what was done and where to look next."""
    print(f"{verb:<10}{result:<58} {place}".rstrip(), flush=True)
