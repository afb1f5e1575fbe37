"""Files as git holds them in a commit, and of these the code of a version: all of src/."""

import io
import json
import os
import tempfile
from pathlib import Path

import modelcycle
from modelcycle.core.errors import InputError
from modelcycle.core.output import content_md5
from modelcycle.tracking.git import find_commit, git, git_bytes, is_shallow

Code = dict[str, bytes]  # by path below src/, with / between the parts
NO_CODE = {"__pycache__", ".DS_Store", ".ipynb_checkpoints"}  # what programs leave behind


def read_file_at(revision: str, path: str) -> bytes | None:
    """Read a file of this folder as it is in a commit; None where it is not in there, or the commit is not here."""
    return read_files_at(revision, [path]).get(path)


def read_files_at(revision: str, paths: list[str]) -> dict[str, bytes]:
    """Read files of this folder as they are in a commit; those that are not in there are left out."""
    names = "".join(f"{revision}:./{path}\n" for path in paths)
    answer = io.BytesIO(git_bytes(("cat-file", "--batch"), typed=names.encode("utf-8", "surrogateescape")))
    contents = {}
    for path in paths:
        header = answer.readline().split()
        if header[-1] != b"missing":
            content = answer.read(int(header[-1]))
            answer.read(1)  # the end of the line
            if header[-2] == b"blob":  # and no folder
                contents[path] = content
    return contents


def check_out(revision: str, folder: Path) -> None:
    """Write all files of this folder, as they are in a commit, into another one; `git archive` may leave some out."""
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        tree, top = git("rev-parse", f"{revision}:./"), git("rev-parse", "--show-toplevel")
        git("read-tree", tree, environment=index)
        git("-C", top, "checkout-index", "--all", f"--prefix={folder.resolve()}/", environment=index)


def fetch_command() -> str:
    """Return the command that fetches a missing commit; git refuses --unshallow in a complete clone."""
    return "git fetch --unshallow" if is_shallow() else "git fetch"


def is_on_a_branch(revision: str) -> bool:
    """Say whether a commit belongs to a branch or a tag, here or as last fetched: git keeps it then."""
    commit = find_commit(revision)
    places = ("refs/heads", "refs/remotes", "refs/tags")
    return bool(commit and git("for-each-ref", "--contains", commit, "--count=1", *places))


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
