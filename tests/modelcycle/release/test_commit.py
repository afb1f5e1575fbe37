"""What a release proves of its commit: code and data are in it or in DVC's stores, and it runs by itself."""

import re
import shlex
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.release import commit, release
from modelcycle.release.commit import (
    require_all_code,
    require_clean_tree,
    require_pushed_commit,
    require_stored_data,
    require_whole_commit,
)
from modelcycle.tracking import store
from modelcycle.versions.code import digest_code, read_code, read_code_at
from support.repository import swap

FEATURES = "src/flight_delays/features.py"


@pytest.fixture
def bare(reproduced, tmp_path, monkeypatch):
    """A copy of the reproduced repository, which the test runs in."""
    copy = reproduced.copy_to(tmp_path)
    monkeypatch.chdir(copy.path)
    return copy


def refusal() -> str:
    with pytest.raises(InputError) as error:
        require_whole_commit(is_served=False)
    return str(error.value)


def test_a_commit_with_all_of_it_passes_and_what_the_remote_lacks_is_said(bare, capsys):
    require_whole_commit(is_served=False)
    assert re.search(
        r"in this machine's cache alone: data/raw.parquet, .* and \d+ more; `uv run dvc push` shares them",
        capsys.readouterr().out,
    )
    bare.run("dvc", "push")
    require_whole_commit(is_served=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("has_remote", [False, True])
def test_where_others_use_the_store_they_have_to_reach_commit_and_data(bare, tmp_path, has_remote):
    bare.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin"))
    if has_remote:
        bare.run("git", "remote", "add", "company", str(tmp_path / "origin"))
        bare.run("git", "push", "--quiet", "company", "HEAD~1:refs/heads/main")  # an earlier commit is there

    def told() -> list[str]:
        with pytest.raises(InputError, match=r"MLFLOW_TRACKING_URI names") as error:
            require_pushed_commit()
            require_whole_commit(is_served=True)
        return [typed.split() for typed in re.findall("`(.*?)`", str(error.value))]

    commands = told()
    assert len(commands) == 1 + (not has_remote)
    for command in commands:
        bare.run(*(str(tmp_path / "origin") if word == "ADDRESS" else word for word in command))
    (command,) = told()
    assert command == ["uv", "run", "dvc", "push"]
    bare.run(*command[2:])
    require_whole_commit(is_served=True)


def test_code_that_a_personal_gitignore_hides_is_named_and_can_be_added(bare, tmp_path):
    (tmp_path / "ignore").write_text("look up.*\n")
    bare.run("git", "config", "core.excludesFile", str(tmp_path / "ignore"))
    (bare.path / "src/flight_delays/look up.json").write_text("{}\n")
    require_clean_tree()  # git says so
    told = refusal()
    place = f"{tmp_path}/ignore:1:look up.*"
    assert f"src/flight_delays/look up.json is not in the commit: git ignores it by {place}." in told
    bare.run(*shlex.split(re.search("`(git add .*?)`", told)[1]))
    bare.commit("lookup table")
    require_all_code(read_code_at("HEAD"))


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_an_edit_that_git_is_told_not_to_look_at_is_named_and_can_be_committed(bare, flag):
    bare.run("git", "update-index", flag, FEATURES)
    (bare.path / FEATURES).write_text("edited = True\n")
    require_clean_tree()
    told = refusal()
    assert f"{FEATURES} differs from the commit and git is told not to look at it" in told
    bare.run(*re.search("`(git update-index .*?)`", told)[1].split())
    bare.commit("edited")
    require_all_code(read_code_at("HEAD"))


def test_a_new_file_is_seen_whatever_git_status_shows(bare):
    bare.run("git", "config", "status.showUntrackedFiles", "no")
    (bare.path / "new.py").write_text("x = 1\n")
    with pytest.raises(InputError, match=r"The work tree differs from the commit: new\.py\. "):
        require_clean_tree()


def test_a_filter_that_writes_something_else_into_git_is_named(bare):
    bare.run("git", "config", "filter.shout.clean", "tr a-z A-Z")
    (bare.path / ".gitattributes").write_text("features.py filter=shout\n")
    bare.commit("a filter")
    (bare.path / FEATURES).write_text("hundred = 100\n")
    bare.commit("shouted")
    assert bare.run("git", "status", "--porcelain") == ""
    assert f"{FEATURES} differs from the commit, though git sees no change: .gitattributes names a filter" in refusal()


def test_a_deleted_file_of_the_code_is_named(bare):
    bare.run("git", "update-index", "--skip-worktree", FEATURES)
    (bare.path / FEATURES).unlink()
    assert f"{FEATURES} differs from the commit" in refusal()


@pytest.mark.parametrize("place", ["data/own.csv", "../own.csv"])
def test_a_source_that_neither_git_nor_dvc_holds_is_named(bare, place):
    """In data/, which git ignores, and outside the repository."""
    text = bare.read("dvc.lock")
    (bare.path / "dvc.lock").write_text(text.replace("path: example/flights.csv", f"path: {place}"))
    bare.commit("another source")
    with pytest.raises(InputError, match=rf"^{re.escape(place)}, md5 \w+, is neither in the commit nor in DVC's"):
        require_stored_data(is_served=False)


@pytest.mark.slow
def test_data_that_is_not_as_the_commit_has_it_is_named(bare):
    bare.run("git", "update-index", "--assume-unchanged", "example/flights.csv")
    swap(bare.path / "example/flights.csv", "1389", "1390")
    bare.reproduce()
    bare.commit("edited data")
    assert re.match(r"example/flights.csv, md5 \w+, is neither in the commit nor in DVC's", refusal())


def test_a_folder_that_a_stage_reads_may_be_in_git_or_in_dvc(bare):
    (bare.path / "queries").mkdir()
    (bare.path / "queries/orders.sql").write_text("select 1")
    digest = digest_code(read_code(Path("queries")))
    text = bare.read("dvc.lock")
    entry = f"    deps:\n    - path: queries\n      hash: md5\n      md5: {digest}\n"
    (bare.path / "dvc.lock").write_text(text.replace("    deps:\n", entry, 1))
    bare.run("git", "add", "dvc.lock")
    bare.run("git", "commit", "--quiet", "--no-verify", "-m", "a folder")
    with pytest.raises(InputError, match=r"^queries, md5 \w+\.dir, is neither in the commit nor in DVC's"):
        require_stored_data(is_served=False)
    bare.commit("in git")
    require_stored_data(is_served=False)


@pytest.mark.slow
def test_the_source_that_is_named_can_be_added(bare):
    swap(bare.path / "params.yaml", "example/flights.csv", "data/own.csv")
    Path("example/flights.csv").rename("data/own.csv")
    bare.reproduce()
    bare.commit("our own data")
    told = refusal()
    bare.run(*re.search("`uv run (dvc add .*?)`", told)[1].split())
    bare.commit("tracked")
    require_whole_commit(is_served=False)


def test_a_remote_that_can_not_be_asked_is_named(bare, capsys, monkeypatch):
    class OutOfReach:
        def oids_exist(self, oids):
            raise OSError("no route to host")

    stores = commit.open_stores() | {"remote": OutOfReach()}
    monkeypatch.setattr(commit, "open_stores", lambda: stores)
    require_stored_data(is_served=False)
    said = capsys.readouterr().out
    assert "the remote can't be asked: no route to host" in said
    assert "in this machine's cache alone" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        (
            "src/flight_delays/model.py",
            "import numpy",
            "import helpers_beside_src, numpy",
            r"is not whole without the rest of this folder: it does not run, its process has ended: "
            r"flight_delays.model: ModuleNotFoundError: No module named 'helpers_beside_src' \(model.py:5 <module>\)\. "
            "What it needs belongs in src/",
        ),
        (
            FEATURES,
            "    features: dict",
            '    pd.read_csv("data/far.csv")\n    features: dict',
            r"does not answer by itself as it does here: it fails at features.py:\d+ make_features > .*: "
            "FileNotFoundError: .*far.csv",
        ),
        (
            FEATURES,
            "    features: dict",
            '    pd.read_csv("HERE/params.yaml")\n    features: dict',
            r"does not answer by itself as it does here: it fails at features.py:\d+ make_features > .*: "
            r"FileNotFoundError: .*/params\.yaml is not in the commit's src/",
        ),
        (
            "src/flight_delays/model.py",
            "import numpy",
            "import sys; sys.path.append('HERE'); import beside, numpy",
            r"is not whole without .*: flight_delays.model: File.*Error: .*/beside.py is not in the commit's src/",
        ),
        (
            FEATURES,
            " + times.dt.minute / 60",
            "",
            r"does not answer by itself as it does here: \d+ of \d+ made-up questions get another answer, such as",
        ),
    ],
    ids=["imports", "reads", "reads by an absolute path", "imports by an absolute path", "differs"],
)
def test_a_commit_that_needs_the_work_tree_is_not_released(bare, monkeypatch, path, old, new, told):
    """Such as a module beside src/, which a notebook finds, or a table read by a path below the present folder."""
    for name in ("run_alone", "require_same_answers"):
        monkeypatch.setattr(release, name, getattr(commit, name))
    (bare.path / "beside.py").touch()
    bare.replace(path, old, new.replace("HERE", str(bare.path)))
    bare.reproduce()
    bare.commit()
    with pytest.raises(InputError, match=rf"^Commit \w{{7}} {told}"):
        release.release()
    assert store.connect().search_model_versions() == []
