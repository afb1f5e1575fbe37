"""An update from a template of a few files, whose releases play every kind of merge; tests/verbs has the real one."""

import json
import re
import shutil
from pathlib import Path

import pytest
from cookiecutter import cli

from support.repository import TREE, Repository
from support.updates import FILES, PAGE, TEAMS, Project, read_record
from updater import template as module
from updater.git import find_commit


def is_current(repository):
    status, printed = repository.attempt("--check")
    assert (status, printed) in [
        (0, "Nothing is newer: the template's newest release is v1.0.0\n"),
        (1, "The template's v1.0.0 is newer: make update\n"),
    ]
    return status == 0


def content(repository):
    """Give what is in git, and nothing else is there; of the record the answers."""
    assert repository.run("git", "status", "--porcelain") == ""
    names = repository.run("git", "ls-files", "-z").split("\0")[:-1]
    return {name: repository.read(name) for name in names} | {".cruft.json": read_answers(repository)}


def read_answers(repository):
    return read_record(repository)["context"]["cookiecutter"]


def without_the_teams(files):
    return {name: text for name, text in files.items() if name not in TEAMS}


def resolve(repository):
    """Do what a person does who has decided."""
    repository.run("git", "add", ".")
    repository.run("git", "-c", "core.editor=true", "cherry-pick", "--continue")


def test_a_repository_that_nobody_changed_becomes_what_is_made_now(template, make):
    old, now = make("v0.9.0"), make("v1.0.0")
    assert (is_current(old), is_current(now)) == (False, True)
    lines = old.update().splitlines()
    assert re.fullmatch(r"update +yours and left as they are, changed in the template: +params\.yaml", lines[-3])
    assert re.fullmatch(r"update +Update the template to v1\.0\.0: 6 files changed, .*", lines[-2])
    assert re.fullmatch(" {10}look at it with git show, then: make cycle test", lines[-1])
    assert without_the_teams(content(old)) == without_the_teams(content(now))
    assert (old.read("params.yaml"), old.read("team/new.md")) == ("seed: 0 # once\n", "A new page for the team.\n")
    assert old.run("git", "log", "--format=%s") == "Update the template to v1.0.0\nbake\n"
    record = json.loads(old.read(".cruft.json"))
    assert record["template"] == str(template.path)
    assert record["commit"] == template.run("git", "rev-parse", "v1.0.0").strip()
    assert record["checkout"] == "v1.0.0"
    assert is_current(old)
    assert "Nothing is newer: the template's newest release is v1.0.0" in old.update()
    assert "v1.0.0 would change nothing" in old.update("v1.0.0")


def test_what_the_team_has_changed_moved_and_deleted_is_kept(make):
    updated, now = make("v0.9.0"), make("v1.0.0")
    for repository in (updated, now):
        repository.replace("docs/page.md", "Line 7", "Our line")
        repository.replace("team/model.py", "1", "2")
        repository.replace("src/answer.py", "value_5", "our_value")
        repository.run("git", "mv", "src/answer.py", "src/answers.py")
        (repository.path / "docs/ours.md").write_text("Ours.\n")
        repository.commit("ours")
    updated.update()
    found, expected = content(updated), content(now)
    assert without_the_teams(found) == without_the_teams(expected)
    assert found["src/answers.py"].startswith('"""Now."""')
    assert (found["team/model.py"], found["docs/ours.md"]) == ("model = 2\n", "Ours.\n")
    assert not {"docs/gone.md", "src/answer.py"} & set(found)


def test_what_is_deleted_or_moved_and_much_changed_is_named_with_what_the_template_has_changed(old):
    for name in ("src/answer.py", "docs/page.md"):
        (old.path / name).unlink()
    (old.path / "src/reply.py").write_text('"""All anew."""\n')
    old.commit("ours")
    printed = old.update()
    assert re.search(
        r"left out, as not here \(deleted, or moved and much changed\): docs/page\.md, src/answer\.py\n", printed
    )
    command = re.search(
        r"what the template has changed there: +(git show \w{10} -- docs/page\.md src/answer\.py)\n", printed
    )[1]
    assert '+"""Now."""' in old.run(*command.split())
    assert not {"src/answer.py", "docs/page.md", "docs/gone.md"} & set(content(old))
    assert old.read("docs/new.md") == "This page is new.\n"
    assert old.run("git", "log", "-1", "--format=%s") == "Update the template to v1.0.0\n"


def test_a_folder_of_a_larger_repository_is_updated_in_its_place(old, tmp_path):
    shutil.rmtree(old.path / ".git")
    whole = Repository(tmp_path / "whole")
    (whole.path / "teams").mkdir(parents=True)
    part = Project(old.path.rename(whole.path / "teams/flights"), old.source)
    (whole.path / "docs").mkdir()
    (whole.path / "docs/page.md").write_text("All teams\n")
    whole.commit("bake")
    part.update("v1.0.0")
    assert content(part)["docs/page.md"] == PAGE.replace("{{ cookiecutter.colour }}", "red")
    assert (part.path / "docs/new.md").exists()
    assert not (part.path / "docs/gone.md").exists()
    assert whole.read("docs/page.md") == "All teams\n"
    assert sorted(path.name for path in whole.path.iterdir()) == [".git", "docs", "teams"]


@pytest.mark.slow
def test_a_clone_without_history_is_updated_all_the_same(old, tmp_path):
    old.replace("docs/page.md", "Line 7", "Our line")
    old.commit("ours")
    old.run("git", "clone", "--quiet", "--depth=1", f"file://{old.path}", str(tmp_path / "shallow"))
    shallow = Project(tmp_path / "shallow", old.source)
    for repository in (old, shallow):
        repository.update()
    assert content(shallow) == content(old)
    assert "Our line" in shallow.read("docs/page.md")


@pytest.fixture
def conflicting(old):
    """An older bake in which the team has changed lines that the template has changed as well."""
    old.replace("docs/page.md", "Once", "Our line")
    old.replace("src/answer.py", "Once", "Ours")
    old.commit("ours")
    return old


SENTENCE = "The template and you have both changed docs/page.md, src/answer.py."


def test_where_both_changed_a_line_a_person_decides(conflicting):
    before = content(conflicting)
    status, printed = conflicting.attempt()
    assert status == 3
    assert f"\nconflict: {SENTENCE} Edit what is between <<<<<<< and >>>>>>>, `git rm` what is to go, then " in printed
    assert "<<<<<<<" in conflicting.read("docs/page.md")
    assert not is_current(conflicting)
    status, printed = conflicting.attempt()
    assert (status, printed.startswith("conflict: git has not finished a cherry-pick here")) == (3, True)
    conflicting.run(*re.search("`(git cherry-pick --abort)`", printed)[1].split())
    assert content(conflicting) == before
    assert conflicting.attempt()[0] == 3
    conflicting.run("git", "checkout", "--ours", "docs/page.md", "src/answer.py")
    resolve(conflicting)
    assert is_current(conflicting)
    assert "Our line" in conflicting.read("docs/page.md")
    assert (conflicting.path / "docs/new.md").exists()


def test_what_the_template_gave_up_and_the_team_changed_a_person_decides(conflicting):
    (conflicting.path / "docs/gone.md").write_text("Ours now.\n")
    conflicting.replace("docs/page.md", "Our line", "Once")
    conflicting.commit("ours")
    status, printed = conflicting.attempt()
    assert status == 3
    both = "The template and you have both changed src/answer.py."
    assert f"conflict: {both} The template has given up docs/gone.md, which you have changed. Edit" in printed
    conflicting.run("git", "checkout", "--theirs", "src/answer.py")
    resolve(conflicting)
    assert conflicting.read("docs/gone.md") == "Ours now.\n"
    assert conflicting.read("src/answer.py").startswith('"""Now."""')
    assert is_current(conflicting)


def test_git_s_own_reason_is_told_when_it_can_t_pick(old):
    (old.path / ".git/index.lock").touch()  # another git is at work
    before = old.run("git", "rev-parse", "HEAD")
    printed = old.update(fails=True)
    assert re.search(
        r"\nerror: git can't pick the update: .*Unable to create '.*/\.git/index\.lock': File exists\.", printed
    )
    assert old.run("git", "rev-parse", "HEAD") == before


def test_an_older_release_is_brought_in_with_a_word(make):
    new = make("v1.0.0")
    assert "v0.9.0 is older than what you have, v1.0.0: what has come since is taken away" in new.update("v0.9.0")
    assert (new.path / "docs/gone.md").exists()
    assert not (new.path / "docs/new.md").exists()


@pytest.mark.slow
def test_another_answer_alone_brings_no_newer_release_and_can_be_taken_back(old):
    before = content(old)
    assert "Render the template with colour=blue: 2 files changed" in old.update("--set", "colour=blue")
    assert read_answers(old)["colour"] == "blue"
    assert old.read("docs/page.md") == FILES["docs/page.md"][0].replace("{{ cookiecutter.colour }}", "blue")
    assert not is_current(old)
    old.update("--set", "colour=red")
    assert content(old) == before
    old.update("v1.0.0", "--set", "colour=blue")
    assert old.run("git", "log", "-1", "--format=%s") == "Update the template to v1.0.0 with colour=blue\n"
    assert "Line 2 of blue" in old.read("docs/page.md")


@pytest.mark.slow
def test_a_branch_or_a_commit_of_the_template_is_brought_in(template, make):
    commit = template.run("git", "rev-parse", "main").strip()
    for target, checkout in (("main", "main"), (commit, None), ("v2.0.0-rc1", "v2.0.0-rc1")):
        old = make("v0.9.0")
        name = f"main ({commit[:10]})" if target == "main" else target
        assert f"Update the template to {name}: " in old.update(target)
        record = json.loads(old.read(".cruft.json"))
        assert record["checkout"] == checkout
        assert record["commit"] == template.run("git", "rev-parse", target).strip()
        assert is_current(old)
        shutil.rmtree(old.path)


def test_code_that_is_formatted_differently_is_merged(make):
    updated, now = make("v0.9.0"), make("v1.0.0")
    for repository in (updated, now):
        with (repository.path / "pyproject.toml").open("a") as file:
            file.write("[tool.ruff]\nline-length = 12\n")
        repository.run(
            "ruff", "format", "--quiet", "--no-cache", "src", PATH=f"{Path(cli.__file__).parents[4] / 'bin'}"
        )
        repository.commit("our style")
    assert "value_1 = [\n" in now.read("src/answer.py")
    updated.update()
    assert without_the_teams(content(updated)) == without_the_teams(content(now))


@pytest.fixture
def origin(old):
    """A bare remote of an older bake, which notes what is asked for with a push."""
    origin = Repository(old.path.parent / "origin.git")
    old.run("git", "clone", "--quiet", "--bare", ".", str(origin.path))
    origin.run("git", "config", "receive.advertisePushOptions", "true")
    add_hook(origin, "post-receive", "env | grep ^GIT_PUSH_OPTION_[0-9] | cut -d= -f2- | sort >asked")
    old.run("git", "remote", "add", "origin", str(origin.path))
    return origin


def add_hook(origin, name, line):
    hook = origin.path / f"hooks/{name}"
    hook.write_text(f"#!/bin/sh\n{line}\n")
    hook.chmod(0o755)
    return hook


def branches(origin):
    return origin.run("git", "branch", "--format=%(refname:short)").split()


@pytest.fixture
def gh(tmp_path, monkeypatch):
    """GitHub's command, which notes each of its words; gives its file."""
    script = tmp_path / "bin/gh"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word" >>{tmp_path}/gh; done\n')
    script.chmod(0o755)
    return script


def propose(old, origin, *words, fails=False, **environment):
    """Do what two jobs of CI do: one renders and merges without the right to push, one pushes in a clone of its own."""
    printed = old.update("--propose", *words)
    job = Repository(old.path.parent / "job")
    shutil.rmtree(job.path, ignore_errors=True)
    old.run("git", "clone", "--quiet", str(origin.path), str(job.path))
    (job.path / "reports").mkdir()
    shutil.copy(old.path / "reports/update.bundle", job.path / "reports")
    return printed + job.run("sh", str(TREE / "deploy/propose.sh"), fails=fails, **environment)


def test_an_update_is_proposed_once_as_a_branch(old, origin):
    main = origin.run("git", "rev-parse", "main")
    old.run("git", "checkout", "--quiet", "--detach")  # as CI has it
    printed = propose(old, origin, GITLAB_CI="true")
    assert re.search(r"^update +for review +update-v1\.0\.0$", printed, re.M)
    assert printed.endswith("propose   for review: update-v1.0.0\n")
    assert branches(origin) == ["main", "update-v1.0.0"]
    assert origin.run("git", "rev-parse", "main") == old.run("git", "rev-parse", "HEAD") == main
    assert old.run("git", "branch", "--format=%(refname:short)").split()[-1] == "main"
    assert origin.run("git", "log", "--format=%s", "main..update-v1.0.0") == "Update the template to v1.0.0\n"
    asked = origin.read("asked").splitlines()
    assert asked == ["merge_request.create", "merge_request.title=Update the template to v1.0.0"]
    assert propose(old, origin, GITLAB_CI="true").endswith("propose   proposed already: update-v1.0.0\n")
    propose(old, origin, "--set", "colour=blue")
    assert branches(origin) == ["main", "update-v0.9.0-colour-blue", "update-v1.0.0"]
    assert origin.read("asked") == ""  # of a server that is not GitLab nothing is asked


def test_where_nothing_is_newer_nothing_is_proposed(make, template, tmp_path):
    now, origin = make("v1.0.0"), Repository(tmp_path / "origin.git")
    now.run("git", "clone", "--quiet", "--bare", ".", str(origin.path))
    assert propose(now, origin).endswith("propose   nothing new\n")
    assert branches(origin) == ["main"]


def test_only_a_branch_of_an_update_is_pushed(old, origin):
    (old.path / "reports").mkdir()
    old.run("git", "bundle", "create", "--quiet", "reports/update.bundle", "main")
    printed = old.run("sh", str(TREE / "deploy/propose.sh"), fails=True)
    assert printed == ("error: reports/update.bundle has no branch update-RELEASE; make update PROPOSE=1 writes it.\n")


def test_a_conflict_is_proposed_as_a_draft_with_a_label(old, origin, gh):
    old.replace("docs/page.md", "Once", "Our line")
    old.commit("ours")
    old.run("git", "push", "--quiet", "origin", "main")
    asking = {"GITLAB_CI": "true", "GITHUB_ACTIONS": "true", "PATH": f"{gh.parent}:{old.environment()['PATH']}"}
    sentence = "The template and you have both changed docs/page.md."
    printed = propose(old, origin, **asking)
    assert re.search(rf"^update +for review: {sentence} +update-v1\.0\.0$", printed, re.M)
    assert f"propose   for review: {sentence}: update-v1.0.0\n" in printed
    assert old.run("git", "branch", "--show-current") == "main\n"
    assert "Our line" in content(old)["docs/page.md"]
    assert origin.read("asked").splitlines() == [
        "merge_request.create",
        "merge_request.label=conflict",
        "merge_request.title=Draft: Update the template to v1.0.0",
    ]
    assert (gh.parents[1] / "gh").read_text().splitlines() == [
        *["label", "create", "conflict", "--force"],
        *["pr", "create", "--head", "update-v1.0.0", "--title", "Update the template to v1.0.0"],
        *["--body", sentence, "--draft", "--label", "conflict"],
    ]
    assert "<<<<<<<" in origin.run("git", "show", "update-v1.0.0:docs/page.md")
    message = origin.run("git", "log", "-1", "--format=%B", "update-v1.0.0")
    assert message.strip() == f"Update the template to v1.0.0: conflicts to be resolved\n\n{sentence}"


def test_a_request_that_was_refused_is_opened_the_next_time(old, origin, gh):
    works = gh.read_text()
    gh.write_text('#!/bin/sh\necho "HTTP 403: may not open requests" >&2\nexit 1\n')
    github = {"GITHUB_ACTIONS": "true", "PATH": f"{gh.parent}:{old.environment()['PATH']}"}
    printed = propose(old, origin, fails=True, **github)
    assert printed.endswith("HTTP 403: may not open requests\n")
    assert branches(origin) == ["main"]
    gh.write_text(works)
    propose(old, origin, **github)
    assert (gh.parents[1] / "gh").read_text().splitlines() == [
        *["pr", "create", "--head", "update-v1.0.0", "--title", "Update the template to v1.0.0"],
        *["--body", "No conflicts."],
    ]


def test_a_proposal_that_another_job_was_faster_with_stays(old, origin):
    """Between this job's look and its push comes the other one's."""
    faster = "env -u GIT_QUARANTINE_PATH git update-ref refs/heads/update-v1.0.0 main\nexit 1"
    hook = add_hook(origin, "pre-receive", faster)
    assert "failed to push" in propose(old, origin, fails=True, GITHUB_ACTIONS="true")
    hook.unlink()
    assert branches(origin) == ["main", "update-v1.0.0"]


def write(name, text):
    return lambda repository: (repository.path / name).write_text(text)


def write_record(**values):
    def change(repository):
        record = json.loads(repository.read(".cruft.json"))
        (repository.path / ".cruft.json").write_text(json.dumps(record | values))

    return change


@pytest.mark.parametrize(
    ("change", "words", "sentence"),
    [
        (
            write("params.yaml", "new"),
            [],
            "Something is not committed; commit it first, so that the update can be told",
        ),
        (
            lambda old: (old.path / ".cruft.json").unlink(),
            [],
            "git has no .cruft.json in {path}, so nobody knows which",
        ),
        (write(".cruft.json", "{}"), [], ".cruft.json is not what cruft writes (KeyError('context')); take it back"),
        (write(".cruft.json", "["), [], ".cruft.json is not what cruft writes (JSONDecodeError"),
        (write(".cruft.json", "[]"), [], ".cruft.json is not what cruft writes (TypeError"),
        (
            write(".cruft.json", '{"context": {"cookiecutter": []}}'),
            [],
            ".cruft.json is not what cruft writes (Attribu",
        ),
        (write_record(commit=None), [], ".cruft.json names no commit of the template: write the release that this"),
        (write_record(commit="0" * 40), [], "{template} has no commit " + "0" * 40 + ", which .cruft.json names."),
        (lambda _: None, ["v8.0.0"], "The template has no v8.0.0; its releases: v1.0.0, v0.9.0."),
        (
            lambda _: None,
            ["--set", "wind=strong", "--set", "shade=dark"],
            "shade is no question; expected one of project_name, project_slug, package_name, colour.",
        ),
        (
            lambda _: None,
            ["--set", "_version=2"],
            "_version is no question; expected one of project_name, project_slug, ",
        ),
        (lambda _: None, ["--set", "package_name=late"], "package_name can't be changed by an update: features.py and"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_can_not_begin_is_one_sentence_and_changes_nothing(old, template, change, words, sentence):
    change(old)
    is_dirty = sentence.startswith("Something")
    if not is_dirty:
        old.commit("change")
    before = old.run("git", "rev-parse", "HEAD"), old.run("git", "status", "--porcelain")
    printed = old.update(*words, fails=True)
    assert printed.startswith(f"error: {sentence.format(path=old.path, template=template.path)}"), printed
    assert len(printed.splitlines()) == 1
    assert (old.run("git", "rev-parse", "HEAD"), old.run("git", "status", "--porcelain")) == before
    if not words and not is_dirty:
        status, printed = old.attempt("--check")
        assert status == 2
        assert printed.startswith(f"error: {sentence.format(path=old.path, template=template.path)}")


def test_what_the_sentence_on_a_record_without_a_commit_says_is_right(old):
    write_record(commit=None)(old)
    old.commit("from a zip")
    printed = old.update(fails=True)
    assert 'into "commit", or the commit, and commit it. Releases: v1.0.0, v0.9.0.' in printed
    write_record(commit="v0.9.0")(old)
    old.commit("the release that this was made from")
    assert "Update the template to v1.0.0: 6 files changed" in old.update()


def test_releases_are_ordered_by_their_numbers_and_preliminary_ones_are_none(tmp_path):
    repository = Repository(tmp_path)
    for tags in (["v0.9.0", "1.9.3"], ["v1.10.0", "v2.0.0-rc1", "other", "v1.10"]):
        repository.commit("change")
        for tag in tags:
            repository.run("git", "tag", tag)
    assert module.list_releases(tmp_path) == ["v1.10.0", "1.9.3", "v0.9.0"]
    assert module.find_newer(tmp_path, "v0.9.0") == "v1.10.0"
    assert module.find_newer(tmp_path, "main") == ""
    repository.commit("since the release")
    assert module.find_newer(tmp_path, "main") == ""
    assert module.has_commit(tmp_path, "main", "v0.9.0")
    assert not module.has_commit(tmp_path, "v0.9.0", "main")
    assert find_commit(tmp_path, "main") == repository.run("git", "rev-parse", "main").strip()
    assert find_commit(tmp_path, "nothing") == ""
    assert module.name_commit(tmp_path, find_commit(tmp_path, "v1.10.0")) == "v1.10.0"
    assert module.name_commit(tmp_path, find_commit(tmp_path, "main")) == find_commit(tmp_path, "main")[:10]


def test_without_a_release_the_branch_s_head_is_the_newest(tmp_path):
    repository = Repository(tmp_path)
    repository.commit("one")
    one = find_commit(tmp_path, "main")
    repository.run("git", "tag", "v2.0.0-rc1")
    assert module.find_newer(tmp_path, one) == ""
    repository.commit("two")
    assert module.find_newer(tmp_path, one) == "main"
    two = find_commit(tmp_path, "main")
    assert module.describe_newest(tmp_path) == f"Nothing is newer: the template's newest commit is main ({two[:10]})"
    repository.run("git", "checkout", "--quiet", "--detach")
    assert module.find_newer(tmp_path, one) == two
    assert module.describe_newest(tmp_path) == f"Nothing is newer: the template's newest commit is {two}"


def test_the_team_s_files_are_those_that_the_project_lists(old, monkeypatch):
    monkeypatch.chdir(old.path)
    assert module.list_team_files(old.path) == ["params.yaml", "team/model.py"]
    (old.path / "pyproject.toml").write_text('[tool.cruft]\nskip = ["docs/*.md", "nothing"]\n')
    assert module.list_team_files(old.path) == ["docs/gone.md", "docs/page.md"]
    (old.path / "pyproject.toml").write_text("")
    assert module.list_team_files(old.path) == []


LONG = "left_out = [1111111111, 2222222222, 3333333333, 4444444444, 5555555555, 6666666666]\n"
TEAM = '[tool.ruff]\nline-length = 40\nextend-exclude = ["src/modelcycle"]\n'


def test_a_rendering_is_formatted_as_the_team_s_code_without_what_the_team_leaves_out(tmp_path, monkeypatch):
    here, made = tmp_path / "here", tmp_path / "made"
    for package in ("team", "modelcycle"):
        (made / "src" / package).mkdir(parents=True)
        (made / "src" / package / "code.py").write_text(LONG, encoding="utf-8")
    here.mkdir()
    (here / "pyproject.toml").write_text(TEAM, encoding="utf-8")
    monkeypatch.chdir(here)
    module.format_rendering(made)
    assert (made / "src/team/code.py").read_text(encoding="utf-8").count("\n") > 1
    assert (made / "src/modelcycle/code.py").read_text(encoding="utf-8") == LONG
