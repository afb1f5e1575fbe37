"""cruft on the same record as `make update`: for what was made with it or with cookiecutter, with tags and without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.repository import TREE, Repository, render, swap
from support.updates import copy_template, read_record

CRUFT = str(Path(sys.executable).with_name("cruft"))


@pytest.fixture
def template(request, tmp_path):
    """A copy of the template, as it is now, of which nothing is known to who has made a repository from it."""
    template = copy_template(tmp_path / "template")
    template.commit("one")
    if getattr(request, "param", "tags") == "tags":
        template.run("git", "tag", "v9.0.0")
    return template


def release(template, number):
    """Commit a change, and give it the tag of a release where the template has any."""
    template.commit(number)
    if template.run("git", "tag"):
        template.run("git", "tag", f"v{number}")


def change(template):
    """Change, add and give up files of the template."""
    swap(template.path / TREE.name / "docs/ci.md", "# What CI does", "# What newer CI does")
    swap(template.path / TREE.name / "modelcycle.mk", "##@ Start", "##@ Begin")
    (template.path / TREE.name / "docs/new.md").write_text("# New\n", encoding="utf-8")
    (template.path / TREE.name / "docs/scale.md").unlink()
    release(template, "9.1.0")


def cruft(repository, *words):
    """Run cruft as a person does; gives its exit status and all it printed."""
    environment = os.environ | {"HOME": str(repository.path.parent)}
    done = subprocess.run([CRUFT, *words], cwd=repository.path, env=environment, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def update(repository, *words):
    """Run the updater; gives its exit status."""
    command = [sys.executable, f"{read_record(repository)['template']}/tools/update.py", *words]
    return subprocess.run(command, cwd=repository.path, capture_output=True, check=False).returncode


def content(repository):
    """Give what is in the folder; of the record without what cruft alone notes there."""
    files = {path: (repository.path / path).read_bytes() for path in repository.files() if path.name != ".cruft.json"}
    record = read_record(repository)
    answers = {name: value for name, value in record["context"]["cookiecutter"].items() if name[0] != "_"}
    return files, record["template"], record["commit"], answers


@pytest.fixture
def made(request, template, tmp_path):
    """A repository that was made with one of the two commands, in git."""
    if getattr(request, "param", "cookiecutter") == "cruft":
        words = ("create", "--no-input", "--output-dir", str(tmp_path), str(template.path))
        assert cruft(template, *words)[0] == 0
        made = Repository(tmp_path / "flight-delays")
    else:
        made = Repository(render(template.path, tmp_path))
    made.commit("bake")
    return made


@pytest.mark.parametrize("template", ["tags", "no tags"], indirect=True)
@pytest.mark.parametrize("made", ["cookiecutter", "cruft"], indirect=True)
def test_the_two_read_the_same_record_and_bring_in_the_same(made, template, tmp_path):
    head = template.run("git", "rev-parse", "HEAD").strip()
    assert (read_record(made)["template"], read_record(made)["commit"]) == (str(template.path), head)
    assert cruft(made, "check")[0] == update(made, "--check") == 0
    assert cruft(made, "diff", "--exit-code") == (0, "")
    made.replace("docs/ci.md", "# What CI does", "# What our CI does")
    status, printed = cruft(made, "diff", "--exit-code")
    assert (status, "-# What our CI does" in printed) == (1, True)
    made.run("git", "checkout", "--quiet", ".")

    change(template)
    assert cruft(made, "check")[0] == update(made, "--check") == 1
    other = made.copy_to(tmp_path / "other")
    status, printed = cruft(made, "update", "--skip-apply-ask")
    assert (status, "Good work" in printed) == (0, True)
    assert update(other) == 0
    assert content(made) == content(other)
    assert "# What newer CI does" in made.read("docs/ci.md")
    for repository in (made, other):
        repository.commit("updated")
        assert cruft(repository, "check")[0] == update(repository, "--check") == 0
        assert cruft(repository, "diff", "--exit-code") == (0, "")


def test_what_cruft_can_not_do_make_update_does(made, template, tmp_path):
    """As docs/updates.md says: it ends with 0 at a conflict, drops what is for a moved file, or a page for the team."""
    made.replace("docs/ci.md", "# What CI does", "# What our CI does")
    made.run("git", "mv", "modelcycle.mk", "template.mk")
    made.commit("ours")
    (template.path / TREE.name / "docs/operations/new.md").write_text("# New\n", encoding="utf-8")  # among the team's
    change(template)
    other = made.copy_to(tmp_path / "other")
    assert cruft(made, "update", "--skip-apply-ask")[0] == 0
    assert "<<<<<<<" in made.read("docs/ci.md") or list(made.path.rglob("*.rej"))
    assert "##@ Begin" not in made.read("template.mk")
    assert not (made.path / "docs/operations/new.md").exists()
    assert update(other) == 3
    assert "##@ Begin" in other.read("template.mk")
    assert (other.path / "docs/operations/new.md").exists()


def test_cruft_follows_the_branch_and_takes_a_release_where_it_is_named(made, template):
    change(template)
    template.commit("since")
    assert update(made) == 0
    assert (update(made, "--check"), cruft(made, "check")[0]) == (0, 1)
    assert cruft(made, "check", "--checkout", "v9.1.0")[0] == 0


def test_cruft_links_a_repository_without_a_record(made, template):
    expected = read_record(made)["context"]["cookiecutter"]
    made.run("git", "rm", "--quiet", ".cruft.json")
    made.commit("lost")
    head = template.run("git", "rev-parse", "HEAD").strip()
    assert cruft(made, "link", "--no-input", "--checkout", head, str(template.path))[0] == 0
    made.commit("found")
    assert cruft(made, "check")[0] == 0
    change(template)
    assert update(made) == 0
    assert {name: expected[name] for name in read_record(made)["context"]["cookiecutter"]} == {
        name: value for name, value in expected.items() if name[0] != "_"
    }
    assert "# What newer CI does" in made.read("docs/ci.md")
