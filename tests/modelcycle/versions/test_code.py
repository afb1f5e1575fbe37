import subprocess
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from modelcycle.core.errors import InputError
from modelcycle.tracking.git import git
from modelcycle.versions.code import digest_code, read_code, read_code_at, write_code

FILES = {
    "team/__init__.py": b"",
    "team/features.py": b"print('\xc3\xbc')\n",
    "team/look up/t\xc3\xa4ble.bin".encode("latin-1").decode(): b"\x00\xff\r\n",
    "machinery/core.py": b"x = 1",
}


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """A repository whose project lies in a folder below its top."""
    folder = tmp_path / "ours/part"
    write_code(FILES, folder / "src")
    monkeypatch.chdir(folder)
    git("init", "--quiet", "..")
    (folder / "other.txt").write_text("no code")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")
    return folder


def test_code_is_read_from_a_commit_as_it_was_written(ours):
    assert read_code_at("HEAD") == read_code(ours / "src") == FILES
    (ours / "src/team/features.py").write_text("changed")
    (ours / "src/team/new.py").write_text("new")
    assert read_code_at("HEAD") == FILES


def test_no_attribute_and_no_setting_changes_what_a_commit_holds(ours):
    """`git archive` obeys export-ignore, a checkout turns line ends round: both leave a version that is not whole."""
    (ours / ".gitattributes").write_text("*.py export-ignore\n* ident\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "attributes")
    git("config", "core.autocrlf", "true")
    assert read_code_at("HEAD") == FILES


def test_what_programs_leave_behind_is_no_code(ours):
    for name in ("team/__pycache__/features.cpython-311.pyc", "team.egg-info/PKG-INFO", "team/.DS_Store"):
        path = ours / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert read_code(ours / "src") == FILES


def test_names_and_contents_count_in_the_digest():
    digests = {
        digest_code(changed)
        for changed in (
            FILES,
            FILES | {"team/__init__.py": b" "},
            FILES | {"team/new.py": b""},
            {name.replace("core", "score"): content for name, content in FILES.items()},
        )
    }
    assert len(digests) == 4
    assert digest_code(dict(reversed(FILES.items()))) == digest_code(FILES)


def test_a_symbolic_link_a_submodule_and_what_lfs_keeps_are_named(ours, tmp_path):
    def commit_and_read():
        git("add", "--all")
        git("commit", "--quiet", "--message", "change")
        with pytest.raises(InputError) as error:
            read_code_at("HEAD")
        git("reset", "--quiet", "--hard", "HEAD^")
        return str(error.value)

    (ours / "src/team/linked.py").symlink_to(tmp_path / "elsewhere.py")
    assert "src/team/linked.py is a symbolic link: commit " in commit_and_read()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (ours / "src/team/table.csv").write_text(pointer)
    assert commit_and_read().startswith("src/team/table.csv is kept by Git LFS, so that commit ")
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", other], check=True)
    subprocess.run(["git", "-C", other, "commit", "--quiet", "--allow-empty", "--message", "x"], check=True)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "src/team/vendor")
    assert "src/team/vendor is a submodule: commit " in commit_and_read()


def test_a_folder_is_digested_as_by_dvc(ours, monkeypatch):
    with chdir(ours):
        dvc = Repo.init(subdir=True)
        dvc.run(cmd="true", name="stage", deps=["src/team"], no_exec=True)
        dvc.commit(force=True)
        (entry,) = YAML(typ="safe").load(Path("dvc.lock").read_text())["stages"]["stage"]["deps"]
    assert entry["md5"] == digest_code(read_code_at("HEAD", "src/team"))


def test_a_folder_that_a_commit_does_not_have_is_empty(ours):
    assert read_code_at("HEAD", "src/nothing") == {}
