import re
from pathlib import Path

import pytest

from modelcycle.release.rollback import find_previous_champion
from modelcycle.versions import registry
from modelcycle.versions.ledger import LedgerEntry, read_ledger


@pytest.mark.parametrize(
    ("events", "earlier"),
    [
        ("", None),
        ("1 promoted", None),
        ("1 promoted, 2 promoted", "1"),
        ("1 promoted, 2 rejected, 3 promoted", "1"),
        ("1 promoted, 2 promoted, 1 rolled back", None),
        ("1 promoted, 2 promoted, 3 promoted, 2 rolled back", "1"),
        ("1 promoted, 2 promoted, 1 rolled back, 3 promoted", "1"),
        ("1 promoted, 2 rejected, 2 rolled back", "1"),  # forced
    ],
)
def test_the_way_back_leads_past_rollbacks_and_rejections(events, earlier):
    decisions = [entry.split(" ", 1) for entry in events.split(", ") if entry]
    entries = [LedgerEntry(event, version, by="T", commit="c", at=0) for version, event in decisions]
    assert find_previous_champion(entries) == earlier


def promote_another(client, **tags):
    """Make version 2 the champion: it has all that version 1 has, but for some tags."""
    first = registry.find_version(client, "1")
    tags = first.tags | tags
    version = client.create_model_version("flight_delays", first.source, first.run_id, tags=tags).version
    facts = {"commit": tags["git_commit"], "replaced": "1", "facts": registry.digest_tags(tags)}
    registry.record_decision(client, "promoted", str(version), **facts)


@pytest.fixture
def twice(repository, client):
    """A repository whose champion is version 2, which has all that version 1 has."""
    promote_another(client)
    return repository


def test_the_previous_champion_comes_back_and_the_ledger_knows_why(twice, client):
    printed = twice.verb("rollback", "--reason", 'too many "alarms" `id` at $night')
    assert printed == "rollback  version 1 is the champion, 2 was before\n"
    assert registry.find_version(client, "champion").number == "1"
    entry = read_ledger(client)[-1]
    assert (entry.event, entry.version, entry.replaced) == ("rolled back", "1", "2")
    assert (entry.reason, entry.commit) == (
        'too many "alarms" `id` at $night',
        registry.find_version(client, "1").commit,
    )
    assert "There is no earlier champion to go back to; `release --history`" in twice.verb("rollback", fails=True)
    assert "version 2 is the champion, 1 was before" in twice.verb("rollback", "2")
    history = [re.split(" {2,}", line)[1] for line in twice.verb("release", "--history").splitlines()]
    assert history == [
        "version 1 promoted, replaced none",
        "version 2 promoted, replaced 1",
        "version 1 rolled back, replaced 2",
        "version 2 rolled back, replaced 1",
    ]
    assert "no reason given" in twice.verb("release", "--history").splitlines()[-1]


def test_what_can_t_be_gone_back_to_is_refused(twice, client):
    client.create_model_version("flight_delays", registry.find_version(client, "1").source)
    (stored,) = Path(".mlflow").rglob("release-*/profile.json")
    stored.write_text("{}")
    for words, sentence in [
        (["2"], "error: Version 2 is the champion already."),
        (["9"], "error: There is no version '9'. Versions: 3, 2, 1."),
        (["3"], "error: The gate has not promoted version 3; add --force if it has to be all the same."),
        (["3", "--force"], "error: Version 3 was not made by `make release`: it names no commit."),
        (["1"], "error: profile.json in the registry has md5 99914b932bd37a50b983c5e7c90ae93b, version 1 says "),
    ]:
        assert twice.verb("rollback", *words, fails=True).startswith(sentence)
    assert len(read_ledger(client)) == 2
    assert registry.find_version(client, "champion").number == "2"


def test_a_version_that_answers_differently_here_comes_back_only_by_force(twice, client, other_answers):
    other_answers()
    printed = twice.verb("rollback", fails=True)
    assert printed.startswith("error: Version 1 does not answer here as it did when it was released: 1 of ")
    assert registry.find_version(client, "champion").number == "2"
    assert "version 1 is the champion, 2 was before" in twice.verb("rollback", "--force")


def test_before_the_first_release_there_is_nothing_to_go_back_to(reproduced, tmp_path):
    printed = reproduced.copy_to(tmp_path).verb("rollback", fails=True)
    assert printed.startswith("error: There is no earlier champion to go back to")


def test_a_champion_whose_commit_is_gone_is_left_for_one_whose_commit_is_here(repository, client, tmp_path):
    promote_another(client, git_commit="0" * 40)
    told = repository.verb("export", str(tmp_path / "exported"), fails=True)
    assert "`git fetch`, or `make rollback` to a version whose commit is" in told
    repository.verb("rollback", "1")
    repository.verb("export", str(tmp_path / "exported"))
