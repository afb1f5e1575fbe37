from pathlib import Path

import pytest

from modelcycle.core.digest import content_md5, md5
from modelcycle.tracking import lineage
from modelcycle.tracking.lineage import (
    list_outputs,
    parse_lock,
    read_at_commit,
    read_lock,
    read_previous_output,
    read_provenance,
)

PIPELINE = b"stages:\n  ingest: {}\n  each: {foreach: [a, b], do: {}}\n"
LOCK = b"""
schema: '2.0'
stages:
  ingest:
    deps: [{path: in.csv, md5: '1'}, {path: code.py, md5: '2'}]
    outs: [{path: out.csv, md5: '3'}]
  each@a:
    outs: [{path: a.csv, md5: '4'}, {path: remote.csv}]
  gone:
    deps: [{path: old.csv, md5: '5'}]
    outs: [{path: out.csv, md5: '6'}]
"""


def test_a_lock_gives_what_the_stages_of_today_read_and_wrote():
    assert parse_lock(LOCK, PIPELINE) == {
        **{"in.csv": "1", "code.py": "2", "out.csv": "3"},
        **{"a.csv": "4", "remote.csv": ""},
    }
    assert parse_lock(LOCK, PIPELINE, ("outs",)) == {"out.csv": "3", "a.csv": "4", "remote.csv": ""}
    assert parse_lock(b"", PIPELINE) == parse_lock(LOCK, b"") == {}


def test_outputs_are_those_of_the_work_tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list_outputs() == []
    Path("dvc.yaml").write_bytes(PIPELINE)
    Path("dvc.lock").write_bytes(LOCK)
    assert list_outputs() == ["out.csv", "a.csv", "remote.csv"]


def test_a_commit_says_what_its_results_come_from(first_release, monkeypatch):
    monkeypatch.chdir(first_release.path)
    made = read_provenance("main")
    assert made["git_commit"] == first_release.run("git", "rev-parse", "HEAD").strip()
    assert {name.removeprefix("md5."): value for name, value in made.items() if name.startswith("md5.")} == {
        "raw": md5(Path("data/raw.parquet")),
        "train": md5(Path("data/train.parquet")),
        "test": md5(Path("data/test.parquet")),
        "profile": md5(Path("data/profile.json")),
        "model": md5(Path("models/model.skops")),
        "predictions": md5(Path("reports/predictions.parquet")),
        "expected": md5(Path("reports/expected.json")),
        "contract": md5(Path("contract.yaml")),
        "params": md5(Path("params.yaml")),
        "lock": md5(Path("dvc.lock")),
        "environment": "",
    }
    before = read_provenance("HEAD^")  # nothing has run yet
    assert (before["md5.model"], before["md5.lock"]) == ("", "")
    assert before["md5.contract"] == made["md5.contract"]
    assert read_lock("nothing") == {}


def test_an_output_is_read_as_it_was_at_a_commit(repository, monkeypatch):
    path, read = Path("data/profile.json"), lambda content: content.read()
    before = path.read_bytes()
    path.unlink()
    path.write_text("{}")
    assert read_at_commit("HEAD", path, read) == before
    for revision, wanted in (("", path), ("nothing", path), ("HEAD^", path), ("HEAD", Path("nothing.json"))):
        assert read_at_commit(revision, wanted, read) is None
    assert read_at_commit("HEAD", path, lambda content: content.read().decode("ascii", "strict")[10**9]) is None


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """Make a history of dvc.lock; gives the commits. The files' contents are said to be available."""
    from modelcycle.tracking.git import git

    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    Path("dvc.yaml").write_text("stages: {evaluate: {}}\n")
    Path("out").write_bytes(b"now")

    def commit(*contents):
        commits = []
        for i, content in enumerate(contents):
            outs = "" if content is None else f"{{path: out, md5: {content_md5(content)}}}"
            stages = "{}" if content is None else f"{{evaluate: {{outs: [{outs}]}}}}"
            Path("dvc.lock").write_text(f"# {i}\nschema: '2.0'\nstages: {stages}\n")
            git("add", "--all")
            git("commit", "--quiet", "--message", "change")
            commits.append(git("rev-parse", "--short", "HEAD"))
        return commits

    monkeypatch.setattr(lineage, "read_at_commit", lambda revision, path, read: f"{path} at {revision}")
    return commit


@pytest.mark.parametrize(
    ("contents", "found"),
    [
        ([b"now"], None),
        ([b"old", b"now", b"now"], 0),
        ([b"older", b"old", b"now"], 1),
        ([b"older", b"old"], 1),  # what is in the work tree is not committed yet
        ([b"old", None, b"now"], None),  # another problem's
    ],
)
def test_the_last_committed_state_that_differs_is_found(locked, contents, found):
    commits = locked(*contents)
    expected = None if found is None else (commits[found], f"out at {commits[found]}")
    assert read_previous_output(Path("out")) == expected


def test_a_state_that_can_t_be_had_is_none(locked, monkeypatch):
    locked(b"old", b"now")
    monkeypatch.setattr(lineage, "read_at_commit", lambda *_: None)
    assert read_previous_output(Path("out")) is None
