"""The environment of a version: the libraries that its uv.lock names, where they are not those of today."""

import os
import subprocess
from pathlib import Path

from modelcycle.core.errors import InputError
from modelcycle.core.team import PYPROJECT
from modelcycle.versions.code import read_file_at

LOCK = Path("uv.lock")
# What this process runs with: read when it starts, as the code is.
RUNNING_LOCK = LOCK.read_bytes() if LOCK.exists() else None
# What would lead uv to today's environment, or refuse --frozen; index, proxy and cache stay as the user has set them.
VARIABLES = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_LOCKED", "PYTHONPATH")


def read_other_lock(commit: str) -> dict[str, bytes]:
    """Read what a commit's environment is made from, by name, where this process has another; empty without a lock."""
    lock = read_file_at(commit, LOCK.name)
    if lock in (None, RUNNING_LOCK):
        return {}
    return {LOCK.name: lock, PYPROJECT.name: read_file_at(commit, PYPROJECT.name) or b""}


def sync_environment(folder: Path, *options: str) -> Path:
    """Install into a folder's .venv what its uv.lock says, and give its Python. Raises InputError with uv's words."""
    own = Path(".uv/bin/uv").resolve()  # where the machine has none that can do this
    command = [str(own) if own.exists() else "uv", "sync", "--frozen", "--no-progress", *options]
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    try:
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=True)
    except FileNotFoundError:
        raise InputError("uv is not on the PATH: `make setup` brings it.") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(word for word in error.stderr.split() if word != "\u2570\u2500\u25b6")
        raise InputError(f"uv can't install what {LOCK} names: {reason[-300:]}") from None
    return folder / (".venv/Scripts/python.exe" if os.name == "nt" else ".venv/bin/python")


def make_environment(folder: Path, lock: dict[str, bytes]) -> Path:
    """Make an environment in a scratch folder from a pyproject.toml and a uv.lock, by name, and give its Python."""
    for name in (PYPROJECT.name, LOCK.name):
        (folder / name).write_bytes(lock[name])
    return sync_environment(folder, "--no-install-project", "--no-compile-bytecode")
