"""Where a result comes from: the commit, and the md5 of each file, as DVC writes it into dvc.lock."""

from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from modelcycle.core.digest import content_md5, md5
from modelcycle.core.output import read_text
from modelcycle.core.paths import CONTRACT, EXPECTED, MODEL, PARAMS, PREDICTIONS, PROFILE, RAW, TEST, TRAIN
from modelcycle.tracking.git import committed, git


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
