"""One MLflow store for several projects: two of one name are told apart by their repositories' first commits."""

import re
import shlex
import sqlite3

import pytest
from conftest import Repository, fork

TOOL = "modelcycle"


@pytest.fixture
def store(tmp_path) -> dict[str, str]:
    """The company's store, as commands are told of it."""
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/company.db"}


def content(store: dict[str, str]) -> list[str]:
    with sqlite3.connect(store["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")) as database:
        return list(database.iterdump())


def begin_again(repository: Repository) -> str:
    """Give the same files a history of their own, and say which commit it begins with."""
    repository.run("git", "checkout", "--quiet", "--orphan", "other")
    repository.commit("another beginning")
    repository.run("git", "branch", "--quiet", "--force", "main")
    repository.run("git", "checkout", "--quiet", "main")
    return repository.run("git", "rev-parse", "HEAD").strip()


def first_commit(repository: Repository) -> str:
    return repository.run("git", "rev-list", "--max-parents=0", "HEAD").strip()


def test_another_project_of_the_same_name_is_refused_before_it_writes_and_goes_on_under_another(
    default, copy, store, tmp_path
):
    other = fork(default, tmp_path / "other")
    theirs, ours = first_commit(copy), begin_again(other)
    copy.run(TOOL, "release", **store)
    before = content(store)
    for command in (["train"], ["gate"], ["release"], ["rollback", "1"], ["trace"], ["release", "--history"]):
        printed = other.run(TOOL, *command, fails=True, **store)
        told = f"holds flight_delays of another repository, whose first commit is {theirs[:7]}, not {ours[:7]}: "
        assert f"error: {store['MLFLOW_TRACKING_URI']} {told}" in printed
    assert content(store) == before
    entry = re.search(r'`(experiment = ".*?")`', printed)[1]
    other.replace("pyproject.toml", "[tool.modelcycle]\n", f"[tool.modelcycle]\n{entry}\n")
    other.commit("a name of its own")
    other.run(TOOL, "release", **store)
    for repository in (copy, other):
        assert re.findall(r"version \d \w+", repository.run(TOOL, "release", "--history", **store)) == [
            "version 1 promoted"
        ]


def test_a_history_that_was_rewritten_is_accepted_when_one_says_so(copy, store):
    copy.run(TOOL, "release", **store)
    begin_again(copy)
    printed = copy.run(TOOL, "release", "--history", fails=True, **store)
    copy.run(*shlex.split(re.search(r"`(\S+python -c .*?)`", printed)[1]), **store)
    assert "version 1 promoted" in copy.run(TOOL, "release", "--history", **store)


def test_clones_of_one_repository_share_its_experiment_and_are_told_how_to_fetch(copy, store, tmp_path):
    hub, complete, shallow = (tmp_path / name for name in ("hub.git", "complete", "shallow"))
    copy.run("git", "clone", "--quiet", "--bare", ".", str(hub))
    for options, path in (([], complete), (["--depth=1"], shallow)):
        copy.run("git", "clone", "--quiet", *options, f"file://{hub}", str(path))
        (path / ".venv").symlink_to(copy.path / ".venv")
    copy.commit("not fetched yet")
    copy.run(TOOL, "release", **store)
    copy.run("git", "push", "--quiet", str(hub), "main")
    for path, fetch in ((complete, "git fetch"), (shallow, "git fetch --unshallow")):
        repository = Repository(path)
        assert f"is not in this repository; try `{fetch}`" in repository.run(TOOL, "trace", fails=True, **store)
        told = repository.run(TOOL, "export", "out", fails=True, **store)
        assert f"of version 1 is not in this repository: `{fetch}`, or" in told
        repository.run(*fetch.split())
        repository.run(TOOL, "export", "out", **store)


def test_who_can_t_tell_is_let_in_and_leaves_the_mark_to_others(copy, store, tmp_path):
    copy.run("git", "clone", "--quiet", "--depth=1", f"file://{copy.path}", str(tmp_path / "shallow"))
    shallow, known = Repository(tmp_path / "shallow"), first_commit(copy)
    (shallow.path / ".venv").symlink_to(copy.path / ".venv")
    (copy.path / ".git").rename(tmp_path / "before.git")
    copy.run("git", "init", "--quiet")
    for repository in (shallow, copy):
        assert repository.run(TOOL, "release", "--history", **store) == ""
    assert not any("first_commit" in line for line in content(store))
    shallow.run("git", "fetch", "--quiet", "--unshallow", str(tmp_path / "before.git"))
    for repository in (shallow, copy):
        assert repository.run(TOOL, "release", "--history", **store) == ""
    assert any(f"'first_commit','{known}'" in line for line in content(store))


def test_the_local_store_is_the_repository_s_own_whatever_its_history(copy):
    begin_again(copy)
    assert copy.run(TOOL, "release", "--history") == ""
