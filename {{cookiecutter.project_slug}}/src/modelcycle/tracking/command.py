"""Run other programs, such as git and DVC, with an error that says why one failed."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from modelcycle.core.errors import InputError

log = logging.getLogger(__name__)


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
