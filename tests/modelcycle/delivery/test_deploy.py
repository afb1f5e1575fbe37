import re
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.delivery.deploy import choose_image, find_begun, find_running, find_script
from modelcycle.tracking import store
from modelcycle.versions import registry
from modelcycle.versions.ledger import LedgerEntry, pushed_images, read_ledger, was_champion


def ledger(text: str) -> list[LedgerEntry]:
    """Write entries as `1 promoted, 1 pushed service a, 1 deployed staging a`."""
    names = ("version", "event", "target", "image")
    entries = [dict(zip(names, entry.split(), strict=False)) for entry in text.split(", ")]
    for entry in entries:
        if entry["event"] in ("deploying", "deployed", "undeployed"):
            entry["environment"] = entry.pop("target")
        if "image" in entry:
            entry["image"] = f"host/x@sha256:{entry['image']}"
    return [LedgerEntry(by="T", commit="c", at=0, **entry) for entry in entries]


ENTRIES = ledger(
    "1 promoted, 1 pushed service a, 2 promoted, 2 pushed service b, 2 pushed pipeline c, "
    "3 rejected, 3 pushed service d"
)


@pytest.mark.parametrize(("digest", "version"), [("", "2"), ("sha256:a", "1"), ("host/x@sha256:d", "3")])
def test_the_image_is_the_champions_last_or_the_one_with_the_digest(digest, version):
    assert choose_image(ENTRIES, digest).version == version


@pytest.mark.parametrize("digest", ["sha256:c", "sha256:e"])
def test_what_is_no_pushed_service_is_refused(digest):
    with pytest.raises(InputError, match="The ledger knows no image with digest"):
        choose_image(ENTRIES, digest)


def test_a_champion_without_an_image_is_refused():
    with pytest.raises(InputError, match="No image of the champion, version 4, was pushed"):
        choose_image([*ENTRIES, *ledger("4 promoted")], "")


def test_what_runs_is_what_was_deployed_last():
    moves = ledger("1 deployed staging a, 2 deployed production b, 2 deployed staging b, 2 undeployed production b")
    assert find_running(moves, "staging").image.endswith("b")
    assert find_running(moves, "production") is find_begun(moves, "production") is None
    moves += ledger("3 deploying staging c, 4 deploying production d")
    assert find_running(moves, "staging").image.endswith("b")
    assert find_running(moves, "production") is None
    assert [find_begun(moves, place).version for place in ("staging", "production")] == ["3", "4"]


def test_the_ledger_says_who_was_champion_and_what_was_pushed():
    assert [was_champion(ENTRIES, version) for version in "123"] == [True, True, False]
    assert pushed_images(ENTRIES, "2") == {"service": "host/x@sha256:b", "pipeline": "host/x@sha256:c"}


# The verbs

# What a platform's apply.sh and remove.sh are here: they note how they were called, and fail where the test says so.
SCRIPT = '#!/bin/sh\necho "$0 $*${PIPELINE_IMAGE:+ $PIPELINE_IMAGE}" >> calls\n[ ! -e fail ] || exit 3\n'
FIRST, OTHER, UNKNOWN = (f"sha256:{digit * 64}" for digit in "123")


def add_platform(repository, name="server"):
    """Put scripts that only note how they were called in the place of the platform's."""
    for script in ("apply.sh", "remove.sh"):
        path = repository.path / "deploy" / name / script
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SCRIPT, encoding="utf-8")
        path.chmod(0o755)


@pytest.fixture
def repository(repository):
    """The first release with a platform; the test runs in it."""
    add_platform(repository)
    return repository


def push(version, image, target="service"):
    """Enter an image into the ledger as `push` does."""
    registry.record_decision(store.connect(), "pushed", version, commit="c", image=image, target=target)


def history(repository):
    """List the ledger as `1 promoted`, `1 deployed in staging` and so on."""
    return re.findall(r"version (\d+ [a-z]+(?: in \w+)?)", repository.verb("release", "--history"))


def calls(repository):
    return repository.read("calls").splitlines() if (repository.path / "calls").exists() else []


@pytest.mark.slow
def test_a_deployment_calls_the_platform_and_is_in_the_ledger(repository):
    push("1", f"host/x@{FIRST}")
    printed = repository.verb("deploy", "staging").splitlines()
    assert len(printed) == 1
    assert re.split(" {2,}", printed[0]) == ["deploy", "version 1 runs in staging", f"host/x@{FIRST}"]
    assert "version 1 runs in production" in repository.verb("deploy", "production", "--digest", FIRST)
    push("1", f"host/x@{OTHER}")
    push("1", f"host/x-pipeline@{FIRST}", "pipeline")
    lines = [line.strip() for line in repository.verb("deploy", "production").splitlines()]
    assert re.split(" {2,}", lines[1]) == ["version 1 did before", f"host/x@{FIRST}"]
    assert lines[2] == f"back to it: make deploy ENV=production DIGEST={FIRST}"
    assert len(repository.verb("deploy", "production").splitlines()) == 1  # the same again
    assert "version 1 ran in production" in repository.verb("undeploy", "production")
    assert calls(repository) == [
        f"deploy/server/apply.sh staging host/x@{FIRST}",
        f"deploy/server/apply.sh production host/x@{FIRST}",
        f"deploy/server/apply.sh production host/x@{OTHER} host/x-pipeline@{FIRST}",
        f"deploy/server/apply.sh production host/x@{OTHER} host/x-pipeline@{FIRST}",
        "deploy/server/remove.sh production",
    ]
    staging, production = (f"deploying in {place}, deployed in {place}" for place in ("staging", "production"))
    events = f"promoted, pushed, {staging}, {production}, pushed, pushed, {production}, {production}"
    expected = f"{events}, undeployed in production".split(", ")
    assert history(repository) == [f"1 {event}" for event in expected]
    entries = read_ledger(store.connect())
    deployed = [(entry.image, entry.replaced) for entry in entries if entry.event == "deployed"]
    first, other = f"host/x@{FIRST}", f"host/x@{OTHER}"
    assert deployed == [(first, "none"), (first, "none"), (other, first), (other, other)]
    assert (entries[-1].image, entries[-1].commit) == (other, "c")
    assert not any(entry.is_edited for entry in entries)


def test_what_may_not_be_deployed_is_refused_and_the_platform_is_not_called(repository, client, other_answers):
    printed = repository.verb("deploy", "staging", fails=True)
    assert printed == "error: No image of the champion, version 1, was pushed; `make image push`, then deploy again.\n"
    push("1", f"host/x@{FIRST}")
    first = registry.find_version(client, "1")
    client.create_model_version("flight_delays", first.source, first.run_id, tags=first.tags)
    push("2", f"host/x@{OTHER}")
    for words, sentence in [
        (["production", "--digest", UNKNOWN], f"The ledger knows no image with digest {UNKNOWN}; `release --history`"),
        (["moon"], "The environment is 'moon'; expected ENV=staging or ENV=production."),
        ([""], "The environment is ''; expected ENV=staging or ENV=production."),
        (["production", "--digest", OTHER], "Version 2 was never the champion: it can't go into production."),
    ]:
        assert f"error: {sentence}" in repository.verb("deploy", *words, fails=True)
    assert "The environment is 'moon'" in repository.verb("undeploy", "moon", fails=True)
    assert calls(repository) == []
    assert "version 2 runs in staging" in repository.verb("deploy", "staging", "--digest", OTHER)
    other_answers()
    refused = repository.verb("deploy", "production", fails=True)
    assert refused.startswith("error: Version 1 does not answer here as it did when it was released: 1 of ")
    assert len(calls(repository)) == 1


def test_a_deployment_that_fails_was_meant_by_the_ledger_but_did_not_happen(repository):
    push("1", f"host/x@{FIRST}")
    (repository.path / "fail").touch()
    printed = repository.verb("deploy", "staging", fails=True)
    assert printed == "error: deploy/server/apply.sh ended with exit status 3; it says above why.\n"
    assert "deploy/server/remove.sh ended with exit status 3" in repository.verb("undeploy", "staging", fails=True)
    meant = ["1 promoted", "1 pushed", "1 deploying in staging"]
    assert history(repository) == meant
    (repository.path / "fail").unlink()
    assert "version 1 ran in staging" in repository.verb("undeploy", "staging")
    assert history(repository) == [*meant, "1 undeployed in staging"]
    assert "version unknown ran in staging" in repository.verb("undeploy", "staging")
    assert history(repository) == [*meant, "1 undeployed in staging"]


def test_the_platform_is_openshift_s_where_there_is_one(repository):
    assert find_script("apply.sh", "staging") == Path("deploy/server/apply.sh")
    for platform in ("kubernetes", "openshift"):
        add_platform(repository, platform)
    assert find_script("remove.sh", "production") == Path("deploy/openshift/remove.sh")


def test_a_project_without_a_platform_is_told_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^There is no apply\.sh in deploy/openshift, deploy/server, deploy/k"):
        find_script("apply.sh", "staging")
