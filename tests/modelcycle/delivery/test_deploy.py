import pytest

from modelcycle.core.errors import InputError
from modelcycle.delivery.deploy import choose_image, find_running, find_script
from modelcycle.tracking.ledger import LedgerEntry, pushed_images, was_champion


def ledger(text: str) -> list[LedgerEntry]:
    """Write entries as `1 promoted, 1 pushed service a, 1 deployed staging a`."""
    names = ("version", "event", "target", "image")
    entries = [dict(zip(names, entry.split(), strict=False)) for entry in text.split(", ")]
    for entry in entries:
        if entry["event"] in ("deployed", "undeployed"):
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
    assert find_running(moves, "production") is None


def test_the_ledger_says_who_was_champion_and_what_was_pushed():
    assert [was_champion(ENTRIES, version) for version in "123"] == [True, True, False]
    assert pushed_images(ENTRIES, "2") == {"service": "host/x@sha256:b", "pipeline": "host/x@sha256:c"}


def test_an_environment_is_staging_or_production(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="The environment is 'moon'; expected ENV=staging or ENV=production"):
        find_script("apply.sh", "moon")
    with pytest.raises(InputError, match="There is no apply"):
        find_script("apply.sh", "staging")
