"""Where a result comes from: the commit, and the md5 of each file, as DVC writes it into dvc.lock."""

import hashlib
import subprocess
from pathlib import Path

from ruamel.yaml import YAML


def md5(path: Path) -> str:
    """Digest a file's content, (32,) hexadecimal digits; the same as DVC's."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def git(*arguments: str) -> str:
    """Ask git; the answer is empty where there is no repository or no such commit."""
    return subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False).stdout.strip()


def commit() -> str:
    """Name the commit that the work tree is at, with '-dirty' when tracked files have changed since."""
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "nothing committed yet"


def earlier_version(path: Path) -> tuple[str, str] | None:
    """Find the last committed version of a pipeline's output that differs from the present one.

    Returns the commit and the text, or None where there is no such version or where it can't be had.
    """
    import dvc.api  # imported late: few commands need it

    present = md5(path)
    for revision in git("log", "--format=%h", "--", "dvc.lock").splitlines():
        lock = YAML(typ="safe", pure=True).load(git("show", f"{revision}:./dvc.lock"))
        if lock is None:  # removed there: what came before is another problem's, see adopt
            return None
        digests = {out["path"]: out.get("md5") for stage in lock["stages"].values() for out in stage.get("outs", [])}
        if digests.get(path.as_posix(), present) != present:
            try:
                return revision, dvc.api.read(path.as_posix(), rev=revision)
            except Exception:  # neither in the cache nor in the remote, each of which has errors of its own
                return None
    return None
