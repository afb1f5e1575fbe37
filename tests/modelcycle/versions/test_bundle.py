import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from modelcycle.core.errors import InputError
from modelcycle.core.output import md5
from modelcycle.core.team import Project
from modelcycle.versions import environment, registry
from modelcycle.versions.bundle import Bundle, export, load_champion, load_folder, load_version, read_version_code
from modelcycle.versions.environment import read_other_lock


def test_the_champion_answers_as_it_did_when_it_was_trained(repository, client):
    bundle = load_champion(client)
    test = pd.read_parquet("data/test.parquet")
    expected = pd.read_parquet("reports/predictions.parquet")
    answers = bundle.predict(test)
    assert_frame_equal(answers.reset_index(drop=True), expected[list(answers)].reset_index(drop=True))
    assert bundle.metrics == json.loads(registry.find_version(client, "1").tags["metrics"])
    assert bundle.facts["git_commit"] == repository.run("git", "rev-parse", "HEAD").strip()
    assert set(bundle.facts) > {"metrics", "md5.model", "md5.raw"}
    assert "gate" not in bundle.facts
    assert (bundle.version, bundle.project.package) == ("1", "flight_delays")
    assert bundle.profile == json.loads(repository.read("data/profile.json"))
    assert bundle.expected == json.loads(repository.read("reports/expected.json"))
    assert "| version | 1 |" in bundle.card


def test_the_code_comes_from_the_version_s_commit_not_from_the_work_tree(repository, client):
    Path("src/flight_delays/features.py").write_text("raise RuntimeError\n")
    version = registry.find_version(client, "1")
    test = pd.read_parquet("data/test.parquet").head()
    assert len(load_version(client, version).predict(test)) == 5
    elsewhere = replace(version, tags=version.tags | {"git_commit": "0" * 40})
    with pytest.raises(InputError, match=r"^Commit 0{7} of version 1 is not in this repository: `git fetch`, or `make"):
        read_version_code(elsewhere)


def test_an_environment_is_made_only_where_this_process_has_another(repository, client, monkeypatch):
    version = registry.find_version(client, "1")
    assert read_other_lock(version.commit) == {}  # its commit has no lock
    Path("uv.lock").write_bytes(b"version = 1\n")
    repository.commit("a lock")
    locked = replace(version, tags=version.tags | {"git_commit": repository.run("git", "rev-parse", "HEAD").strip()})
    lock = read_other_lock(locked.commit)
    assert lock == {"uv.lock": b"version = 1\n", "pyproject.toml": Path("pyproject.toml").read_bytes()}
    assert load_version(client, locked).predictor.lock == lock
    monkeypatch.setattr(environment, "RUNNING_LOCK", b"version = 1\n")
    assert read_other_lock(locked.commit) == {}


def test_there_is_a_champion_only_after_a_release(client, monkeypatch):
    monkeypatch.setattr(registry, "read_ledger", lambda _: [])
    with pytest.raises(InputError, match=r"^There is no champion yet; `make release` makes one\.$"):
        load_champion(client)


@pytest.fixture(scope="module")
def exported(first_release, tmp_path_factory):
    """What export writes and prints."""
    folder = tmp_path_factory.mktemp("exported") / "version"
    return folder, first_release.verb("export", str(folder))


def test_an_exported_version_is_the_same_without_its_repository(exported, repository, client, tmp_path, monkeypatch):
    folder, printed = exported
    assert printed.split() == ["export", "version", "1", str(folder)]
    monkeypatch.chdir(tmp_path)
    bundle = load_folder(folder)
    monkeypatch.chdir(repository.path)
    champion = load_champion(client)
    test = pd.read_parquet("data/test.parquet").head(50)
    assert_frame_equal(bundle.predict(test), champion.predict(test))
    for name in ("version", "facts", "contract", "project", "profile", "expected", "questions", "card"):
        assert getattr(bundle, name) == getattr(champion, name)
    manifest = json.loads((folder / "version.json").read_text(encoding="utf-8"))
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert manifest["files"] == {name: md5(path) for name, path in files.items() if name != "version.json"}
    here = {"model.skops", "contract.yaml", "profile.json", "expected.json", "questions.json", "model_card.md"}
    assert {name for name in manifest["files"] if not name.startswith("src/")} == here
    assert {"src/flight_delays/features.py", "src/modelcycle/versions/run_version.py"} < set(manifest["files"])


def test_a_folder_that_is_no_export_or_was_changed_is_refused(exported, tmp_path):
    shutil.copytree(exported[0], tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "version.json"
    whole = json.loads(manifest.read_text(encoding="utf-8"))
    load_folder(tmp_path)
    for name in whole["files"]:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b" ")
        with pytest.raises(InputError) as error:
            load_folder(tmp_path)
        assert str(error.value) == f"{tmp_path / name} has been changed since the export."
        (tmp_path / name).write_bytes(content)
    new = tmp_path / "src/flight_delays/sklearn.py"  # would be imported in the place of the library
    new.touch()
    with pytest.raises(InputError, match=rf"^{new} has been added since the export\.$"):
        load_folder(tmp_path)
    new.unlink()
    profile = tmp_path / "profile.json"
    profile.unlink()
    with pytest.raises(InputError, match=rf"^{profile} has been deleted since the export\.$"):
        load_folder(tmp_path)
    parts = [{name: whole[name] for name in whole if name != left_out} for left_out in ("files", "project", "facts")]
    for text in ("[", *map(json.dumps, [*parts, whole | {"project": {}}])):
        manifest.write_text(text)
        with pytest.raises(InputError, match=r"holds no exported version, as `export` writes it: "):
            load_folder(tmp_path)
    manifest.unlink()
    with pytest.raises(InputError, match=r"as `export` writes it: \[Errno 2\] No such file"):
        load_folder(tmp_path)


def test_a_version_is_exported_into_a_new_folder(client, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(InputError, match=r"full is not empty; expected a new folder\.$"):
        export("champion", tmp_path / "full")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^There is no version '5'\. Versions: 1\.$"):
        export("5", tmp_path / "empty")
    export("1", tmp_path / "empty")
    assert load_folder(tmp_path / "empty").version == "1"


def test_metrics_may_be_missing(contract):
    assert Bundle("1", {}, contract, None, Project(package="ours"), {}, {}).metrics == {}
