"""`make docs` makes a site in which no link is dead; without any page, the other verbs still work."""

import re
from itertools import chain

import pytest


def test_sphinx_is_installed_with_the_first_use(default, copy):
    assert not (default.path / ".venv/bin/sphinx-build").exists()
    copy.run("make", "docs")
    assert (copy.path / ".venv/bin/sphinx-build").exists()
    assert (copy.path / ".venv/bin/dvc").exists()


def test_the_site_has_every_page_and_the_team_s_own_in_the_side_bar(copy):
    for name in ("ours", "teams/ours"):
        (copy.path / f"docs/{name}.md").parent.mkdir(exist_ok=True)
        (copy.path / f"docs/{name}.md").write_text(f"# How {name} works\n")
    copy.run("make", "docs")
    site = copy.path / "reports/site"
    for source in chain.from_iterable(map(copy.path.glob, ["README.md", "docs/**/*.md", "deploy/*/README.md"])):
        assert (site / source.relative_to(copy.path)).with_suffix(".html").is_file()
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
def test_no_link_is_dead_whatever_was_chosen(installed, ci_provider, deployment):
    installed(ci_provider=ci_provider, deployment=deployment, airflow=False).run("make", "docs")


def test_a_team_that_deletes_every_page_breaks_no_check_test_or_verb(copy):
    for path in sorted((copy.path / "docs").rglob("*.md")):
        path.unlink()
    copy.commit()
    copy.run("make", "check")
    copy.run("make", "test", "TESTS=tests/unit tests/model")
    assert "0 phases in order" in copy.run("make", "process")
    copy.run("make", "review")
    assert "is the champion" in copy.run("make", "release")
    assert "Intended use" not in copy.read("reports/model_card.md")
    assert "roc_auc" in copy.read("reports/model_card.md")
    assert copy.run("git", "status", "--porcelain", "docs") == ""
    assert "README.md" in copy.run("make", "docs", fails=True)  # which says what links to them
