import subprocess
import sys
from pathlib import Path

import pytest

from modelcycle.core.output import md5
from modelcycle.release import reproduce as module
from modelcycle.release.reproduce import link_cache, prepare_environment, reproduce, run_pipeline
from modelcycle.versions import environment as version_environment
from modelcycle.versions import registry
from modelcycle.versions.lineage import read_lock


@pytest.fixture
def version(repository, client):
    """The repository's version, whose commit is not the last one any more."""
    (repository.path / "docs/notes.md").write_text("ours")
    repository.commit("later")
    return registry.find_version(client, "1")


def worktrees(repository):
    return len(repository.run("git", "worktree", "list").splitlines())


def test_what_is_reproduced_is_compared_file_by_file(repository, version, monkeypatch):
    """The pipeline itself runs in tests/verbs."""
    predictions = md5(Path("reports/predictions.parquet"))
    seen = {}

    def run(root, revision, environment):
        seen["commit"] = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=root, text=True).strip()
        seen["store"] = environment["MLFLOW_TRACKING_URI"]
        seen["cache"] = (root / ".dvc/cache").resolve()
        assert not (root / "docs/notes.md").exists()
        for old, new in edits:
            lock = (root / "dvc.lock").read_text()
            assert old in lock
            (root / "dvc.lock").write_text(lock.replace(old, new))
        return ", as told"

    monkeypatch.setattr(module, "run_pipeline", run)
    edits = [(md5(Path("models/model.skops")), "1" * 32), (md5(Path("reports/report.html")), "2" * 32)]
    link = reproduce(version)
    assert link.broken == []  # a model's bytes may differ by machine, and the report quotes git
    assert link.facts.startswith(f"commit {version.commit}, present environment: no uv.lock in the commit, as told, ")
    assert link.facts.endswith(f", as told, reports/predictions.parquet md5 {predictions}")
    assert seen["commit"] == version.commit
    assert seen["store"].startswith("sqlite:////")
    assert str(repository.path) not in seen["store"]
    assert seen["cache"] == repository.path / ".dvc/cache"
    edits = [(predictions, "3" * 32), ("path: reports/slices.csv", "path: reports/other.csv")]
    slices = read_lock(version.commit)["reports/slices.csv"]
    assert sorted(reproduce(version).broken) == [
        f"reports/predictions.parquet, reproduced, has md5 {'3' * 32}, the commit says {predictions}",
        f"reports/slices.csv, reproduced, has md5 None, the commit says {slices}",
    ]
    assert worktrees(repository) == 1
    assert repository.run("git", "status", "--porcelain") == ""


def test_a_pipeline_that_fails_is_a_broken_link_and_leaves_nothing(repository, version, monkeypatch):
    monkeypatch.setattr(module, "run_pipeline", lambda root, *_: subprocess.run(["false"], cwd=root, check=True))
    (fault,) = reproduce(version).broken
    assert fault.startswith(f"the pipeline of commit {version.commit[:7]} does not run any more: Command '['false']'")
    assert worktrees(repository) == 1


def test_the_environment_of_the_commit_s_lock_is_installed_where_it_is_not_today_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uv = tmp_path / ".uv/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text('#!/bin/sh\necho "$@" >>called\n')
    uv.chmod(0o755)
    root = tmp_path / "tree"
    root.mkdir()
    locks = {"none": None, "same": b"lock", "other": b"another lock"}
    for place in (module, version_environment):
        monkeypatch.setattr(place, "read_file_at", lambda commit, path: locks[commit] if path == "uv.lock" else None)
    monkeypatch.setattr(version_environment, "RUNNING_LOCK", b"lock")
    own = str(Path(sys.executable).parent)
    for revision, description in [
        ("none", ", present environment: no uv.lock in the commit"),
        ("same", ", environment from uv.lock"),
    ]:
        environment, said = prepare_environment(root, revision, "sqlite:///runs.db")
        assert said == description
        assert environment["PATH"].split(":")[0] == own
        assert environment["PYTHONPATH"] == f"{root}/src"
        assert environment["MLFLOW_TRACKING_URI"] == "sqlite:///runs.db"
    assert not (root / "called").exists()
    environment, said = prepare_environment(root, "other", "sqlite:///runs.db")
    assert said == ", environment from uv.lock"
    assert (root / "called").read_text() == "sync --frozen --no-progress\n"
    assert environment["PATH"].split(":")[0] == f"{root}/.venv/bin"
    monkeypatch.setattr(version_environment, "RUNNING_LOCK", None)
    prepare_environment(root, "same", "sqlite:///runs.db")
    assert (root / "called").read_text() == "sync --frozen --no-progress\n" * 2


def test_a_work_tree_uses_the_repository_s_cache_and_credentials(repository, tmp_path):
    (repository.path / ".dvc/config.local").write_text("[core]\n")
    root = tmp_path / "tree"
    (root / ".dvc").mkdir(parents=True)
    link_cache(root)
    assert (root / ".dvc/cache").resolve() == repository.path / ".dvc/cache"
    assert (root / ".dvc/config.local").read_text() == "[core]\n"


@pytest.mark.parametrize(
    ("source", "called", "said"),
    [
        ("example/flights.csv", "", ""),
        ("query.sql", "checkout --quiet ingest\n", ", not from the database, which gives today's rows, but from those"),
    ],
)
def test_the_pipeline_runs_from_the_rows_of_then(tmp_path, monkeypatch, capfd, source, called, said):
    dvc = tmp_path / "python"
    dvc.write_text('#!/bin/sh\necho "$@" >>called\necho "$STORE"\n')
    dvc.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dvc))
    monkeypatch.setattr(module, "read_file_at", lambda revision, path: f"ingest: {{source: {source}}}".encode())
    assert run_pipeline(tmp_path, "c", {"STORE": "it", "PATH": "/bin:/usr/bin"}).startswith(said)
    commands = "pull --quiet --allow-missing\n" + called + "repro --force --no-run-cache"
    commands += " --downstream prepare\n" if called else "\n"
    assert (tmp_path / "called").read_text().replace("-m dvc ", "") == commands
    captured = capfd.readouterr()
    assert captured.err == "it\n"  # the chain alone goes to standard output
