"""A team's patch of the machinery: `make check` lists it, updates keep it, and the page's commands drop or send it."""

import re
import sys
from pathlib import Path

import pytest

from support.repository import TREE, Repository, link_environment, render, swap
from support.updates import Project, copy_template, write_uvx

PATCHED = "src/modelcycle/core/output.py"
OLD, NEW = "def md5(", "# ours\ndef md5("
LISTED = f"patched   {PATCHED:<58} to keep it, drop it or send it back: docs/updates.md\n"


@pytest.fixture
def template(tmp_path):
    """A copy of the template, as it is now, in git."""
    template = copy_template(tmp_path / "template")
    template.commit("one")
    return template


@pytest.fixture
def made(template, tmp_path):
    """A repository that was made from it, in git."""
    made = Project(render(template.path, tmp_path), template.path)
    made.commit("bake")
    return made


def patch(made):
    made.replace(PATCHED, OLD, NEW)
    made.commit("ours")


def list_patches(repository):
    """List the patches as `make check` does, in this environment."""
    return repository.run(sys.executable, "-m", "modelcycle.patches", PYTHONPATH="src")


def run_command(made, beginning, place=None):
    """Type a command of the page, here or in another place."""
    page = made.read("docs/updates.md").partition("## A patch of the machinery")[2]
    command = re.search(rf"^{re.escape(beginning)}.*?(?=  +#|$)", page, re.MULTILINE)[0]
    folder = write_uvx(made.path.parent / "bin")
    path = f"{folder}:{made.environment()['PATH']}"
    (place or made).run("sh", "-c", command.replace("...", str(made.path)), PATH=path, HOME=str(folder))


def test_make_check_lists_a_patch_and_is_green_and_silent_without_one(made, default):
    link_environment(default, made.path)
    assert "patched" not in made.run("make", "check")
    patch(made)
    assert f"\n{LISTED}" in f"\n{made.run('make', 'check')}"
    run_command(made, "uvx cruft diff |")
    assert "patched" not in made.run("make", "check")
    assert made.run("git", "diff", "HEAD^") == ""


def test_a_patch_is_listed_after_a_squash_and_in_a_clone_without_history(made):
    patch(made)
    made.run("git", "reset", "--quiet", "--soft", "HEAD^")
    made.run("git", "commit", "--quiet", "--amend", "--no-edit")
    clone = made.path.parent / "clone"
    made.run("git", "clone", "--quiet", "--depth=1", f"file://{made.path}", str(clone))
    assert list_patches(Repository(clone)) == LISTED


@pytest.mark.parametrize("updater", ["make update", "cruft update"])
def test_a_patch_is_listed_after_an_update_until_the_template_has_it(made, template, updater):
    def update():
        if updater == "make update":
            made.update()
        else:
            cruft = str(Path(sys.executable).with_name("cruft"))
            made.run(cruft, "update", "--skip-apply-ask", HOME=str(made.path.parent))
            made.commit("updated")

    patch(made)
    swap(template.path / TREE.name / PATCHED, '"""How files', '"""How all files')
    swap(template.path / TREE.name / "modelcycle.mk", "##@ Start", "##@ Begin")
    template.commit("two")
    update()
    assert (NEW in made.read(PATCHED), '"""How all files' in made.read(PATCHED)) == (True, True)
    assert list_patches(made) == LISTED
    run_command(made, "uvx cruft diff >")
    swap(template.path / TREE.name / PATCHED, '"""How all files', '"""Where files')  # since, beside it
    template.commit("three")
    run_command(made, "git apply", place=template)
    template.commit("a pull request")
    (made.path / "ours.patch").unlink()
    assert NEW in (template.path / TREE.name / PATCHED).read_text(encoding="utf-8")
    update()
    assert (list_patches(made), NEW in made.read(PATCHED)) == ("", True)
