"""The code of a version: all files of src/, as git holds them in its commit."""

import json
import os
from pathlib import Path

import modelcycle
from modelcycle.core.errors import InputError
from modelcycle.core.output import content_md5
from modelcycle.tracking.git import git, read_files_at

Code = dict[str, bytes]  # by path below src/, with / between the parts
NO_CODE = {"__pycache__", ".DS_Store", ".ipynb_checkpoints"}  # what programs leave behind


def read_code_at(commit: str, folder: str = "src") -> Code:
    """Read src/, or a folder in it, of a commit; empty where that has none.

    Raises InputError where a part of it is not in git: a submodule, what a link leads to, or what LFS keeps.
    """
    tree = git("rev-parse", "--quiet", "--verify", f"{commit}:./{folder}")
    entries = git("ls-tree", "-r", "-z", "--full-tree", tree).split("\0") if tree else []
    modes = {path: facts.split()[0] for facts, path in (entry.split("\t", 1) for entry in entries if entry)}
    for path, mode in modes.items():
        if mode in ("160000", "120000"):
            kind = "a submodule" if mode == "160000" else "a symbolic link"
            raise InputError(f"{folder}/{path} is {kind}: commit {commit[:7]} does not hold it; put the files there.")
    contents = read_files_at(commit, [f"{folder}/{path}" for path in modes])
    code = {path: contents[f"{folder}/{path}"] for path in modes}
    for path, content in code.items():
        if content.startswith(b"version https://git-lfs.github.com/spec"):
            raise InputError(f"{folder}/{path} is kept by Git LFS, so that commit {commit[:7]} does not hold it.")
    return code


def read_code(source: Path) -> Code:
    """Read src/ from a folder, without what programs leave behind."""
    code: Code = {}
    for folder, names, files in os.walk(source, followlinks=True):
        names[:] = [name for name in names if name not in NO_CODE and not name.endswith(".egg-info")]
        for name in files:
            path = Path(folder, name)
            if name not in NO_CODE:
                code[path.relative_to(source).as_posix()] = path.read_bytes()
    return code


def write_code(code: Code, source: Path) -> None:
    """Write src/ into a new folder."""
    for name, content in code.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def digest_code(code: Code) -> str:
    """Digest names and contents of all files, as DVC digests a folder."""
    entries = [{"md5": content_md5(code[name]), "relpath": name} for name in sorted(code)]
    return content_md5(json.dumps(entries)) + ".dir"


# What this process runs: read when it starts, since the files may change before a service takes up its next version.
RUNNING_CODE = read_code(Path(modelcycle.__file__).parents[1])


def is_running(code: Code) -> bool:
    """Say whether this process runs exactly this code."""
    return code == RUNNING_CODE
