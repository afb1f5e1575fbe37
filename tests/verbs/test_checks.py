"""`make check` looks at the team's code and tests; the machinery is the template's, and is checked there."""

import re
import shutil

import pytest

from support.repository import Repository

UNFORMATTED = "\n\ndef planted( a,b ):\n    c=a\n    return b\n"
UNTYPED = '\n\ndef planted(a):\n    """Return what is given."""\n    return a\n'


@pytest.fixture(scope="module")
def repository(installed) -> Repository:
    return installed()


@pytest.mark.parametrize(
    ("path", "planted", "failing"),
    [
        ("src/modelcycle/core/output.py", UNFORMATTED, []),
        ("src/modelcycle/core/style.css", "\n\n\n", []),
        (
            "src/flight_delays/features.py",
            UNFORMATTED,
            ["ruff (lint)", "ruff (format)", "mypy (types of your package)"],
        ),
        ("src/flight_delays/features.py", UNTYPED, ["mypy (types of your package)"]),
        ("tests/unit/test_features.py", UNFORMATTED, ["ruff (lint)", "ruff (format)"]),
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


def test_an_experiment_with_another_parameter_leaves_files_that_can_be_committed(repository, tmp_path):
    changed = repository.copy_to(tmp_path)
    changed.run("dvc", "exp", "run", "--quiet", "-S", "train.parameters.max_iter=20")
    assert "parameters: {learning_rate: 0.05, max_iter: 20," in changed.read("params.yaml")
    assert "Failed" not in changed.run("make", "check")
    assert changed.run("git", "status", "--porcelain").split() == ["M", "params.yaml", "??", "dvc.lock"]
    changed.commit("max_iter")
    assert "Data and pipelines are up to date." in changed.run("dvc", "status")


def test_before_the_first_git_add_it_fails_and_says_so(repository, tmp_path):
    """pre-commit looks at what git knows, and would pass."""
    new = repository.copy_to(tmp_path)
    shutil.rmtree(new.path / ".git")
    new.run("git", "init", "--quiet")
    printed = new.run("make", "check", fails=True)
    assert "git knows no file of this folder yet, so nothing would be checked: type git add . first." in printed
    assert "Skipped" not in printed
    new.run("git", "add", ".")
    assert "Passed" in new.run("make", "check")


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]])
def test_tools_that_are_typed_by_hand_leave_the_machinery_alone_too(repository, command):
    path = repository.path / "src/modelcycle/core/output.py"
    path.write_text(path.read_text(encoding="utf-8") + UNFORMATTED, encoding="utf-8")
    try:
        repository.run(*command)
    finally:
        repository.run("git", "checkout", "--quiet", ".")


@pytest.mark.parametrize(
    "answers",
    [
        {"ci_provider": "gitlab", "deployment": "kubernetes", "data_remote": "s3", "license": "MIT"},
        {"ci_provider": "jenkins", "deployment": "openshift", "data_remote": "azure", "license": "Apache-2.0"},
        {"ci_provider": "bamboo", "airflow": False, "data_remote": "ssh", "license": "BSD-3-Clause"},
    ],
    ids=lambda answers: answers["ci_provider"],
)
def test_what_other_answers_write_passes_and_is_not_changed(installed, repository, answers):
    """A package's name shows in imports, which must not become too long for the formatter."""
    other = installed(**answers, package_name="a" * 40)
    same = {
        path
        for path in repository.files()
        if (other.path / path).exists() and other.read(path) == repository.read(path)
    }
    printed = other.run("pre-commit", "run", "--files", *(str(path) for path in other.files() if path not in same))
    assert printed.count("Passed") >= 5
    assert "Failed" not in printed
    assert other.run("git", "status", "--porcelain") == ""
