import pytest

from modelcycle.tracking.git import (
    describe_head,
    fetch_command,
    find_root_commits,
    git,
    is_on_a_branch,
    is_shallow,
    read_file_at,
)


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


def test_git_says_nothing_where_there_is_no_repository_or_no_commit(tmp_path, monkeypatch, ours):
    assert git("rev-parse", "--verify", "nothing") == ""
    monkeypatch.chdir(tmp_path)
    assert git("log") == ""
    assert describe_head() == "nothing committed yet"
    assert find_root_commits() == []
    assert not is_shallow()


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
