import shlex
import subprocess
import sys

import pytest

from modelcycle.core.errors import InputError
from modelcycle.tracking.git import (
    describe_head,
    find_commit,
    find_root_commits,
    git,
    has_commit,
    is_shallow,
)
from modelcycle.versions.code import check_out, fetch_command, is_on_a_branch, read_file_at


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """A repository with two commits, in whose folder the test runs."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch=main", "ours")
    monkeypatch.chdir("ours")
    for content in ("one", "two"):
        (tmp_path / "ours/file").write_text(content)
        git("add", "--all")
        git("commit", "--quiet", "--message", content)
    return tmp_path / "ours"


def test_an_answer_that_is_no_is_empty(ours):
    assert git("rev-parse", "--quiet", "--verify", "nothing") == ""
    assert git("config", "nothing.here") == ""
    assert [find_commit(name) for name in ("nothing", "0" * 40, "--all", "HEAD:file")] == [""] * 4
    assert find_commit("main") == find_commit("HEAD") == git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (
            ["log", "--format=%H", "nothing"],
            "git failed: ambiguous argument 'nothing': unknown revision or path not in",
        ),
        (["cat-file", "blob", "HEAD:other"], "git failed: path 'other' does not exist in 'HEAD'"),
        (["no-such-command"], "git failed: git: 'no-such-command' is not a git command. See 'git --help'."),
        (["push", "origin", "main"], "git failed: 'origin' does not appear to be a git repository Could not read from"),
    ],
)
def test_a_git_that_fails_says_why_in_a_sentence(ours, question, words):
    with pytest.raises(InputError) as error:
        git(*question)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_where_there_is_no_repository_or_no_commit_there_is_nothing_to_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (has_commit(), describe_head()) == (False, "nothing committed yet")
    assert find_root_commits() == []
    with pytest.raises(InputError, match=r"^This folder is not a git repository; type `make setup`"):
        read_file_at("HEAD", "file")
    git("init", "--quiet")
    assert (has_commit(), describe_head()) == (False, "nothing committed yet")
    assert find_root_commits() == []
    assert read_file_at("HEAD", "file") is None


@pytest.mark.parametrize("ask", [describe_head, find_root_commits, lambda: read_file_at("HEAD", "file")])
def test_git_s_own_remedy_for_a_repository_of_somebody_else_reaches_the_person_and_helps(ours, monkeypatch, ask):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(InputError) as error:
        ask()
    place, _, remedy = str(error.value).partition(" To add an exception for this directory, call: ")
    assert place == f"git failed: detected dubious ownership in repository at '{ours}'"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(ours.parent / "gitconfig"))
    subprocess.run(remedy.split(), check=True)
    assert ask()


@pytest.mark.parametrize(
    ("setting", "question"),
    [
        ("color.ui=always", ["log", "--format=%H"]),
        ("core.quotePath=true", ["ls-files"]),
        ("log.showSignature=true", ["show", "--no-patch", "--format=%s"]),
        ("status.showUntrackedFiles=no", ["status", "--porcelain"]),
        ("color.status=always", ["status", "--porcelain"]),
    ],
)
def test_a_personal_setting_does_not_change_what_git_answers(ours, setting, question):
    (ours / "Übersicht.md").write_text("new")
    git("add", "--all")
    git("commit", "--quiet", "--message", "umlaut")
    (ours / "unknown").write_text("new")
    before = git(*question)
    assert before
    git("config", *setting.split("="))
    assert git(*question) == before


def test_what_a_hook_starts_elsewhere_looks_for_its_own_repository(ours, tmp_path):
    """git names its own repository to hooks: a `git init` in another folder would write into that."""
    code = "from modelcycle.tracking import git; git.forget_callers_repository(); git.git('init', '--quiet')"
    git("worktree", "add", "--quiet", "../linked")
    (tmp_path / "copy").mkdir()
    hook = ours / ".git/hooks/pre-commit"
    hook.write_text(f"#!/bin/sh\ncd ../copy && {shlex.join([sys.executable, '-c', code])}\n")
    hook.chmod(0o755)
    git("-C", "../linked", "commit", "--quiet", "--allow-empty", "--message", "by a hook")
    assert (tmp_path / "copy/.git").is_dir()
    assert git("config", "core.bare") == "false"
    assert git("-C", "../linked", "log", "-1", "--format=%s") == "by a hook"


def test_the_head_is_named_by_its_commit_and_whether_files_have_changed(ours):
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40
    git("tag", "v1")
    (ours / "untracked").write_text("")
    assert describe_head() == commit
    (ours / "file").write_text("three")
    assert describe_head() == f"{commit}-dirty"


def test_a_file_is_read_as_it_was_in_a_commit_also_below_the_top(ours, monkeypatch):
    assert [read_file_at(revision, "file") for revision in ("HEAD", "HEAD^", "nothing")] == [b"two", b"one", None]
    assert read_file_at("HEAD", "other") is None
    (ours / "part").mkdir()
    (ours / "part/file").write_bytes(b"\x00\xff\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "part")
    monkeypatch.chdir("part")
    assert read_file_at("HEAD", "file") == b"\x00\xff\n"


def test_a_shallow_clone_has_no_first_commit_and_can_fetch_it(ours, monkeypatch):
    first = git("rev-list", "--max-parents=0", "HEAD")
    assert find_root_commits() == [first]
    assert (is_shallow(), fetch_command()) == (False, "git fetch")
    git("clone", "--quiet", "--depth=1", f"file://{ours}", "../shallow")
    monkeypatch.chdir("../shallow")
    assert find_root_commits() == []
    assert (is_shallow(), fetch_command()) == (True, "git fetch --unshallow")
    git(*fetch_command().split()[1:])
    assert find_root_commits() == [first]


def test_the_oldest_first_commit_of_several_comes_last(ours, monkeypatch):
    first = git("rev-parse", "HEAD^")
    git("checkout", "--quiet", "--orphan", "other")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2090-01-01T00:00:00")
    git("commit", "--quiet", "--message", "another beginning")
    second = git("rev-parse", "HEAD")
    git("merge", "--quiet", "--allow-unrelated-histories", "--strategy=ours", "--message", "both", "main")
    assert find_root_commits() == [second, first]


def test_a_commit_is_kept_by_a_branch_a_tag_or_what_was_fetched(ours):
    assert is_on_a_branch("HEAD^")
    git("checkout", "--quiet", "--detach")
    git("commit", "--quiet", "--allow-empty", "--message", "nowhere")
    assert not is_on_a_branch("HEAD")
    git("update-ref", "refs/stash", "HEAD")
    assert not is_on_a_branch("HEAD")
    for reference in ("refs/tags/v1", "refs/remotes/origin/main", "refs/heads/other"):
        git("update-ref", reference, "HEAD")
        assert is_on_a_branch("HEAD")
        git("update-ref", "-d", reference)
    assert not is_on_a_branch("nothing")


def test_a_commit_is_checked_out_whole_whatever_attributes_and_settings_say(ours, tmp_path, monkeypatch):
    """Of a project in a folder of its repository, its own files; and neither its work tree nor its index changes."""
    files = {
        "part/src/code.py": "x = 1\n",
        "part/run.sh": "#!/bin/sh\n",
        "part/.gitattributes": "* -text\n*.py export-ignore\n",
    }
    for name, text in files.items():
        (ours / name).parent.mkdir(parents=True, exist_ok=True)
        (ours / name).write_text(text)
    (ours / "part/run.sh").chmod(0o755)
    git("add", "--all")
    git("commit", "--quiet", "--message", "part")
    commit = git("rev-parse", "HEAD")
    git("rm", "--quiet", "part/run.sh")
    (ours / "part/src/code.py").write_text("changed")
    git("config", "core.autocrlf", "true")
    before = git("status", "--porcelain")
    monkeypatch.chdir(ours / "part")
    target = tmp_path / "a folder"
    target.mkdir()
    check_out(commit, target)
    written = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}
    assert {f"part/{name}": path.read_bytes().decode() for name, path in written.items()} == files
    assert written["run.sh"].stat().st_mode & 0o100
    assert git("-C", "..", "status", "--porcelain") == before
