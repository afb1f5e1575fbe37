import re
from datetime import datetime

import pytest

from modelcycle.versions import ledger
from modelcycle.versions.ledger import (
    LedgerEntry,
    append_to_ledger,
    champion_number,
    print_ledger,
    pushed_images,
    read_ledger,
    was_champion,
)


def entry(event, version, **facts):
    return LedgerEntry(event, version, by="Ada", commit="0123456789", at=1709294400123, **facts)


def decisions(client):
    return [f"{entry.version} {entry.event}" for entry in read_ledger(client)]


def test_a_decision_is_read_as_it_was_written(client, monkeypatch):
    monkeypatch.setattr(ledger, "git", lambda *words: "Ada" if words == ("config", "user.name") else "")
    facts = {"commit": "c", "environment": "staging", "image": "x@sha256:1", "target": "service", "reason": "why"}
    append_to_ledger(client, None, "deployed", "1", **facts)
    first, last = read_ledger(client)
    assert last == LedgerEntry("deployed", "1", by="Ada", at=last.at, **facts)
    assert last.at > first.at
    assert not first.is_edited
    assert (first.event, first.version, first.replaced) == ("promoted", "1", "none")


def test_who_decides_is_asked_of_git_and_the_environment(client, monkeypatch):
    monkeypatch.setattr(ledger, "git", lambda *words: "")
    for names in (["GIT_AUTHOR_NAME", "USER"], ["USER"], []):
        for name in ("GIT_AUTHOR_NAME", "USER"):
            monkeypatch.delenv(name, raising=False)
        for name in names:
            monkeypatch.setenv(name, name.lower())
        append_to_ledger(client, None, "pushed", "1", commit="c")
    assert [entry.by for entry in read_ledger(client)[1:]] == ["git_author_name", "user", "unknown"]


def test_the_order_of_decisions_counts_not_the_clocks(client, monkeypatch):
    before = read_ledger(client)[-1].at
    monkeypatch.setattr(ledger.time, "time", lambda: before / 1000 - 3600)
    for event in ("pushed", "deployed"):
        append_to_ledger(client, None, event, "1", commit="c")
    assert [entry.at for entry in read_ledger(client)] == [before, before + 1, before + 2]
    monkeypatch.setattr(ledger.time, "time", lambda: before / 1000 + 60)
    append_to_ledger(client, None, "undeployed", "1", commit="c")
    assert read_ledger(client)[-1].at == pytest.approx(before + 60_000, abs=1)


def test_of_two_that_replace_the_same_champion_the_first_is_right(client):
    for version, replaced in (("2", "1"), ("3", "1"), ("4", "2"), ("5", "3")):
        append_to_ledger(client, None, "promoted", version, commit="c", replaced=replaced)
    append_to_ledger(client, None, "rolled back", "1", commit="c", replaced="2")
    append_to_ledger(client, None, "rolled back", "1", commit="c", replaced="4")
    append_to_ledger(client, None, "rejected", "6", commit="c", replaced="1")
    assert decisions(client) == [
        *("1 promoted", "2 promoted", "3 overtaken", "4 promoted", "5 overtaken"),
        *("1 overtaken", "1 rolled back", "6 rejected"),
    ]
    assert champion_number(read_ledger(client)) == "1"


def test_an_edit_shows(client):
    append_to_ledger(client, None, "rolled back", "2", commit="c", replaced="1", reason="why")
    first, last = client.search_runs([client.get_experiment_by_name("flight_delays ledger").experiment_id])[::-1]
    for name in ("event", "version", "by", "commit", "replaced", "reason"):
        client.set_tag(last.info.run_id, name, "x")
        assert [entry.is_edited for entry in read_ledger(client)] == [False, True]
        client.set_tag(last.info.run_id, name, last.data.tags[name])
    client.set_tag(last.info.run_id, "mlflow.note", "MLflow's own")
    assert not any(entry.is_edited for entry in read_ledger(client))
    client.set_tag(last.info.run_id, "other", "x")
    client.delete_tag(first.info.run_id, "md5")
    assert all(entry.is_edited for entry in read_ledger(client))


def test_an_entry_that_lost_all_stays_and_an_edited_one_takes_nobody_s_place(client):
    (run,) = client.search_runs([client.get_experiment_by_name("flight_delays ledger").experiment_id])
    client.set_tag(run.info.run_id, "replaced", "7")
    assert decisions(client) == ["1 promoted"]
    for name in ("event", "version", "by", "commit"):
        client.delete_tag(run.info.run_id, name)
    client.delete_run(run.info.run_id)
    (entry,) = read_ledger(client)
    assert (entry.event, entry.version, entry.by, entry.commit) == ("unknown",) * 4
    assert entry.is_edited


def test_the_champion_is_the_last_that_was_promoted_or_came_back():
    entries = [entry("promoted", "1"), entry("promoted", "2"), entry("rejected", "3"), entry("deployed", "1")]
    assert [champion_number(entries[:n]) for n in range(5)] == [None, "1", "2", "2", "2"]
    assert champion_number([*entries, entry("rolled back", "1")]) == "1"
    assert [was_champion(entries, version) for version in "1234"] == [True, True, False, False]
    assert was_champion([*entries, entry("rolled back", "3")], "3")


def test_the_image_that_was_pushed_last_counts():
    pushed = [
        entry("pushed", "1", target="service", image="a"),
        entry("pushed", "1", target="pipeline", image="b"),
        entry("pushed", "1", target="service", image="c"),
        entry("pushed", "2", target="service", image="d"),
        entry("deployed", "1", target="service", image="e"),
    ]
    assert pushed_images(pushed, "1") == {"service": "c", "pipeline": "b"}
    assert pushed_images(pushed, "3") == {}


def test_a_line_for_each_decision(capsys):
    assert entry("promoted", "1").time == datetime(2024, 3, 1, 12)
    print_ledger(
        [
            entry("promoted", "1", replaced="none", metrics='{"roc_auc": 0.76543}'),
            entry("rolled back", "1", replaced="2", reason="too slow", metrics="{}", is_edited=True),
            entry("rejected", "3", replaced="1"),
            entry("deployed", "1", environment="staging", image="x@sha256:1", replaced="y"),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(" {3,}", " | ", line.removeprefix("2024-03-01 12:00:00  ")) for line in lines] == [
        "version 1 promoted, replaced none | Ada, commit 0123456, roc_auc 0.7654",
        "version 1 rolled back, replaced 2, EDITED since Ada, commit 0123456, too slow",
        "version 3 rejected | Ada, commit 0123456, ",
        "version 1 deployed in staging | Ada, commit 0123456, x@sha256:1",
    ]
