"""The command runs the code of the repository that it is called in, and no other's."""

import os
import re
import shutil

import pytest

from support.repository import Repository


@pytest.fixture
def other(bake) -> Repository:
    """Another project, which has no environment yet."""
    return bake(project_name="Other")


def refused(repository: Repository, *command: str, **environment: str) -> str:
    (sentence,) = repository.run(*command, fails=True, **environment).splitlines()
    return sentence.removeprefix("error: ")


def test_an_environment_that_was_copied_with_its_folder_is_refused(default, other):
    shutil.copytree(default.path / ".venv", other.path / ".venv", symlinks=True, copy_function=os.link)
    sentence = f"{default.path}/src/modelcycle would have run instead of this repository's src/modelcycle: "
    assert refused(other, "modelcycle", "ingest").startswith(sentence)
    assert refused(other, "python", "-m", "modelcycle", "ingest").startswith(sentence)
    assert "`rm -rf .venv` first" in refused(other, ".venv/bin/modelcycle", "ingest")
    assert not (other.path / "data/raw.parquet").exists()
    other.run("rm", "-rf", ".venv")
    other.run("make", "setup")
    assert other.run("modelcycle", "ingest").startswith("ingest ")


def test_another_project_s_activated_environment_is_refused_with_what_to_type(default, other):
    active = {"PATH": f"{default.path / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    told = refused(other, "modelcycle", "rollback", "2", "--reason", "too slow", **active)
    assert "type `make setup`, then `.venv/bin/modelcycle rollback 2 --reason 'too slow'`" in told


def test_another_project_s_pythonpath_does_no_harm_to_make_and_is_named_elsewhere(copy, other):
    leads_away = {"PYTHONPATH": str(other.path / "src")}
    (copy.path / "data/raw.parquet").unlink()
    copy.run("make", "reproduce", **leads_away)
    told = refused(copy, "modelcycle", "ingest", **leads_away)
    unset, command = re.findall("`(.*?)`", told)
    assert unset == "unset PYTHONPATH"
    copy.run("sh", "-c", f"{unset}; {command}", **leads_away)


def test_code_that_is_found_by_another_way_is_the_repository_s_own(default, other, tmp_path):
    program = str(default.path / ".venv/bin/modelcycle")
    moved = other.path.rename(tmp_path / "other") / "src"
    linked = Repository(other.path)
    shutil.copytree(moved.parent, linked.path, ignore=shutil.ignore_patterns("src"))
    (linked.path / "src").symlink_to(moved)
    for repository, found_at in ((Repository(moved.parent), moved), (linked, moved), (linked, linked.path / "src")):
        repository.run(program, "ingest", PYTHONPATH=str(found_at))
        assert (repository.path / "data/raw.parquet").exists()
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    assert "contract.yaml is not in" in Repository(nowhere).run(program, "ingest", fails=True)
