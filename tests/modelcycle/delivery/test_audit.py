import json
import re

import pytest

from modelcycle.core.errors import InputError
from modelcycle.delivery.audit import read_bill, read_lock
from modelcycle.delivery.image import make_bill_of_materials
from modelcycle.delivery.vulnerabilities import Package
from support.osv import JINJA, OPENSSL, record, running, write_dump

LOCK = """
version = 1
[[package]]
name = "flight-delays"
version = "0.1.0"
source = { editable = "." }
[[package]]
name = "jinja2"
version = "2.4.1"
source = { registry = "https://index.example.com/simple" }
"""
LABELS = {"org.opencontainers.image.version": "1", "org.opencontainers.image.created": "2024-01-01T00:00:00+00:00"}
CONTENTS = [
    "pkg:pypi/Jinja2@2.5",
    "pkg:generic/python@3.11.7",
    "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?distro=debian-12&upstream=openssl@3.0.11-1~deb12u1",
    "pkg:deb/debian/libstdc++6@1:12+b1?distro=debian-12&upstream=gcc@1:12",
]
INNER_JINJA = (*JINJA[:2], "2.5")
FIXED, WAITING = record("DEBIAN-CVE-3", OPENSSL, "3.0.13-1~deb12u1"), record("DEBIAN-CVE-4", OPENSSL)


@pytest.fixture
def osv(monkeypatch):
    with running() as service:
        monkeypatch.setenv("AUDIT_DATABASE", service.address)
        yield service


@pytest.fixture
def delivered(repository, client):
    """The champion has an image, and uv.lock names an old library."""
    (repository.path / "uv.lock").write_text(LOCK, encoding="utf-8")
    bill = make_bill_of_materials(CONTENTS, "host/x", LABELS)
    (run,) = {version.run_id for version in client.search_model_versions("")}
    folder = repository.path / ".mlflow/artifacts" / run / "artifacts/images"  # MLflow would write to another copy's
    folder.mkdir(parents=True)
    (folder / "version-1-service.cdx.json").write_text(json.dumps(bill), encoding="utf-8")
    return repository


def test_the_lock_s_packages_are_read_without_the_project_itself():
    assert read_lock(LOCK) == [Package(*JINJA)]
    for text in ("", "version = 1\n", LOCK[: LOCK.rindex("[[")]):
        with pytest.raises(InputError, match=r"^uv\.lock is missing or names no packages; `make setup` writes it"):
            read_lock(text)


def test_an_image_s_list_gives_debian_s_packages_by_their_source():
    bill = make_bill_of_materials(CONTENTS, "host/x", LABELS)
    assert bill["components"][3]["purl"] == (
        "pkg:deb/debian/libstdc++6@1%3A12%2Bb1?distro=debian-12&upstream=gcc%401%3A12"
    )
    assert read_bill(bill, "it") == sorted(
        [Package(*INNER_JINJA), Package(*OPENSSL), Package("Debian:12", "gcc", "1:12")]
    )


@pytest.mark.parametrize("qualifiers", ["", "?distro=debian-12", "?distro=alpine-3&upstream=a@1"])
def test_a_list_that_names_no_debian_is_no_pass(qualifiers):
    bill = make_bill_of_materials([f"pkg:deb/debian/zlib1g@1{qualifiers}"], "host/x", LABELS)
    with pytest.raises(InputError, match="what it holds does not say which Debian zlib1g is from; expected what the"):
        read_bill(bill, "it")


def test_nothing_known_is_said_for_each_list(delivered, osv):
    printed = [re.split(" {2,}", line.strip()) for line in delivered.verb("audit").splitlines()]
    assert printed == [
        ["audit", "1 packages, 0 with a known vulnerability", "uv.lock"],
        ["audit", "3 packages, 0 with a known vulnerability", "the service image of version 1"],
    ]
    assert set(osv.asked) == {JINJA, INNER_JINJA, OPENSSL, ("Debian:12", "gcc", "1:12")}


def test_a_vulnerable_library_is_an_alert_with_its_place_and_its_fix(delivered, osv):
    osv.known = {
        JINJA: [record("GHSA-1", JINJA, "2.8.1", aliases=["CVE-1"], summary="Sandbox escape")],
        OPENSSL: [FIXED, WAITING],
    }
    status, printed = delivered.attempt("audit")
    assert status == 2
    assert re.search(r"^audit +1 packages, 1 with a known vulnerability +uv\.lock$", printed, re.MULTILINE)
    assert "1 in packages of Debian, which has not fixed them yet" in printed
    assert (
        "alert: jinja2 2.4.1 has CVE-1 = GHSA-1 (Sandbox escape), fixed in 2.8.1; in uv.lock.\n"
        in printed.partition("alert")[1] + printed.partition("alert")[2]
    )
    assert "openssl 3.0.11-1~deb12u1 has DEBIAN-CVE-3, fixed in 3.0.13-1~deb12u1; in the service image of" in printed
    assert printed.count("alert: ") == 2


def test_a_vulnerable_library_of_the_image_alone_is_an_alert(delivered, osv):
    osv.known = {INNER_JINJA: [record("GHSA-1", JINJA)]}
    status, printed = delivered.attempt("audit")
    assert status == 2
    assert "alert: jinja2 2.5 has GHSA-1, not fixed yet; in the service image of version 1.\n" in printed


def test_what_is_accepted_is_told_with_its_reason(delivered, osv):
    osv.known = {JINJA: [record("GHSA-1", JINJA, aliases=["CVE-1"])]}
    delivered.replace(
        "pyproject.toml",
        "[tool.modelcycle]\n",
        '[tool.modelcycle]\naccepted_vulnerabilities = { CVE-1 = "no templates of others" }\n',
    )
    assert "accepted: jinja2 2.4.1, CVE-1: no templates of others" in delivered.verb("audit")
    osv.known[JINJA].append(record("GHSA-2", JINJA))
    assert delivered.attempt("audit")[0] == 2


def test_without_an_image_the_lock_is_looked_up_alone_and_that_is_said(delivered, osv):
    for path in delivered.path.rglob("version-1-service.cdx.json"):
        path.unlink()
    printed = delivered.verb("audit")
    assert "no image: neither the champion nor what is deployed has one" in printed
    assert set(osv.asked) == {JINJA}


def test_no_answer_fails_with_another_status_than_an_alert(delivered, osv, tmp_path):
    osv.shutdown()
    osv.server_close()
    status, printed = delivered.attempt("audit")
    assert status == 1
    assert printed.startswith(f"error: {osv.address}/v1/querybatch gives no answer")
    status, printed = delivered.attempt("audit", AUDIT_DATABASE=str(tmp_path))
    assert status == 1
    assert "Debian/all.zip can't be read" in printed


def test_files_take_the_place_of_the_service(delivered, tmp_path):
    write_dump(tmp_path, "PyPI", record("GHSA-1", JINJA, "2.5"))
    write_dump(tmp_path, "Debian", WAITING)
    status, printed = delivered.attempt("audit", AUDIT_DATABASE=str(tmp_path))
    assert status == 2
    assert re.findall("^alert: (.*?),", printed, re.MULTILINE) == ["jinja2 2.4.1 has GHSA-1"]
