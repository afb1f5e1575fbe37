"""Where a result comes from: its commit, and the md5 of each file, as DVC writes it into dvc.lock."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from modelcycle.core.output import content_md5, read_text
from modelcycle.core.paths import CONTRACT, EXPECTED, MODEL, PARAMS, PREDICTIONS, PROFILE, RAW, TEST, TRAIN
from modelcycle.tracking.git import find_commit
from modelcycle.versions.code import read_files_at


def read_lock(revision: str) -> dict[str, str]:
    """Read from a commit's dvc.lock the md5 of every file that the pipeline read or wrote, by path."""
    files = read_files_at(revision, ["dvc.lock", "dvc.yaml"])
    return parse_lock(files.get("dvc.lock", b""), files.get("dvc.yaml", b""))


@cache
def parse_lock(lock: bytes, pipeline: bytes, kinds: tuple[str, ...] = ("deps", "outs")) -> dict[str, str]:
    """Return the md5 by path that dvc.lock holds for the stages of dvc.yaml; stages that are gone don't count."""
    locked, current = (YAML(typ="safe", pure=True).load(text) or {"stages": {}} for text in (lock, pipeline))
    stages = [stage for name, stage in locked["stages"].items() if name.split("@")[0] in current["stages"]]
    files = [file for kind in kinds for stage in stages for file in stage.get(kind, [])]
    return {file["path"]: str(file.get("md5", "")) for file in files}


def list_outputs() -> list[str]:
    """List the files that the steps of the pipeline write, as dvc.lock says."""
    return list(parse_lock(*(read_text(Path(name)).encode() for name in ("dvc.lock", "dvc.yaml")), kinds=("outs",)))


def read_provenance(revision: str) -> dict[str, str]:
    """Read what a commit's results come from: the commit, and the md5 of data, model, predictions and configuration.

    Everything is read from git, so that it can be read again at any time and compared with a version's tags.
    """
    files = read_lock(revision)
    outputs = (RAW, TRAIN, TEST, PROFILE, MODEL, PREDICTIONS, EXPECTED)
    digests = {path.stem: files.get(path.as_posix(), "") for path in outputs}
    configuration = {"contract": str(CONTRACT), "params": str(PARAMS), "lock": "dvc.lock", "environment": "uv.lock"}
    contents = read_files_at(revision, list(configuration.values()))
    digests |= {name: content_md5(contents[path]) if path in contents else "" for name, path in configuration.items()}
    return {"git_commit": find_commit(revision)} | {f"md5.{name}": digest for name, digest in digests.items()}


def read_at_commit(revision: str, path: Path, read: Callable[[Any], Any]) -> Any:
    """Read an output of the pipeline as it was at a commit; None where it is not available."""
    import dvc.api  # imported late: few commands need it

    if not revision:  # DVC would take the work tree
        return None
    try:
        with dvc.api.open(path.as_posix(), rev=revision, mode="rb") as content:
            return read(content)
    except Exception:  # neither in the cache nor in the remote, each of which has errors of its own
        return None
