import itertools

import pytest

from modelcycle.core.errors import InputError
from modelcycle.delivery.vulnerabilities import Package, find_vulnerabilities, is_affected, sort_key
from support.osv import JINJA, OPENSSL, record, running, write_dump

JINJA, OPENSSL = Package(*JINJA), Package(*OPENSSL)


@pytest.fixture
def osv():
    with running() as service:
        yield service


def found(packages, database):
    return [(one.package.name, one.names, one.fixes) for one in find_vulnerabilities(packages, database)]


def test_service_and_files_tell_the_same(osv, tmp_path):
    records = [record("GHSA-1", JINJA, "2.8.1", aliases=["CVE-1"]), record("GHSA-2", JINJA)]
    other = record("DEBIAN-CVE-3", OPENSSL, "3.0.13-1~deb12u1", upstream=["CVE-3"])
    osv.known = {JINJA: records, OPENSSL: [other]}
    write_dump(tmp_path, "PyPI", *records)
    write_dump(tmp_path, "Debian", other)
    told = [
        ("openssl", ["CVE-3", "DEBIAN-CVE-3"], ["3.0.13-1~deb12u1"]),
        ("jinja2", ["CVE-1", "GHSA-1"], ["2.8.1"]),
        ("jinja2", ["GHSA-2"], []),
    ]
    assert found([JINJA, OPENSSL], osv.address) == told
    assert found([JINJA, OPENSSL], str(tmp_path)) == told
    assert found([JINJA._replace(name="jinja3")], osv.address) == []
    assert found([JINJA._replace(name="jinja3")], str(tmp_path)) == []


def test_what_two_sources_tell_is_told_once_with_its_fix(osv):
    osv.known = {
        JINJA: [record("PYSEC-1", JINJA, aliases=["CVE-1"]), record("GHSA-1", JINJA, "2.8", aliases=["CVE-1"])]
    }
    assert found([JINJA], osv.address) == [("jinja2", ["CVE-1", "GHSA-1"], ["2.8"])]


def test_what_was_withdrawn_is_not_told(osv):
    osv.known = {JINJA: [record("GHSA-1", JINJA, withdrawn="2024-01-01T00:00:00Z")]}
    assert found([JINJA], osv.address) == []


def test_many_packages_and_many_pages_are_asked_for(osv):
    many = [Package("PyPI", f"package-{number:04}", "1.0") for number in range(1500)]
    osv.page, osv.known = 2, {many[-1]: [record(f"GHSA-{number}", many[-1]) for number in range(5)]}
    assert len(found(many, osv.address)) == 5
    assert set(osv.asked) == set(many)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"<html>Log in</html>", "/v1/querybatch gives no answer \\(Expecting value.*Where a firewall stops it"),
        (b"{}", "/v1/querybatch does not answer as the API of osv.dev does: not one result for each package"),
        (b'{"results": []}', "not one result for each package"),
        (b"[]", "does not answer as the API of osv.dev does: \\[\\]"),
    ],
)
def test_no_answer_of_the_service_is_never_a_pass(osv, answer, sentence):
    osv.answer = answer
    with pytest.raises(InputError, match=sentence):
        find_vulnerabilities([JINJA], osv.address)


def test_a_service_that_is_not_there_is_named(osv):
    address = osv.address
    osv.shutdown()
    osv.server_close()
    with pytest.raises(InputError, match=rf"^{address}/v1/querybatch gives no answer "):
        find_vulnerabilities([JINJA], address)
    with pytest.raises(InputError, match=r"^AUDIT_DATABASE is ftp://host/v1/querybatch; expected an address with http"):
        find_vulnerabilities([JINJA], "ftp://host")


def test_a_record_that_the_service_does_not_give_is_named(osv):
    osv.known = {JINJA: [record("GHSA-1", JINJA) | {"id": "GHSA 1"}]}
    with pytest.raises(InputError, match="/v1/vulns/GHSA 1 gives no answer"):
        find_vulnerabilities([JINJA], osv.address)


def test_files_that_are_missing_broken_or_old_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"PyPI/all\.zip can't be read \(No such file or directory\); expected a file as"
    ):
        find_vulnerabilities([JINJA], str(tmp_path))
    (tmp_path / "PyPI").mkdir()
    (tmp_path / "PyPI/all.zip").write_bytes(b"<html>Log in</html>")
    with pytest.raises(InputError, match=r"PyPI/all\.zip can't be read \(File is not a zip file\)"):
        find_vulnerabilities([JINJA], str(tmp_path))
    write_dump(tmp_path, "PyPI")
    with pytest.raises(InputError, match=r"PyPI/all\.zip ends with nothing: get a newer one, of the last 30 days"):
        find_vulnerabilities([JINJA], str(tmp_path))
    write_dump(tmp_path, "PyPI", record("GHSA-1", JINJA, modified="2024-01-01T00:00:00Z"))
    with pytest.raises(InputError, match=r"PyPI/all\.zip ends with 2024-01-01: get a newer one"):
        find_vulnerabilities([JINJA], str(tmp_path))


def ranged(*events, versions=()):
    """Make a record with these events: introduced 1.0, fixed 2.0 and so on, in any order."""
    steps = [dict([event.split()]) for event in events]
    part = {"package": {"ecosystem": "PyPI", "name": "x"}, "versions": list(versions)}
    return {"affected": [part | {"ranges": [{"type": "ECOSYSTEM", "events": steps}]}]}


@pytest.mark.parametrize(
    ("events", "versions", "affected"),
    [
        (["introduced 0", "fixed 2.0"], "0.1.dev1 1.0 1.9.9 2.0rc1", True),
        (["introduced 0", "fixed 2.0"], "2.0 2.0.post1 10.0", False),
        (["fixed 2.0", "introduced 1.0"], "1.0 1.10", True),
        (["fixed 2.0", "introduced 1.0"], "0.9 1.0a1", False),
        (["introduced 1.0", "last_affected 1.5"], "1.0 1.5", True),
        (["introduced 1.0", "last_affected 1.5"], "0.9 1.5.1", False),
        (["introduced 1.0", "fixed 1.2", "introduced 2.0", "fixed 2.2"], "1.1 2.0 2.1", True),
        (["introduced 1.0", "fixed 1.2", "introduced 2.0", "fixed 2.2"], "1.2 1.9 2.2", False),
        (["introduced 0", "fixed no-version"], "1.0", True),  # what can't be compared
    ],
)
def test_a_range_is_read_as_the_schema_says(events, versions, affected):
    for version in versions.split():
        assert is_affected(ranged(*events), Package("PyPI", "x", version)) == affected, version


def test_a_version_that_is_listed_is_affected_whatever_the_ranges_say():
    listed = ranged("introduced 5.0", versions=["1.0"])
    listed["affected"][0]["ranges"].append({"type": "GIT", "events": [{"introduced": "0"}]})
    assert is_affected(listed, Package("PyPI", "x", "1.0"))
    assert not is_affected(listed, Package("PyPI", "x", "1.1"))
    assert not is_affected(listed, Package("PyPI", "y", "1.0"))
    assert not is_affected(listed, Package("Debian:12", "x", "1.0"))


def test_debian_s_versions_are_ordered_as_dpkg_does():
    """By Debian's policy manual, 5.6.12, with its example of the tilde; each was compared by dpkg."""
    order = (
        "0 0~~ 1.0~beta1~svn1245 1.0~beta1 1.0~rc1 1.0 1.0-1~deb12u1 1.0-1 1.0-1+b1 1.0-1.1 1.0-2 1.0a 1.0+dfsg 1.0.1 "
    )
    order += "1.2 1.10 1.10-1 2.0 1:0.1 1:0.2 2:0"
    keys = [sort_key("Debian:12", version) for version in order.split()]
    for (lower, a), (higher, b) in itertools.combinations(zip(keys, order.split(), strict=True), 2):
        assert lower < higher or (a, b) == ("0", "0~~"), (a, b)
