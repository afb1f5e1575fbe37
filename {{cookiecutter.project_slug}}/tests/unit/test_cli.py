import subprocess
import sys

import pytest


def command(*arguments: str, folder: object = None) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "{{ cookiecutter.package_name }}", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize(
    "verb",
    [
        "ingest",
        "prepare",
        "train",
        "evaluate",
        "image",
        "push",
        "deploy",
        "predict",
        "monitor",
        "process",
        "review",
        "adopt",
    ],
)
def test_each_verb_explains_itself(verb):
    help_text = command(verb, "--help").stdout
    assert len(help_text) > 300
    assert verb in help_text


def test_a_mistake_is_one_sentence_on_the_error_stream_and_exit_status_1(tmp_path):
    done = command("ingest", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: contract.yaml is not in")
    assert len(done.stderr.splitlines()) == 1
