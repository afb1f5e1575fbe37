"""Where a result comes from: the commit, and the md5 of each file, as DVC writes it into dvc.lock."""

import hashlib
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from .files import CONTRACT, EXPECTED, MODEL, PARAMS, PREDICTIONS, PROFILE, RAW, TEST, TRAIN, InputError, read_text

MADE_BY = ("git_commit", "md5.model")  # of a version's facts, what the manifest of predictions repeats


def md5(path: Path) -> str:
    """Digest a file's content, (32,) hexadecimal digits; the same as DVC's."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def content_md5(content: bytes | str) -> str:
    """Digest bytes or a text as DVC does."""
    return hashlib.md5(content if isinstance(content, bytes) else content.encode(), usedforsecurity=False).hexdigest()


def git(*arguments: str) -> str:
    """Ask git; the answer is empty where there is no repository or no such commit."""
    return subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False).stdout.strip()


def run(*command: str | Path, environment: dict[str, str] | None = None, show: bool = False) -> str:
    """Run a command, `dvc` and `python` being those of this environment, and give what it prints, or show it.

    Raises InputError with what it said last, if it fails; of a step of the pipeline it is the step's own sentence.
    """
    # A step of the pipeline calls the project's own command, which a schedule does not have on its PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    given = os.environ | {"PATH": path, "GIT_TERMINAL_PROMPT": "0"} | (environment or {})
    start = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
    kept = None if show else subprocess.PIPE
    done = subprocess.run(
        [*start, *command[1:]], env=given, stdout=kept, stderr=subprocess.PIPE, encoding="utf-8", check=False
    )
    if done.returncode:
        said = f"{done.stdout or ''}{done.stderr}".strip().splitlines() or ["no word"]
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


def locked(revision: str) -> dict[str, str]:
    """Read from a commit's dvc.lock the md5 of every file that the pipeline read or wrote, by path."""
    return lock_files(committed(revision, "dvc.lock") or b"", committed(revision, "dvc.yaml") or b"")


@cache
def lock_files(lock: bytes, pipeline: bytes, kinds: tuple[str, ...] = ("deps", "outs")) -> dict[str, str]:
    """Give the md5 by path that dvc.lock holds for the stages of dvc.yaml; stages that are gone don't count."""
    noted, wanted = (YAML(typ="safe", pure=True).load(text) or {"stages": {}} for text in (lock, pipeline))
    stages = [stage for name, stage in noted["stages"].items() if name.split("@")[0] in wanted["stages"]]
    parts = [part for kind in kinds for stage in stages for part in stage.get(kind, [])]
    return {part["path"]: str(part.get("md5", "")) for part in parts}


def outputs() -> list[str]:
    """List what the steps of the pipeline write, as dvc.lock says."""
    return list(lock_files(*(read_text(Path(name)).encode() for name in ("dvc.lock", "dvc.yaml")), kinds=("outs",)))


def is_on_a_branch(revision: str) -> bool:
    """Say whether a commit belongs to a branch or a tag, here or as last fetched: git keeps it then."""
    return bool(git("for-each-ref", "--contains", revision, "--count=1", "refs/heads", "refs/remotes", "refs/tags"))


def provenance(revision: str) -> dict[str, str]:
    """Say what a commit's results come from: the commit, and the md5 of data, model, predictions and configuration.

    Everything is read from git, so that it can be derived again at any time and compared with what was noted.
    """
    files = locked(revision)
    outputs = (RAW, TRAIN, TEST, PROFILE, MODEL, PREDICTIONS, EXPECTED)
    digests = {path.stem: files.get(path.as_posix(), "") for path in outputs}
    for name, path in [("contract", CONTRACT), ("params", PARAMS), ("lock", "dvc.lock"), ("environment", "uv.lock")]:
        content = committed(revision, str(path))
        digests[name] = "" if content is None else content_md5(content)
    return {"git_commit": git("rev-parse", revision)} | {f"md5.{name}": found for name, found in digests.items()}


def earlier_version(path: Path) -> tuple[str, str] | None:
    """Find the last committed version of a pipeline's output that differs from the present one.

    Returns the commit and the text, or None where there is no such version or where it can't be had.
    """
    import dvc.api  # imported late: few commands need it

    present = md5(path)
    for revision in git("log", "--format=%h", "--", "dvc.lock").splitlines():
        files = locked(revision)
        if not files:  # removed there: what came before is another problem's, see adopt
            return None
        if files.get(path.as_posix(), present) != present:
            try:
                return revision, dvc.api.read(path.as_posix(), rev=revision)
            except Exception:  # neither in the cache nor in the remote, each of which has errors of its own
                return None
    return None


def manifest_path(output: Path) -> Path:
    """Say where the manifest of a file with predictions lies: beside it."""
    return output.with_name(f"{output.name}.manifest.json")


def read_manifest(output: Path) -> dict[str, Any]:
    """Read what an output was made from; empty where there is no manifest. Raises InputError when it is none."""
    path = manifest_path(output)
    try:
        if not path.exists():
            return {}
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        if not {"version", "when", "input", "input_md5", "output_md5", *MADE_BY} <= set(found):
            raise ValueError
        return found
    except (ValueError, TypeError):
        raise InputError(f"{path} is not the manifest of a prediction; delete it and predict again.") from None
