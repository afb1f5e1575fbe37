"""`make release-check` lets a commit be a release only with its version, its CHANGELOG and the old questions."""

import json
import re
import subprocess
import sys

import pytest

from support.repository import TEMPLATE, Repository, swap

TOLD = """# Changelog

## 2.0.0 - 2030-01-31

### What this update touches

`Makefile`, `src/`

### New options and their defaults

`colour`: Red, as it was.

### What you have to do

Nothing.

## 1.9.0 - 2029-01-31
"""
QUESTIONS = {"name": "x", "target": ["server", "cloud"], "colour": ["red", "blue"], "_version": "2.0.0"}


@pytest.fixture
def template(tmp_path):
    """A template with the release v1.9.0 and all that 2.0.0 needs, not committed."""
    tree = tmp_path / "{{cookiecutter.project_slug}}"
    (tree / "src").mkdir(parents=True)
    for name in ("Makefile", "src/a.py", "README.md"):
        (tree / name).write_text("old")
    old = {name: value for name, value in QUESTIONS.items() if name != "colour"} | {"_version": "1.9.0"}
    (tmp_path / "cookiecutter.json").write_text(json.dumps(old))
    Repository(tmp_path).commit("1.9.0")
    Repository(tmp_path).run("git", "tag", "v1.9.0")
    for name in ("Makefile", "src/a.py"):
        (tree / name).write_text("new")
    (tmp_path / "cookiecutter.json").write_text(json.dumps(QUESTIONS))
    (tmp_path / "CHANGELOG.md").write_text(TOLD)
    return tmp_path


def check(template):
    Repository(template).commit("2.0.0")
    command = [sys.executable, str(TEMPLATE / "tools/release_check.py")]
    done = subprocess.run(command, cwd=template, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if done.stderr else 0)
    return done.stderr


def test_a_release_that_lacks_nothing_passes(template):
    assert check(template) == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (
            "cookiecutter.json",
            '"2.0.0"',
            '"two"',
            "_version in cookiecutter.json is 'two'; a release's has three numbers",
        ),
        (
            "cookiecutter.json",
            '"2.0.0"',
            '"2.0.0.dev"',
            "_version in cookiecutter.json is '2.0.0.dev'; a release's has",
        ),
        ("cookiecutter.json", '"2.0.0"', '"2.0.1"', "CHANGELOG.md does not begin with `## 2.0.1 - `"),
        (
            "CHANGELOG.md",
            "2030-01-31",
            "unreleased",
            "CHANGELOG.md does not begin with `## 2.0.0 - ` and the release's day",
        ),
        ("CHANGELOG.md", "## 2.0.0 - 2030-01-31", "## Unreleased", "CHANGELOG.md does not begin with `## 2.0.0 - `"),
        ("CHANGELOG.md", "Nothing.", "", "2.0.0 in CHANGELOG.md has no `### What you have to do`"),
        ("CHANGELOG.md", "`colour`: Red", "`colour`: new", "colour and its default red are not told"),
        ("CHANGELOG.md", "`src/`", "the code", "src has changed since v1.9.0, and is not told"),
        ("cookiecutter.json", '"name"', '"title"', "the question name is gone, which v1.9.0 asked"),
        ("cookiecutter.json", '"cloud"', '"moon"', "target has no choice cloud any more, which v1.9.0 had"),
    ],
)
def test_a_planted_fault_is_named(template, file, old, new, sentence):
    swap(template / file, old, new)
    assert f"release-check: {sentence}" in check(template)


def test_a_version_that_is_out_already_and_a_change_that_is_not_committed(template):
    Repository(template).run("git", "tag", "v2.0.0")
    (template / "new").write_text("new")
    command = [sys.executable, str(TEMPLATE / "tools/release_check.py")]
    said = subprocess.run(command, cwd=template, capture_output=True, text=True, check=False).stderr
    assert "something is not committed" in said
    assert "v2.0.0 is a release already" in said


def test_this_version_is_told_in_the_changelog_with_its_day_or_is_in_development():
    version = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))["_version"]
    changelog = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
    day = "unreleased" if version.endswith(".dev") else r"\d{4}-\d\d-\d\d"
    assert re.search(rf"^## {re.escape(version.removesuffix('.dev'))} - {day}$", changelog, re.MULTILINE)
