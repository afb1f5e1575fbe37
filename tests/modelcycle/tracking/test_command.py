import logging
import os
import sys
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.core.output import configure_logging
from modelcycle.tracking.git import run


def python(code, **options):
    return run(sys.executable, "-c", code, **options)


def test_a_command_gives_its_output(tmp_path, monkeypatch):
    monkeypatch.setenv("TAKEN", "along")
    asked = "import os; print(*map(os.environ.get, ('TAKEN', 'OURS', 'GIT_TERMINAL_PROMPT')), os.getcwd(), sep=chr(10))"
    said = python(asked, environment={"OURS": "too"}, folder=tmp_path).splitlines()
    assert said == ["along", "too", "0", str(tmp_path)]


def test_what_is_run_finds_the_programs_of_this_environment_first():
    path = python("import os; print(os.environ['PATH'])").split(os.pathsep)
    assert path[0] == str(Path(sys.executable).parent)
    assert path[1:] == os.environ["PATH"].split(os.pathsep)
    assert run("dvc", "--version")[0].isdigit()


def test_a_shown_command_prints_itself(capfd):
    assert python("print('shown')", show=True) == ""
    assert capfd.readouterr().out == "shown\n"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("first\nlast", "last"),
        ("fatal: no such branch\nhint: try another", "no such branch"),
        ("error: the first\nerror: the step's own sentence\nfatal: git's\nlast", "the step's own sentence"),
        ("ERROR: pip's", "pip's"),
        ("Traceback\nValueError: bad", "bad"),
        ("", "exit status 3, no message"),
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_failure_says_why(output, reason, stream):
    with pytest.raises(InputError) as error:
        python(f"import sys; sys.{stream}.write({output!r}); sys.exit(3)")
    assert str(error.value) == f"{sys.executable} failed: {reason}"


def test_a_failed_module_is_called_by_its_name():
    with pytest.raises(InputError, match=r"^dvc failed: "):
        run(sys.executable, "-m", "dvc", "nothing")
    with pytest.raises(InputError, match=r"^git failed: "):
        run("git", "nothing")


def test_what_is_run_is_shown_without_the_passwords_of_addresses(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configure_logging(logging.DEBUG)
    run("git", "config", "--file", "config", "remote.origin.url", "https://me:secret@host/repository.git")
    configure_logging(logging.INFO)
    shown = "$ git config --file config remote.origin.url https://me:***@host/repository.git\n"
    assert capsys.readouterr().err == shown
    assert "secret" in (tmp_path / "config").read_text()
