import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowException
from typer.main import get_command
from typer.testing import CliRunner

from modelcycle import cli
from modelcycle.cli import app, require_own_code
from modelcycle.core.errors import Alert, InputError
from modelcycle.core.output import configure_logging


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run main() with these words in an empty folder; gives the exit status and both streams."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["modelcycle", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    yield call
    configure_logging(logging.INFO)


@pytest.mark.parametrize("verb", get_command(app).commands)
def test_each_verb_explains_itself(verb):
    said = CliRunner().invoke(app, [verb, "--help"], prog_name="it").stdout
    assert f"it {verb} " in said
    assert len(said) > 300


def test_a_mistake_is_one_sentence_on_the_error_stream_and_exit_status_1(tmp_path):
    command = [sys.executable, "-m", "modelcycle", "ingest"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: contract.yaml is not in")
    assert len(done.stderr.splitlines()) == 1


def test_quiet_and_verbose_change_the_diagnostics_and_not_the_sentence(call):
    (_, _, quiet), (_, _, verbose), (_, _, short) = (
        call(option, "ingest") for option in ("--quiet", "--verbose", "-q")
    )
    assert quiet == short
    assert quiet.startswith("error: contract.yaml is not in")
    assert verbose.startswith("what led to it:\nTraceback")
    assert verbose.endswith(quiet)


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (InputError("no https://me:secret@host/x"), 1, "error: no https://me:***@host/x"),
        (Alert("the answers are worse"), 2, "the answers are worse"),
        (FileNotFoundError(2, "No such file", "git"), 1, "error: git is not installed, or not on the PATH."),
        (PermissionError(13, "Permission denied", "data/raw.parquet"), 1, "error: data/raw.parquet: Permission denied"),
        (OSError("closed"), 1, "error: input and output: closed"),
        (MlflowException("gone\nat line 5"), 1, "error: the tracking store: gone"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_person_can_correct_is_a_sentence_and_an_exit_status(call, monkeypatch, error, status, sentence):
    def fail():
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert call("ingest") == (status, "", f"{sentence}\n")


def test_what_nobody_can_correct_is_not_hidden(call, monkeypatch):
    monkeypatch.setattr(cli, "app", lambda: {}["key"])
    with pytest.raises(KeyError):
        call("ingest")


def test_a_user_whom_the_system_does_not_know_gets_a_name_and_needs_a_home(call, monkeypatch):
    """As in a container that OpenShift starts."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "getuid", lambda: 1000680000)
    status, _, error = call("release", "--history")
    assert status == 1
    assert (
        error
        == "error: uid-1000680000 has no home folder: set HOME to one that it may write to, as in `export HOME=/tmp`.\n"
    )
    monkeypatch.setenv("HOME", "/nonexistent")
    assert "pyproject.toml is not in" in call("release", "--history")[2]
    assert os.environ["USER"] == "uid-1000680000"


def test_other_code_than_the_repository_s_is_refused(call, monkeypatch, tmp_path):
    require_own_code()
    (tmp_path / "src/modelcycle").mkdir(parents=True)
    status, _, printed = call("release", "--history")
    assert status == 1
    assert printed.startswith(
        f"error: {Path(cli.__file__).parent} would have run instead of this repository's src/model"
    )
    assert "type `make setup`, then `.venv/bin/modelcycle release --history`; if that says the same" in printed
