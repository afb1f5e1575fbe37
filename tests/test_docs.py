"""`make docs` makes a site that works from a folder, behind a firewall, and in which no link is dead."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain

import pytest
from conftest import TEMPLATE, TREE, use_environment


def test_the_site_has_every_page_finds_words_and_loads_nothing_from_elsewhere(copy, page):
    copy.run("make", "docs")
    site = copy.path / "reports/site"
    for source in chain.from_iterable(map(copy.path.glob, ["README.md", "docs/**/*.md", "deploy/*/README.md"])):
        assert (site / source.relative_to(copy.path)).with_suffix(".html").is_file()
    page.goto((site / "index.html").as_uri())
    for word, found in [("slice_gap", "Flight Delays"), ("hand-over", "On call")]:  # a parameter, a form
        page.get_by_placeholder("Search").fill(word)
        page.get_by_placeholder("Search").press("Enter")
        page.locator("#search-results").get_by_role("link", name=re.compile(found)).first.click()
        page.locator("#furo-main-content").get_by_text(word).first.wait_for()


def test_a_page_of_the_team_s_is_in_the_side_bar(copy):
    for name in ("ours", "teams/ours"):
        (copy.path / f"docs/{name}.md").parent.mkdir(exist_ok=True)
        (copy.path / f"docs/{name}.md").write_text(f"# How {name} works\n")
    copy.run("make", "docs")
    shown = copy.read("reports/site/index.html").partition("Your own pages")[2]
    assert "How ours works" in shown
    assert "How teams/ours works" in shown


def test_a_dead_link_and_a_dead_anchor_are_named_with_their_line(copy):
    (copy.path / "docs/roles.md").open("a").write("\n[a](nowhere.md)\n\n[b](process.md#nowhere)\n")
    line = len(copy.read("docs/roles.md").splitlines())
    printed = copy.run("make", "docs", fails=True)
    assert re.search(rf"docs/roles.md:{line - 2}: .*nowhere.md", printed)
    assert re.search(rf"docs/roles.md:{line}: .*process.*nowhere", printed)
    assert (copy.path / "reports/site/docs/roles.html").is_file()


@pytest.mark.parametrize(
    ("ci_provider", "deployment"), [("gitlab", "kubernetes"), ("jenkins", "openshift"), ("bamboo", "server")]
)
def test_no_link_is_dead_whatever_was_chosen(bake, default, ci_provider, deployment):
    repository = bake(ci_provider=ci_provider, deployment=deployment, airflow=False)
    use_environment(repository.path, default)
    repository.run("make", "docs")


def test_a_team_that_deletes_every_page_breaks_no_check_test_verb_or_update(copy):
    for path in sorted((copy.path / "docs").rglob("*.md")):
        path.unlink()
    copy.commit()
    copy.run("make", "check")
    copy.run("make", "test", "TESTS=tests/unit tests/model")
    assert "0 phases in order" in copy.run("make", "process")
    copy.run("make", "review")
    copy.run("make", "gate")
    assert "is the champion" in copy.run("make", "release")
    assert "Intended use" not in copy.read("reports/model_card.md")
    assert "roc_auc" in copy.read("reports/model_card.md")
    assert copy.run("git", "status", "--porcelain", "docs") == ""
    assert "README.md" in copy.run("make", "docs", fails=True)  # which says what links to them


def test_a_card_without_its_marks_stops_a_release_before_it_begins(copy):
    copy.replace("docs/data_card.md", "<!-- end of generated -->", "")
    copy.commit()
    assert "docs/data_card.md has no lines" in copy.run("make", "release", fails=True)
    assert "version" not in copy.run("modelcycle", "release", "--history")


def test_every_verb_has_one_line_in_the_readme():
    verbs = re.findall(r"^([a-z-]+):.*##", (TREE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## The verbs")[2].partition("\n## ")[0]
    told = [verb for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for verb in re.findall("`(.*?)`", cell)]
    assert len(told) == len(set(told))
    assert set(verbs) - {"help"} <= set(told)


def test_the_plan_in_the_docs_is_reckoned_from_what_was_measured():
    sys.path.append(str(TEMPLATE / "benchmarks"))
    spec = spec_from_file_location("measured", TEMPLATE / "benchmarks/dask.py")
    spec.loader.exec_module(benchmark := module_from_spec(spec))
    page = (TREE / "docs/scale.md").read_text(encoding="utf-8")
    written = page.partition(benchmark.MARKS[0])[2].partition(benchmark.MARKS[1])[0]
    found = re.search(r"takes\n(\d+) s for ([\d,]+) rows.*a row is (\d+) bytes", written, re.DOTALL)
    assert written == benchmark.plan(int(found[2].replace(",", "")), int(found[1]), int(found[3]))


def test_every_parameter_is_told_what_it_does(default):
    """In params.yaml, behind it or above it; what stands in braces is told with its owner."""
    code = """
from modelcycle.core.params import Params
for part, field in Params.model_fields.items():
    print(*(f"{part}.{key}" for key in field.annotation.model_fields))
"""
    part, above, told = "", "", set()
    for line in default.read("params.yaml").splitlines():
        key = re.match(r"(  )?(\w+):", line)
        if key and not key[1]:
            part = key[2]
        elif key and ("#" in line or above.lstrip().startswith("#")):
            assert f"{part}.{key[2]}" not in told
            told.add(f"{part}.{key[2]}")
        above = line
    assert told == set(default.run("python", "-c", code).split())
