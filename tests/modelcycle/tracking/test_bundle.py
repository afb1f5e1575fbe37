import json
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from modelcycle.core.digest import md5
from modelcycle.core.errors import InputError
from modelcycle.core.project import Project
from modelcycle.tracking import registry
from modelcycle.tracking.bundle import (
    Bundle,
    export,
    load_champion,
    load_folder,
    load_make_features,
    load_version,
    read_features_source,
)


def test_features_are_made_by_the_source_that_is_given():
    source = b"import pandas as pd\n\ndef make_features(rows, contract):\n    return rows * contract\n"
    made = load_make_features(source, "features.py at 1234567", "ours")
    assert made(pd.DataFrame({"a": [1, 2]}), 3)["a"].tolist() == [3, 6]
    assert made.__module__ == "ours.features_py at 1234567"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        (b"from modelcycle.core.contract import Nothing", "cannot import name 'Nothing'"),
        (b"def make_features(", "'(' was never closed"),
        (b"make = 5", "'make_features'"),
    ],
)
def test_a_source_that_does_not_run_any_more_is_named(source, reason):
    with pytest.raises(InputError) as error:
        load_make_features(source, "features.py at 1234567", "ours")
    assert str(error.value).startswith(f"features.py at 1234567 does not run with today's code: {reason}")


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


def test_features_come_from_the_version_s_commit_not_from_the_work_tree(repository, client):
    features = Path("src/flight_delays/features.py")
    before = features.read_bytes()
    features.write_text("raise RuntimeError\n")
    version = registry.find_version(client, "1")
    assert read_features_source(version, Project(package="flight_delays")) == before
    load_version(client, version)
    with pytest.raises(
        InputError, match=r"^Commit \w{7} of version 1 is not in this repository: `git fetch`, or `make rol"
    ):
        read_features_source(version, Project(package="other"))


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
    for name in ("version", "facts", "contract", "project", "profile", "expected", "card"):
        assert getattr(bundle, name) == getattr(champion, name)
    manifest = json.loads((folder / "version.json").read_text(encoding="utf-8"))
    assert manifest["files"] == {path.name: md5(path) for path in folder.iterdir() if path.name != "version.json"}
    assert set(manifest["files"]) == {
        *("model.skops", "contract.yaml", "profile.json", "expected.json"),
        *("features.py", "model_card.md"),
    }


def test_a_folder_that_is_no_export_or_was_changed_is_refused(exported, tmp_path):
    for path in exported[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = tmp_path / "version.json"
    whole = json.loads(manifest.read_text(encoding="utf-8"))
    load_folder(tmp_path)
    for name in whole["files"]:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b" ")
        with pytest.raises(InputError) as error:
            load_folder(tmp_path)
        assert str(error.value) == f"{tmp_path / name} has been changed since it was exported."
        (tmp_path / name).write_bytes(content)
    (tmp_path / "profile.json").rename(tmp_path / "away")
    parts = [{name: whole[name] for name in whole if name != left_out} for left_out in ("files", "project", "facts")]
    for text in ("[", *map(json.dumps, [whole, *parts, whole | {"project": {}}])):
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
    assert Bundle("1", {}, contract, None, None, Project(package="ours"), {}, {}).metrics == {}
