"""`make audit` on a real uv.lock: red on an old library that is planted, and green after each remedy of docs/ci.md."""

import re

import pytest

from support.osv import record, running

OLD = ("PyPI", "idna", "3.6")


@pytest.fixture
def osv():
    with running() as service:
        service.known = {OLD: [record("GHSA-jjg7-2v4v-x38h", OLD, "3.7", aliases=["CVE-2024-3651"])]}
        yield service


def test_a_planted_library_is_red_until_it_is_raised_or_accepted(copy, osv):
    variables = {"AUDIT_DATABASE": osv.address}
    copy.run("uv", "lock", "--quiet", "--upgrade-package", "idna==3.6")
    printed = copy.run("make", "audit", fails=True, **variables)
    assert "alert: idna 3.6 has CVE-2024-3651 = GHSA-jjg7-2v4v-x38h, fixed in 3.7; in uv.lock.\n" in printed
    page = copy.read("docs/ci.md").partition("## When audit is red")[2].partition("\n## ")[0]

    (accept,) = re.findall(r"`(accepted_vulnerabilities = .*)`", page)
    accept = accept.replace("CVE-2016-10745", "CVE-2024-3651")
    copy.replace("pyproject.toml", "[tool.modelcycle]\n", f"[tool.modelcycle]\n{accept}\n")
    assert "accepted: idna 3.6, CVE-2024-3651: " in copy.run("make", "audit", **variables)
    copy.run("git", "checkout", "--quiet", "pyproject.toml")

    (newer,) = re.findall(r"`(exclude-newer-package = .*)`", page)
    copy.replace("pyproject.toml", "[tool.uv]\n", f"[tool.uv]\n{newer.replace('NAME', 'idna')}\n")
    (raise_it,) = re.findall(r"`(uv lock .*?)`", page)
    copy.run(*raise_it.replace("NAME", "idna").split())
    printed = copy.run("make", "audit", **variables)
    assert re.search(r"^audit +\d+ packages, 0 with a known vulnerability +uv\.lock$", printed, re.MULTILINE)
    changed = copy.run("git", "diff", "--unified=0", "uv.lock")
    assert not re.search(r"^[-+]name = ", changed, re.MULTILINE)  # no other library was raised


def test_without_an_answer_nothing_is_green(copy):
    printed = copy.run("make", "audit", fails=True, AUDIT_DATABASE="http://127.0.0.1:9")
    assert "error: http://127.0.0.1:9/v1/querybatch gives no answer" in printed
