"""AGENTS.md is short, and names nothing that is not there. tests/verbs/test_agents.py runs its commands."""

import re

import pytest

MADE = {"data/", "models/", "reports/", "dvc.lock", "uv.lock", ".dvc/config.local"}  # by the verbs, or by the team


@pytest.mark.parametrize("answers", [{}, {"scope": "exploration"}, {"deployment": "openshift", "airflow": False}])
def test_it_is_short_and_names_what_is_there(bake, answers):
    repository = bake(**answers)
    page = repository.read("AGENTS.md")
    assert len(page.splitlines()) <= 60
    verbs = set(re.findall(r"^([a-z-]+):.*##", repository.read("modelcycle.mk"), re.MULTILINE))
    told = re.findall(r"^make (\S+)|`make (\S+?)`", page, re.MULTILINE)
    assert len(told) > 5
    assert {line or word for line, word in told} <= verbs
    assert ("gate" in page) == ("gate" in verbs)
    paths = [name for name in re.findall(r"`([^` ]+)`", page) if re.search(r"[./]", name) and not name.startswith("-")]
    assert len(paths) > 12
    assert [name for name in paths if not (repository.path / name).exists() and name not in MADE] == []
