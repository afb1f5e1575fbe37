"""The template's own CI is what its linters say is right, and does not more than it has to."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TEMPLATE

WORKFLOWS = sorted((TEMPLATE / ".github/workflows").glob("*.yml"))
BIN = Path(sys.executable).parent


def lint(path: Path) -> str:
    """Check a workflow against GitHub's schema and for insecure settings; empty when there is nothing to say."""
    schema = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(path)]
    zizmor = [str(BIN / "zizmor"), "--offline", "--no-progress", "--min-severity", "low", str(path)]
    found = ""
    for command in (schema, zizmor):
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        found += done.stdout + done.stderr if done.returncode else ""
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_linters_have_nothing_to_say(path):
    assert lint(path) == ""


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("runs-on:", "run-on:", "'runs-on' is a required property"),
        ("permissions:\n      contents: read", "permissions: write-all", "excessive-permissions"),
        ("@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4", "unpinned-uses"),
        ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("run: .ci/run", "run: echo ${{ github.event.pull_request.title }}", "template-injection"),
        ("timeout-minutes: 90", "timeout-minutes: long", "'long' is not of type 'number'"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, right, wrong, complaint):
    text = WORKFLOWS[0].read_text(encoding="utf-8")
    assert right in text
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "test.yml").write_text(text.replace(right, wrong), encoding="utf-8")
    assert complaint in lint(folder / "test.yml")


def test_the_workflow_runs_what_the_readme_says(bake):
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    assert re.findall(r"- run: (.+)", text) == [".ci/run"]
    assert "make test" in (TEMPLATE / "README.md").read_text(encoding="utf-8")
    assert "make test" in (TEMPLATE / ".ci/run").read_text(encoding="utf-8")
