"""The documents of a generated repository say what it does: its verbs, stages, alerts, roles and parameters."""

import re
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from ruamel.yaml import YAML

from support.repository import CHOICES, TEMPLATE, TREE

DOCS = TREE / "docs"
OURS = sorted(path for folder in ("crisp-dm", "scrum", "operations", "decisions") for path in (DOCS / folder).iterdir())
OURS += [DOCS / "process.md", DOCS / "roles.md"]
PAGES = sorted({*DOCS.rglob("*.md"), *TREE.glob("deploy/*/README.md")})


@pytest.fixture(scope="module")
def made(bake):
    return bake()


@pytest.fixture(scope="module")
def text(made):
    """Read a file of the default answers, or one that other answers bring."""
    return lambda name: (made.path / name if (made.path / name).exists() else TREE / name).read_text(encoding="utf-8")


def rows(page: str, under: str) -> list[list[str]]:
    """Give the cells of the table below a line, without its head."""
    table = page.partition(under)[2].lstrip("\n").partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:] if line[0] == "|"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_page_says_for_whom_it_is_and_how_long_it_takes(path):
    content = re.sub(r"\A---\n.*?\n---\n\n?", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    title, first = content.split("\n\n")[:2]
    assert title.startswith("# ")
    assert first.startswith("For ")
    assert re.search(r"minute|hour|half a day|a day", first)


def test_the_runbook_knows_every_alert_and_no_other(text):
    rules = YAML(typ="safe").load(text("deploy/monitoring/alerts.yml"))["groups"]
    alerts = {rule["alert"]: rule["labels"]["severity"] == "critical" for group in rules for rule in group["rules"]}
    table = rows(text("docs/operations/runbook.md"), "wait for the morning.\n")
    assert {row[0].split()[0]: "critical" in row[0] for row in table} == alerts


def test_every_verb_and_stage_that_the_documents_name_exists(text):
    verbs = set(re.findall(r"^([a-z]+):.*##", text("modelcycle.mk"), re.MULTILINE))
    files = [path.read_text(encoding="utf-8") for path in (TREE / "src/modelcycle").glob("*/verbs.py")]
    commands = {name for file in files for name in re.findall(r"^def (\w+)", file, re.MULTILINE)}
    stages = set(re.findall(r"^\| ([a-z]+) \|", text("docs/ci.md"), re.MULTILINE)) - {"stage"}
    table = rows(text("docs/process.md"), "more than forward.\n")
    assert len(table) == 7
    for row in table:
        assert set(re.findall(r"`([a-z]+)`", row[2])) <= verbs | commands
        assert set(row[4].split(", ")) <= stages | {"none"}
    for path in OURS:
        assert set(re.findall(r"`make ([a-z]+)", path.read_text(encoding="utf-8"))) <= verbs, path


def test_one_role_answers_for_each_step_and_the_code_owners_are_the_roles_groups(text):
    page = text("docs/roles.md")
    roles = {row[0]: row[2] for row in rows(page, "stand.\n")}
    assert len(roles) == 9
    raci = rows(page, "I is told after.\n")
    assert len(raci) == 12
    assert all(" ".join(row).count("**A**") == 1 for row in raci)
    groups = set(roles.values()) - {""}
    for owners in (".github/CODEOWNERS", ".gitlab/CODEOWNERS"):
        assert set(re.findall(r"@\S+", text(owners))) == groups
    assert {row[5] for row in rows(text("docs/process.md"), "more than forward.\n")} <= set(roles)


@pytest.mark.parametrize("scope", CHOICES["scope"])
def test_what_updates_leave_alone_exists(bake, scope):
    repository = bake(scope=scope)
    skipped = tomllib.loads(repository.read("pyproject.toml"))["tool"]["cruft"]["skip"]
    assert skipped
    assert not [path for path in skipped if not (repository.path / path).exists()]


@pytest.mark.parametrize("answers", [{}, {"scope": "exploration"}, {"ci_provider": "none"}])
def test_every_verb_has_one_line_in_the_readme(bake, answers):
    repository = bake(**answers)
    verbs = re.findall(r"^([a-z-]+):.*##", repository.read("modelcycle.mk"), re.MULTILINE)
    readme = repository.read("README.md")
    table = readme.partition("## The verbs")[2].partition("\n## ")[0]
    told = [verb for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for verb in re.findall("`(.*?)`", cell)]
    assert len(told) == len(set(told))
    files = [path for path in repository.files() if path.match("src/modelcycle/*/verbs.py")]
    commands = {name for file in files for name in re.findall(r"^def (\w+)", repository.read(file), re.MULTILINE)}
    assert set(verbs) - {"help"} <= set(told) <= {*verbs, *commands}


def test_the_plan_in_the_docs_is_reckoned_from_what_was_measured():
    sys.path.append(str(TEMPLATE / "benchmarks"))
    spec = spec_from_file_location("measured", TEMPLATE / "benchmarks/dask.py")
    spec.loader.exec_module(benchmark := module_from_spec(spec))
    page = (TREE / "docs/scale.md").read_text(encoding="utf-8")
    written = page.partition(benchmark.MARKS[0])[2].partition(benchmark.MARKS[1])[0]
    found = re.search(r"takes\n(\d+) s for ([\d,]+) rows.*a row is (\d+) bytes", written, re.DOTALL)
    assert written == benchmark.plan(int(found[2].replace(",", "")), int(found[1]), int(found[3]))
