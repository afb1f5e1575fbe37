import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.core.output import md5
from modelcycle.versions import registry
from modelcycle.versions.bundle import load_champion
from modelcycle.versions.ledger import read_ledger
from modelcycle.versions.registry import (
    VERSION_FILES,
    Verdict,
    Version,
    digest_tags,
    download_version,
    find_champion,
    find_version,
    list_versions,
    move_alias,
    record_decision,
    require_champion,
)

NAME = "flight_delays"


def register(client, **tags):
    """Register another version of the files of the first one."""
    first = find_version(client, "1")
    return str(client.create_model_version(NAME, first.source, first.run_id, tags=first.tags | tags).version)


def test_versions_are_found_by_number_and_alias_and_listed_the_newest_first(client):
    for number in range(2, 12):
        assert register(client, verdict="rejected" if number % 2 else "passed") == str(number)
    assert [version.number for version in list_versions(client)] == [str(number) for number in range(11, 0, -1)]
    rejected = list_versions(client, "tags.verdict = 'rejected'")
    assert [version.number for version in rejected] == ["11", "9", "7", "5", "3"]
    assert find_version(client, "champion").number == "1"
    assert (find_version(client, "10").aliases, find_version(client, "1").aliases) == ([], ["champion"])
    assert datetime.now(UTC).replace(tzinfo=None) - find_version(client, "10").created < timedelta(minutes=5)
    with pytest.raises(InputError) as error:
        find_version(client, "challenger")
    assert str(error.value).startswith("There is no version 'challenger'. Versions: 11, 10, 9,")


def test_reading_the_champion_writes_nothing(client):
    client.delete_registered_model_alias(NAME, "champion")  # a command was interrupted
    database = Path(".mlflow/mlflow.db")
    before = md5(database)
    assert find_champion(client).number == find_version(client, "champion").number == "1"
    assert load_champion(client).version == "1"
    assert md5(database) == before
    move_alias(client, find_champion(client))
    assert md5(database) != before
    assert find_version(client, "1").aliases == ["champion"]


def test_before_the_first_release_there_is_none(client):
    client.delete_registered_model(NAME)
    with pytest.raises(InputError, match=r"^There is no version '1'\. Versions: none yet: `make release` makes one\.$"):
        find_version(client, "1")


def test_the_champion_is_the_ledger_s_and_the_alias_follows(client):
    assert find_champion(client).number == "1"
    register(client)
    client.set_registered_model_alias(NAME, "champion", "2")
    assert find_champion(client).number == "1"
    assert find_version(client, "champion").number == "1"
    record_decision(client, "promoted", "2", commit="c", replaced="1")
    assert find_version(client, "champion").number == "2"
    assert read_ledger(client)[-1].version == "2"
    require_champion(client, "2")
    with pytest.raises(InputError, match=r"^Version 2 has become the champion meanwhile; try again\.$"):
        require_champion(client, "1")
    client.delete_model_version(NAME, "2")
    with pytest.raises(
        InputError, match=r"Versions: 1\. It is the champion by the ledger: `rollback VERSION` to another"
    ):
        find_champion(client)


def test_without_a_ledger_there_is_no_champion(client, monkeypatch):
    monkeypatch.setattr(registry, "read_ledger", lambda _: [])
    assert find_champion(client) is None
    require_champion(client, "none")


def test_a_version_is_downloaded_only_as_it_was_released(client):
    version = find_version(client, "1")
    folder = download_version(client, version)
    assert {path.name for path in folder.iterdir()} == {path.name for path in VERSION_FILES} | {
        "model_card.md",
        "release.html",
        "data_card.md",
    }
    for name in (path.name for path in VERSION_FILES):
        (stored,) = Path(".mlflow").rglob(f"release-*/{name}")
        content, before = stored.read_bytes(), md5(stored)
        stored.write_bytes(content + b"\n")
        with pytest.raises(InputError) as error:
            download_version(client, version)
        assert str(error.value) == f"{name} in the registry has md5 {md5(stored)}, version 1 says {before}."
        stored.unlink()
        with pytest.raises(InputError, match=f"^{name} in the registry has md5 nothing, version 1 says {before}"):
            download_version(client, version)
        stored.write_bytes(content)


def test_files_out_of_reach_are_named(client):
    shutil.rmtree(".mlflow/artifacts")
    with pytest.raises(InputError, match=r"^The files of version 1 can't be had: "):
        download_version(client, find_version(client, "1"))


def test_what_no_release_made_names_no_commit(client):
    client.create_model_version(NAME, find_version(client, "1").source)
    with pytest.raises(InputError, match=r"^Version 2 was not made by `make release`: it names no commit\.$"):
        download_version(client, find_version(client, "2"))


def test_verdicts_are_read_unless_somebody_has_edited_them():
    version = Version("3", "", "", datetime(2024, 3, 1), {}, [])
    assert version.verdicts == []
    text = '[{"rule": "minimum", "passed": true, "found": "1", "expected": "1", "meaning": ""}]'
    assert replace(version, tags={"gate": text}).verdicts == [Verdict("minimum", True, "1", "1", "")]
    for edited in ("[", '[{"rule": "minimum"}]', "5", '["minimum"]'):
        with pytest.raises(
            InputError, match=r"^The tag gate of version 3 is not as `release` wrote it: `modelcycle trace 3`"
        ):
            _ = replace(version, tags={"gate": edited}).verdicts


def test_the_digest_is_of_what_a_release_has_written():
    tags = {"md5.model": "a", "verdict": "passed", "git_commit": "c"}
    assert digest_tags(tags) == digest_tags(dict(reversed(tags.items())) | {"image.service": "x", "ours": "y"})
    for name in ("md5.model", "md5.raw", "git_commit", "verdict", "train_rows", "test_share", "metrics", "gate"):
        assert digest_tags(tags | {name: "other"}) != digest_tags(tags)
