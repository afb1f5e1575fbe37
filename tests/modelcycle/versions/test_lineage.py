from pathlib import Path

from modelcycle.core.output import md5
from modelcycle.versions.lineage import (
    list_outputs,
    parse_lock,
    read_at_commit,
    read_lock,
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
