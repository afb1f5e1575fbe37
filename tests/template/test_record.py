"""A bake records which commit of the template it comes from, wherever git keeps the name of it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.repository import TEMPLATE, TREE, Repository

QUESTIONS = {"project_name": "Flights", "project_slug": "flights", "__rooms": "", "_rooms": {}}


@pytest.fixture
def template(tmp_path):
    """A template of a few files with the real hook, in git on the branch main."""
    tree = tmp_path / "template" / TREE.name
    tree.mkdir(parents=True)
    shutil.copy(TREE / ".cruft.json", tree)
    hook = tmp_path / "template/hooks/post_gen_project.py"
    hook.parent.mkdir()
    shutil.copy(TEMPLATE / "hooks/post_gen_project.py", hook)
    (tmp_path / "template/cookiecutter.json").write_text(json.dumps(QUESTIONS), encoding="utf-8")
    template = Repository(tmp_path / "template")
    template.commit("one")
    return template


def bake(template, *options, folder=None):
    """Bake a template with cookiecutter's command; gives the record."""
    home = Path(folder or template)
    output = next((Path(options[i + 1]) for i, option in enumerate(options) if option == "-o"), Path())
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", *options, str(template)]
    subprocess.run(command, cwd=home, check=True, capture_output=True)
    made = home / output / "flights/.cruft.json"
    record = json.loads(made.read_text(encoding="utf-8"))
    shutil.rmtree(made.parent)
    return record


@pytest.fixture
def output(tmp_path):
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


def head(template):
    return template.run("git", "rev-parse", "HEAD").strip()


def test_the_record_is_the_whole_one_that_cruft_writes(template, output):
    record = bake(template.path, folder=output)
    assert record == {
        "template": str(template.path),
        "commit": head(template),
        "checkout": None,
        "context": {"cookiecutter": {"project_name": "Flights", "project_slug": "flights"}},
        "directory": None,
    }


@pytest.mark.parametrize(
    "commands",
    [
        [],
        ["git tag v1.0.0"],
        ["git pack-refs --all", "git checkout --quiet -b with/a-slash"],
        ["git checkout --quiet -b with/a-slash", "git pack-refs --all"],
        ["git pack-refs --all", "git commit --quiet --allow-empty -m two"],
        ["git checkout --quiet --detach"],
    ],
    ids=lambda commands: "; ".join(commands) or "a new branch",
)
def test_the_commit_is_found_where_git_keeps_it(template, output, commands):
    for command in commands:
        template.run(*command.split())
    assert bake(template.path, folder=output)["commit"] == head(template)


def test_a_linked_work_tree_has_a_head_of_its_own(template, output, tmp_path):
    template.run("git", "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "linked"))
    linked = Repository(tmp_path / "linked")
    linked.commit("two")
    assert head(linked) != head(template)
    assert bake(linked.path, folder=output)["commit"] == head(linked)
    linked.run("git", "pack-refs", "--all")
    assert bake(linked.path, folder=output)["commit"] == head(linked)


def test_a_submodule_has_its_commit(template, output, tmp_path):
    outer = Repository(tmp_path / "outer")
    outer.path.mkdir()
    outer.run("git", "init", "--quiet")
    outer.run("git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(template.path), "inner")
    assert bake(outer.path / "inner", folder=output)["commit"] == head(template)


def test_what_is_not_committed_is_baked_and_head_is_recorded(template, output):
    (template.path / TREE.name / "new.txt").write_text("new", encoding="utf-8")
    assert bake(template.path, folder=output)["commit"] == head(template)


def test_a_folder_without_git_and_a_zip_have_no_commit(template, output, tmp_path):
    shutil.rmtree(template.path / ".git")
    shutil.make_archive(str(tmp_path / "main"), "zip", tmp_path, "template")
    Repository(tmp_path).commit("a repository around it is another one")
    for address in (template.path, tmp_path / "main.zip"):
        record = bake(address, folder=output)
        assert (record["template"], record["commit"]) == (str(address), None)
    (template.path / ".git").mkdir()  # and nothing in it
    assert bake(template.path, folder=output)["commit"] is None


def test_the_template_may_be_named_relative_to_the_current_folder(template, output):
    (output / "below").mkdir()
    for address, options in (("../template", []), ("../template", ["-o", "below"])):
        record = bake(address, *options, folder=output)
        assert (record["template"], record["commit"]) == (str(template.path), head(template))


def test_the_template_may_be_relative_and_the_output_elsewhere(template, output, tmp_path, monkeypatch):
    (tmp_path / "elsewhere/below").mkdir(parents=True)
    monkeypatch.setenv("PWD", str(output))  # as a shell has it
    record = bake("../template", "-o", str(tmp_path / "elsewhere/below"), folder=output)
    assert (record["template"], record["commit"]) == (str(template.path), head(template))


@pytest.mark.parametrize(
    "template_name", ["https://example.com/team/template.git", "git@example.com:team/template.git"]
)
def test_the_address_of_a_clone_stays_as_it_was_typed(template, output, tmp_path, monkeypatch, template_name):
    """Let git find the address in this folder, as it would find a server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{template.path}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", template_name)
    template.run("git", "tag", "v1.0.0")
    template.commit("two")
    record = bake(template_name, "--checkout", "v1.0.0", folder=output)
    assert (record["template"], record["checkout"]) == (template_name, "v1.0.0")
    assert record["commit"] == template.run("git", "rev-parse", "v1.0.0").strip()
