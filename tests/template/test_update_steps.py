"""What an update does besides merging: it finds version and updater, migrates, tells what will be, survives a kill."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from support.repository import TEMPLATE, TREE, Repository, swap
from support.updates import read_record


@pytest.fixture
def growing(template, tmp_path):
    """A clone of the template, to be changed, on main, which is v1.0.0."""
    template.run("git", "clone", "--quiet", ".", str(tmp_path / "growing"))
    return Repository(tmp_path / "growing")


def head(repository):
    return repository.run("git", "rev-parse", "HEAD").strip()


def forget_tags(repository):
    repository.run("git", "tag", "--delete", *repository.run("git", "tag").split())


def run_updater(repository, *words, **environment):
    """Run the updater as `make update` does, in a process; gives its exit status and all it printed."""
    clone = repository.path.parent / "fetched"
    shutil.rmtree(clone, ignore_errors=True)
    repository.run("git", "clone", "--quiet", read_record(repository)["template"], str(clone))
    command = [sys.executable, str(clone / "tools/update.py"), *words]
    variables = repository.environment() | environment
    done = subprocess.run(
        command,
        cwd=repository.path,
        env=variables,
        capture_output=True,
        encoding="utf-8",
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    return done.returncode, done.stdout + done.stderr


# Without a release


def test_without_a_release_the_head_of_the_branch_is_brought_in(make, growing):
    forget_tags(growing)
    repository = make(head(growing), growing)
    newest = f"Nothing is newer: the template's newest commit is main ({head(growing)[:10]})"
    assert repository.attempt("--check") == (0, f"{newest}\n")
    assert newest in repository.update()
    swap(growing.path / TREE.name / "docs/page.md", "Line 5", "Newer")
    growing.commit("newer")
    assert repository.attempt("--check") == (1, "The template's main is newer: make update\n")
    assert f"Update the template to main ({head(growing)[:10]}): 2 files changed" in repository.update()
    assert "Newer" in repository.read("docs/page.md")
    assert read_record(repository)["commit"] == head(growing)
    assert read_record(repository)["checkout"] == "main"
    assert repository.attempt("--check")[0] == 0


def test_between_releases_a_repository_is_current_until_the_next_one(make, growing):
    growing.commit("since v1.0.0")
    repository = make(head(growing), growing)
    assert repository.attempt("--check") == (0, "Nothing is newer: the template's newest release is v1.0.0\n")
    swap(growing.path / TREE.name / "docs/page.md", "Line 5", "Newer")
    growing.commit("newer")
    assert repository.attempt("--check")[0] == 0
    assert f"Update the template to main ({head(growing)[:10]}): 2 files changed" in repository.update("main")
    growing.commit("a release")
    growing.run("git", "tag", "v1.1.0")
    assert repository.attempt("--check") == (1, "The template's v1.1.0 is newer: make update\n")
    assert "Update the template to v1.1.0: 1 file changed" in repository.update()


# Which updater


def test_the_updater_is_the_one_of_the_version_that_is_updated_to(make, growing):
    shutil.copytree(TEMPLATE / "tools", growing.path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    states = []
    for name in ("v1.1.0", "v1.2.0", "main"):
        updater = growing.path / "tools/update.py"
        text = (TEMPLATE / "tools/update.py").read_text(encoding="utf-8")
        call = "    sys.exit(main(sys.argv[1:]))"
        assert call in text
        updater.write_text(text.replace(call, f'    print("updater of {name}")\n{call}'), encoding="utf-8")
        (growing.path / TREE.name / "docs/page.md").write_text(f"{name} {{{{ cookiecutter.colour }}}}\n")
        growing.commit(name)
        states.append(head(growing))
        if name != "main":
            growing.run("git", "tag", name)
    repository = make("v1.1.0", growing)
    status, printed = run_updater(repository, "--set=colour=blue")
    assert (status, re.findall("updater of .*", printed)) == (0, ["updater of main", "updater of v1.1.0"])
    assert "Render the template with colour=blue: 2 files changed" in printed
    status, printed = run_updater(repository)
    assert (status, re.findall("updater of .*", printed)) == (0, ["updater of main", "updater of v1.2.0"])
    assert (read_record(repository)["commit"], read_record(repository)["checkout"]) == (states[1], "v1.2.0")
    status, printed = run_updater(repository, "main")
    assert (status, re.findall("updater of .*", printed)) == (0, ["updater of main"])
    assert repository.read("docs/page.md") == "main blue\n"
    assert "what has come since is taken away" in run_updater(repository, "v1.0.0")[1]  # which has no updater


def test_a_branch_of_the_template_is_brought_in_by_its_own_updater(make, growing):
    repository = make("v1.0.0", growing)
    shutil.copytree(TEMPLATE / "tools", growing.path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    growing.commit("the updater")
    growing.run("git", "checkout", "--quiet", "-b", "trial/x")
    swap(growing.path / TREE.name / "docs/page.md", "Line 5", "Trial")
    growing.commit("on a branch")
    commit = head(growing)
    growing.run("git", "checkout", "--quiet", "main")
    status, printed = run_updater(repository, "trial/x")
    assert status == 0, printed
    assert f"Update the template to trial/x ({commit[:10]}): 2 files changed" in printed
    assert read_record(repository)["commit"] == commit


# Migrations

RENAME = '''"""Let model.py import the module by its new name."""

from pathlib import Path

for path in Path("team").glob("*.py"):
    path.write_text(path.read_text().replace("import answer", "import reply"))
'''


@pytest.fixture
def restructured(growing):
    """The template with v1.1.0, in which a module that a team imports has moved."""
    growing.run("git", "mv", f"{TREE.name}/src/answer.py", f"{TREE.name}/src/reply.py")
    folder = growing.path / "tools/migrations"
    folder.mkdir(parents=True)
    (folder / "reply.py").write_text(RENAME)
    (folder / "README.md").write_text("Not a script.\n")
    growing.commit("moved")
    growing.run("git", "tag", "v1.1.0")
    return growing


@pytest.fixture
def importing(make, restructured):
    """A repository of v1.0.0 whose own file imports what has moved."""
    repository = make("v1.0.0", restructured)
    (repository.path / "team/model.py").write_text("import answer\n")
    repository.commit("ours")
    return repository


def test_what_a_merge_can_not_do_is_a_commit_of_its_own(importing):
    printed = importing.update()
    assert re.search(r"^update +yours, and migrated: +team/model.py$", printed, re.MULTILINE)
    assert "look at it with git show HEAD^ HEAD, then: make cycle test" in printed
    assert importing.read("team/model.py") == "import reply\n"
    assert not (importing.path / "src/answer.py").exists()
    subjects = importing.run("git", "log", "--format=%s").splitlines()
    assert subjects == ["Update the template to v1.1.0", "Migrate to the template's v1.1.0", "ours", "bake"]
    assert "Let model.py import the module by its new name." in importing.run(
        "git", "log", "-1", "--format=%b", "HEAD^"
    )
    assert importing.run("git", "show", "--name-only", "--format=", "HEAD^") == "team/model.py\n"
    assert importing.run("git", "status", "--porcelain") == ""


def test_a_migration_is_run_once_and_only_by_whom_it_concerns(make, restructured, importing):
    importing.update()
    (importing.path / "team/model.py").write_text("import answer\n")  # of their own, from now on
    importing.commit("ours again")
    swap(restructured.path / TREE.name / "docs/page.md", "Line 5", "Newer")
    restructured.commit("newer")
    restructured.run("git", "tag", "v1.2.0")
    assert "Update the template to v1.2.0" in importing.update()
    assert importing.read("team/model.py") == "import answer\n"
    other = make("v0.9.0", restructured)
    assert "migrated" not in other.update()
    assert other.run("git", "log", "--format=%s").splitlines() == ["Update the template to v1.2.0", "bake"]


@pytest.mark.parametrize("ends", ["--continue", "--abort"])
def test_a_conflict_after_a_migration_is_gone_through_or_taken_back_as_one(importing, ends):
    importing.replace("src/answer.py", '"""Now."""', '"""Ours."""')
    importing.run("git", "mv", "src/answer.py", "src/ours.py")
    importing.commit("ours as well")
    before = head(importing)
    status, printed = importing.attempt("v0.9.0")
    assert (status, head(importing) == before) == (3, True)  # an older one needs no migration
    importing.run("git", "cherry-pick", "--abort")
    importing.run("git", "mv", "src/ours.py", "src/answer.py")
    importing.replace("docs/page.md", "Line 2", "Our line")
    importing.commit("ours")
    restructured = Repository(importing.source)
    swap(restructured.path / TREE.name / "docs/page.md", "Line 2", "Their line")
    restructured.commit("theirs")
    restructured.run("git", "tag", "v1.2.0")
    before = head(importing)
    status, printed = importing.attempt()
    assert status == 3
    assert "The template and you have both changed docs/page.md." in printed
    if ends == "--continue":
        importing.run("git", "checkout", "--ours", "docs/page.md")
        importing.run("git", "add", ".")
    importing.run("git", "-c", "core.editor=true", "cherry-pick", ends)
    if ends == "--abort":
        assert head(importing) == before
        assert importing.read("team/model.py") == "import answer\n"
    else:
        assert importing.read("team/model.py") == "import reply\n"
        assert importing.attempt("--check")[0] == 0
    assert importing.run("git", "status", "--porcelain") == ""


def test_a_migration_that_fails_changes_nothing(importing):
    restructured = Repository(importing.source)
    (restructured.path / "tools/migrations/second.py").write_text('raise SystemExit("error: model.py is not Python")\n')
    restructured.commit("another")
    restructured.run("git", "tag", "v1.2.0")
    before = head(importing)
    assert "error: second.py failed: model.py is not Python\n" in importing.update(fails=True)
    assert (head(importing), importing.run("git", "status", "--porcelain")) == (before, "")


# Preview


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PIPELINE = """stages:
  make:
    cmd: x
    deps: [src/answer.py]
    outs: [{a: {cache: false}}]
  use:
    cmd: x
    deps: [a]
  other:
    cmd: x
    deps: [lib]
"""


def test_a_preview_tells_all_and_writes_nothing(old):
    (old.path / "dvc.yaml").write_text(PIPELINE.replace("answer.py", "moved.py"))
    old.replace("docs/page.md", "Once", "Our line")
    old.run("git", "mv", "src/answer.py", "src/moved.py")
    old.commit("ours")
    (old.path / "untracked.txt").write_text("ours")
    old.replace("team/model.py", "1", "2")  # not committed
    before = everything(old.path)
    printed = old.update("--preview")
    assert everything(old.path) == before
    assert re.search(r"yours and left as they are, changed in the template: +params.yaml$", printed, re.MULTILINE)
    assert "Update the template to v1.0.0: 6 files would change" in printed
    listed = re.findall(r"^ {10}([AMD])\t(\S+)$", printed, re.MULTILINE)
    assert listed == [
        *[("M", ".cruft.json"), ("D", "docs/gone.md"), ("A", "docs/new.md"), ("M", "docs/page.md")],
        *[("M", "src/moved.py"), ("A", "team/new.md")],
    ]
    assert re.search(r"stages that would run again: +make, use$", printed, re.MULTILINE)
    assert "a person would decide: The template and you have both changed docs/page.md." in printed
    assert printed.endswith("preview   nothing is written\n")
    old.replace("team/model.py", "2", "1")
    old.run("git", "checkout", "--quiet", ".")
    assert "have both changed docs/page.md" in old.update(fails=True)  # as it was told


def test_a_preview_in_a_shallow_clone_names_migrations(importing, tmp_path):
    importing.run("git", "clone", "--quiet", "--depth=1", f"file://{importing.path}", str(tmp_path / "shallow"))
    shallow = type(importing)(tmp_path / "shallow", importing.source)
    printed = shallow.update("--preview")
    assert re.search(r"^update +yours, and migrated: +team/model.py$", printed, re.MULTILINE)
    assert "no conflicts" in printed
    assert shallow.run("git", "log", "--format=%s") == "ours\n"
    assert "Update the template to v1.1.0: " in shallow.update()
    assert shallow.read("team/model.py") == "import reply\n"


STAGES = "stages:\n  a: {cmd: x, outs: [x]}\n  b: {cmd: x, params: [seed]}\n  c: {cmd: x, params: [other]}\n"


def test_a_stage_would_run_again_for_its_parameters_and_its_command(make, growing):
    pipeline = growing.path / TREE.name / "dvc.yaml"
    pipeline.write_text(STAGES + "  d: {cmd: x, deps: [x]}\n")
    growing.commit("a pipeline")
    growing.run("git", "tag", "v1.1.0")
    repository = make("v1.1.0", growing)
    (repository.path / "params.yaml").write_text("seed: 0\nother: 0\n")
    repository.commit("ours")
    swap(pipeline, "a: {cmd: x", "a: {cmd: new")
    (growing.path / "tools/migrations").mkdir(parents=True)
    script = 'from pathlib import Path\n\nPath("params.yaml").write_text("seed: 1\\nother: 0\\n")\n'
    (growing.path / "tools/migrations/seed.py").write_text(script)
    growing.commit("another seed")
    growing.run("git", "tag", "v1.2.0")
    assert re.search("stages that would run again: +a, b, d$", repository.update("--preview"), re.MULTILINE)


# What is in the way


def test_untracked_files_that_an_update_does_not_touch_stay_and_do_not_stop_it(old):
    (old.path / "ours.txt").write_text("ours")
    (old.path / "docs/ours.md").write_text("ours")
    old.update()
    assert old.run("git", "status", "--porcelain") == "?? docs/ours.md\n?? ours.txt\n"


@pytest.mark.parametrize("ignored", [False, True])
def test_a_file_without_git_that_an_update_would_overwrite_is_named(old, ignored):
    if ignored:
        (old.path / ".gitignore").write_text("/docs/new.md\n")
        old.commit("ours")
    (old.path / "docs/new.md").write_text("ours")
    before = head(old)
    printed = old.update(fails=True)
    sentence = "error: The update brings docs/new.md, which is here without git: commit it, or move it away.\n"
    assert printed.endswith(sentence)
    assert (head(old), old.read("docs/new.md")) == (before, "ours")
    (old.path / "docs/new.md").rename(old.path / "docs/ours.md")
    assert "Update the template to v1.0.0: " in old.update()


# A kill

GIT = shutil.which("git")


def plant(folder, when):
    """Plant a git that kills what has started it, and itself where told so, when it is called with a word."""
    (folder / "bin").mkdir()
    script = folder / "bin/git"
    script.write_text(f'#!/bin/sh\n{when}\nexec {GIT} "$@"\n')
    script.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def on(word, deed):
    return f'for word in "$@"; do if [ "$word" = {word} ]; then {deed}; fi; done'


@pytest.fixture
def killable(make, growing):
    """A repository of v1.0.0, whose template has v1.1.0, with the updater and three changed pages."""
    repository = make("v1.0.0", growing)
    shutil.copytree(TEMPLATE / "tools", growing.path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    swap(growing.path / TREE.name / "docs/page.md", "Line 5", "Newer")
    (growing.path / TREE.name / "docs/another.md").write_text("Another page.\n")
    (growing.path / TREE.name / "src/zero.py").write_text("zero = 0\n")
    growing.commit("newer")
    growing.run("git", "tag", "v1.1.0")
    return repository


def updated(repository):
    return "Newer" in repository.read("docs/page.md") and (repository.path / "src/zero.py").exists()


@pytest.mark.parametrize("word", ["clone", "write-tree", "commit-tree", "ls-files"])
def test_a_kill_before_git_writes_leaves_all_as_it_was(killable, tmp_path, word):
    before = head(killable)
    status, _ = run_updater(killable, **plant(tmp_path, on(word, "kill -9 $PPID; exit 1")))
    assert status == -signal.SIGKILL
    assert (head(killable), killable.run("git", "status", "--porcelain")) == (before, "")
    status, printed = run_updater(killable)
    assert (status, updated(killable)) == (0, True), printed


def test_a_kill_while_git_merges_leaves_a_finished_update_and_the_next_run_says_so(killable, tmp_path):
    status, _ = run_updater(killable, **plant(tmp_path, on("cherry-pick", f'{GIT} "$@"; kill -9 $PPID; exit')))
    assert status == -signal.SIGKILL
    assert updated(killable)
    status, printed = run_updater(killable)
    assert status == 0
    assert re.search(r"^update +the last one was stopped when it was complete$", printed, re.MULTILINE)
    assert "the last one" not in run_updater(killable)[1]


def test_a_kill_before_git_has_begun_is_said(killable, tmp_path):
    run_updater(killable, **plant(tmp_path, on("cherry-pick", "kill -9 $PPID; exit 1")))
    assert not updated(killable)
    status, printed = run_updater(killable)
    assert (status, updated(killable)) == (0, True)
    assert "the last one was stopped when it was about to begin" in printed


def test_a_kill_at_a_conflict_leaves_it_to_git(killable, tmp_path):
    killable.replace("docs/page.md", "Line 5", "Ours")
    killable.commit("ours")
    before = head(killable)
    status, _ = run_updater(killable, **plant(tmp_path, on("cherry-pick", f'{GIT} "$@"; kill -9 $PPID; exit')))
    assert status == -signal.SIGKILL
    status, printed = run_updater(killable)
    assert status == 3
    assert printed.startswith("conflict: git has not finished a cherry-pick here, such as an update with a conflict.")
    killable.run(*re.search("`(git cherry-pick --abort)`", printed)[1].split())
    assert (head(killable), killable.run("git", "status", "--porcelain")) == (before, "")
    assert "have both changed docs/page.md" in run_updater(killable)[1]


def test_control_c_is_a_sentence_and_no_traceback(killable, tmp_path):
    status, printed = run_updater(killable, **plant(tmp_path, on("write-tree", "kill -INT $PPID; sleep 0.2")))
    assert (status, printed.splitlines()[-1]) == (130, "stopped; the next `make update` says what is left of it")
    assert killable.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize("alone", [True, False], ids=["git", "git and the updater"])
def test_a_kill_in_the_middle_of_git_s_files_is_said_with_what_to_type(killable, tmp_path, alone):
    """A filter of the repository's own, which git starts for one of the files that it writes, kills it."""
    (killable.path / ".gitattributes").write_text("src/zero.py filter=killer\n")
    killable.commit("ours")
    (killable.path / "untracked.txt").write_text("ours")
    script = tmp_path / "killer"
    others = "" if alone else f"kill -9 $(cat {tmp_path}/pid); "
    script.write_text(f"#!/bin/sh\n{others}kill -9 $PPID\n")
    script.chmod(0o755)
    killable.run("git", "config", "filter.killer.smudge", str(script))
    killable.run("git", "config", "filter.killer.required", "true")
    note = f"if [ ! -e {tmp_path}/pid ]; then echo $PPID >{tmp_path}/pid; fi"
    before = head(killable)
    status, printed = run_updater(killable, **plant(tmp_path, note))
    assert status == (1 if alone else -signal.SIGKILL), printed
    assert killable.run("git", "status", "--porcelain") != "?? untracked.txt\n"
    killable.run("git", "config", "--remove-section", "filter.killer")
    status, printed = run_updater(killable)
    assert status == 3
    assert printed.startswith("conflict: The last update was stopped while git was writing its files. Type `rm -f ")
    killable.run("sh", "-c", re.search("Type `(.*?)`", printed)[1])
    assert (head(killable), killable.run("git", "status", "--porcelain")) == (before, "")
    assert "untracked.txt" in killable.run("git", "stash", "show", "--include-untracked", "--name-only")
    status, printed = run_updater(killable)
    assert (status, updated(killable)) == (0, True), printed
