import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from modelcycle.cli import app


def command(*arguments: str, folder: object = None) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "modelcycle", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("verb", get_command(app).commands)
def test_each_verb_explains_itself(verb):
    said = CliRunner().invoke(app, [verb, "--help"], prog_name="it").stdout
    assert f"it {verb} " in said
    assert len(said) > 300


def test_a_mistake_is_one_sentence_on_the_error_stream_and_exit_status_1(tmp_path):
    done = command("ingest", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: contract.yaml is not in")
    assert len(done.stderr.splitlines()) == 1


def test_quiet_and_verbose_change_the_diagnostics_and_not_the_sentence(tmp_path):
    said = {option: command(option, "ingest", folder=tmp_path).stderr for option in ("--quiet", "--verbose")}
    assert said["--quiet"].startswith("error: contract.yaml is not in")
    assert "Traceback" in said["--verbose"]
    assert said["--verbose"].endswith(said["--quiet"])


def test_what_is_run_is_shown_without_the_passwords_of_addresses(tmp_path):
    code = """
import logging
from modelcycle.core.output import configure_logging
from modelcycle.tracking.command import run
configure_logging(logging.DEBUG)
run("git", "config", "--file", "config", "remote.origin.url", "https://me:secret@host/repository.git")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert done.stderr == "$ git config --file config remote.origin.url https://me:***@host/repository.git\n"
    assert "secret" in (tmp_path / "config").read_text()
