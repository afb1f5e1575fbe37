import subprocess
import sys

import pytest
from modelcycle.cli import app
from typer.testing import CliRunner


def command(*arguments: str, folder: object = None) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "modelcycle", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("verb", [known.name or known.callback.__name__ for known in app.registered_commands])
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
