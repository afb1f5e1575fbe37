"""The template's own CI is what its linters say is right, and does not more than it has to."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.repository import TEMPLATE

WORKFLOWS = sorted((TEMPLATE / ".github/workflows").glob("*.yml"))
BIN = Path(sys.executable).parent
PLANTED = [  # what is right, what is wrong, what is said of it
    ("runs-on:", "run-on:", "'runs-on' is a required property"),
    ("permissions:\n      contents: read", "permissions: write-all", "excessive-permissions"),
    ("@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4", "unpinned-uses"),
    ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
    ("run: .ci/run", "run: echo ${{ github.event.pull_request.title }}", "template-injection"),
    ("timeout-minutes: 90", "timeout-minutes: long", "'long' is not of type 'number'"),
]


def lint(*paths: Path) -> str:
    """Check workflows against GitHub's schema and for insecure settings; empty when there is nothing to say."""
    schema = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *paths]
    zizmor = [BIN / "zizmor", "--offline", "--no-progress", "--min-severity", "low", *paths]
    found = ""
    for command in (schema, zizmor):
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        found += done.stdout + done.stderr if done.returncode else ""
    return found


@pytest.mark.slow
def test_the_linters_have_nothing_to_say():
    assert lint(*WORKFLOWS) == ""


@pytest.mark.slow
def test_a_fault_that_is_planted_is_found_in_its_file(tmp_path):
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    text = WORKFLOWS[0].read_text(encoding="utf-8")
    for number, (right, wrong, _) in enumerate(PLANTED):
        assert right in text
        (folder / f"fault-{number}.yml").write_text(text.replace(right, wrong), encoding="utf-8")
    said = lint(*sorted(folder.iterdir()))
    for number, (_, _, complaint) in enumerate(PLANTED):
        complaint, name = re.escape(complaint), rf"fault-{number}\.yml"
        by_schema, by_zizmor = rf"{name}::((?!fault-).)*{complaint}", rf"{complaint}((?!fault-).)*{name}"
        assert re.search(f"{by_schema}|{by_zizmor}", said, re.DOTALL), f"{complaint} of {name} is not in:\n{said}"


def test_the_workflow_runs_what_the_readme_says():
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    assert re.findall(r"- run: (.+)", text) == [".ci/run"]
    assert "make test" in (TEMPLATE / "README.md").read_text(encoding="utf-8")
    assert "make test" in (TEMPLATE / ".ci/run").read_text(encoding="utf-8")
