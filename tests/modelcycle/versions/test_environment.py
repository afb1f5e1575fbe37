"""What uv says reaches the person; tests/e2e/test_versions.py makes a version's environment for real."""

import os
import re

import pytest

from modelcycle.core.errors import InputError
from modelcycle.versions.environment import make_environment, sync_environment
from support.repository import TEMPLATE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with no uv of its own, which the test runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_lock_that_can_not_be_installed_is_told_in_uv_s_words(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(TEMPLATE / ".uv/bin"), prepend=os.pathsep)
    lock = {"pyproject.toml": b'[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\n', "uv.lock": b"}{"}
    with pytest.raises(InputError, match=r"^uv can't install what uv\.lock names: .*(parse|TOML)"):
        make_environment(folder, lock)


def test_without_uv_there_is_a_sentence(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(InputError, match=re.escape("uv is not on the PATH: `make setup` brings it.")):
        sync_environment(folder)


def test_what_leads_to_today_s_environment_is_kept_from_uv(folder, monkeypatch):
    uv = folder / ".uv/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text('#!/bin/sh\nenv >environment\necho "$@" >called\n')
    uv.chmod(0o755)
    for name in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_LOCKED", "PYTHONPATH", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "set")
    assert sync_environment(folder, "--more") == folder / ".venv/bin/python"
    assert (folder / "called").read_text() == "sync --frozen --no-progress --more\n"
    kept = re.findall("^(.*)=set$", (folder / "environment").read_text(), re.MULTILINE)
    assert kept == ["UV_DEFAULT_INDEX"]
