"""The checks of a bake look at the team's code and tests; the machinery is the template's, and is checked there."""

import re

import pytest
from conftest import Repository, use_environment

UNFORMATTED = "\n\ndef planted( a,b ):\n    c=a\n    return b\n"
UNTYPED = '\n\ndef planted(a):\n    """Return what is given."""\n    return a\n'


@pytest.fixture(scope="module")
def repository(bake, default) -> Repository:
    repository = bake()
    use_environment(repository.path, default)
    repository.commit()
    return repository


@pytest.mark.parametrize(
    ("path", "planted", "failing"),
    [
        ("src/modelcycle/core/digest.py", UNFORMATTED, []),
        ("src/modelcycle/core/style.css", "\n\n\n", []),
        (
            "src/flight_delays/features.py",
            UNFORMATTED,
            ["ruff (lint)", "ruff (format)", "mypy (types of your package)"],
        ),
        ("src/flight_delays/features.py", UNTYPED, ["mypy (types of your package)"]),
        ("tests/conftest.py", UNFORMATTED, ["ruff (lint)", "ruff (format)"]),
        ("contract.yaml", "\n\n\n", ["one newline at the end"]),
    ],
)
def test_a_planted_fault_fails_in_the_team_s_files_only(repository, path, planted, failing):
    (repository.path / path).write_text(repository.read(path) + planted, encoding="utf-8")
    try:
        printed = repository.run("make", "check", fails=bool(failing))
        kept = repository.read(path).endswith(planted)
    finally:
        repository.run("git", "checkout", "--quiet", ".")
    assert re.findall(r"^(.*?)\.{3,}.*Failed$", printed, re.MULTILINE) == failing
    assert kept or failing


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]])
def test_tools_that_are_typed_by_hand_leave_the_machinery_alone_too(repository, command):
    path = repository.path / "src/modelcycle/core/digest.py"
    path.write_text(path.read_text(encoding="utf-8") + UNFORMATTED, encoding="utf-8")
    repository.run(*command)
    repository.run("git", "checkout", "--quiet", ".")
