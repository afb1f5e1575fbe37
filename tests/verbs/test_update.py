"""The real template is updated from an older state; tests/template/test_update.py has every kind of merge."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.repository import CHOICES, TEMPLATE, TREE, Repository, link_environment, render, swap
from support.updates import copy_template, read_record

PARAMS = ("# share of the keys or groups that go to the test data, for ever", "# once said something else")
# An older state of the template: file, a text of today, what it was. Of a file without a text, all is given up or new.
# Many of them are the last line before a place for the team's.
OLDER = [
    ("pyproject.toml", "httptools>=0.7", "httptools>=0.6"),
    ("modelcycle.mk", "list the verbs", "list all verbs"),
    ("src/modelcycle/serving/answer.py", '"""From rows to', '"""Long ago: from rows to'),
    ("tests/unit/test_features.py", "import pandas as pd\n", "import pandas as pd  # once\n"),
    (".pre-commit-config.yaml", "types: [text]", "types: [file]"),
    (".github/workflows/change.yml", "name: system-tests", "name: system"),
    (".github/workflows/nightly.yml", "make update PROPOSE=1", "make update"),
    (".gitlab-ci.yml", "make update PROPOSE=1", "make update"),
    ("Jenkinsfile", "make update PROPOSE=1", "make update"),
    ("bamboo-specs/bamboo.yaml", "make update PROPOSE=1", "make update"),
    ("dvc.yaml", "- reports/slices.csv\n", "- reports/slices.csv # once\n"),
    ("deploy/monitoring/alerts.yml", "            does not.\n", "            does not. Once.\n"),
    ("deploy/airflow/dags.py", '"""Two DAGs', '"""Once: two DAGs'),
    ("deploy/kubernetes/base/kustomization.yaml", "resources:", "resources: # once"),
    ("deploy/kubernetes/overlays/staging/kustomization.yaml", "value: true}", "value: yes}"),
    ("docs/ci.md", "# What CI does with a change", "# What CI does"),
    ("params.yaml", *PARAMS),
    ("docs/gone.md", None, "This page was given up.\n"),
    ("docs/scale.md", None, None),
    ("docs/operations/ai_act.md", None, None),
]
# What a team writes below the mark in a file.
MARK = "go below this line"
ADDED = {
    "Makefile": "ours: ## a verb of ours\n\t@echo ours\n",
    ".pre-commit-config.yaml": "      - id: ours\n        name: us\n        entry: 'true'\n        language: system\n",
    "change.yml": "\n  ours:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: make ours\n",
    ".gitlab-ci.yml": "\nours:\n  stage: check\n  script: [make ours]\n",
    "bamboo-specs/bamboo.yaml": "---\nversion: 2\nplan: {project-key: OURS, key: OURS, name: Ours}\nstages: []\n",
    "dvc.yaml": "  ours:\n    cmd: echo ours\n    deps: [reports/slices.csv]\n",
    "deploy/monitoring/alerts.yml": "  - name: ours\n    rules: []\n",
    "kustomization.yaml": "# ours\n",
}
RELEASES = Repository(TEMPLATE).run("git", "tag", "--list", "v*").split()
# The commits that CHANGELOG.md announces; of a shallow clone, like the tags, those that it has.
CHANGELOG = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
ANNOUNCED = re.findall(r"^- \d{4}-\d\d-\d\d: `([0-9a-f]{40})`$", CHANGELOG, re.MULTILINE)
if Repository(TEMPLATE).run("git", "rev-parse", "--is-shallow-repository") == "true\n":
    HISTORY = Repository(TEMPLATE).run("git", "rev-list", "HEAD").split()
    ANNOUNCED = [commit for commit in ANNOUNCED if commit in HISTORY]
PYPROJECT = (TREE / "pyproject.toml").read_text(encoding="utf-8")
PYPROJECT = re.sub("{%.*?%}|{{ .*? }}", "", PYPROJECT.replace("{{ cookiecutter.package_name }}", "flight_delays"))
TEAMS = tomllib.loads(PYPROJECT)["tool"]["cruft"]["skip"]


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Repository:
    """A clone of the template with its releases, v0.9.0, an older state, and v9.0.0, as it is now."""
    source, template = Repository(TEMPLATE), Repository(tmp_path_factory.mktemp("template") / "ours")
    source.run("git", "clone", "--quiet", "--no-hardlinks", ".", str(template.path))
    template.run("git", "checkout", "--quiet", "-B", "main")
    template.run("git", "rm", "-rf", "--quiet", ".")
    copy_template(template.path)
    version = json.loads(source.read("cookiecutter.json"))["_version"]
    template.replace("cookiecutter.json", f'"{version}"', '"0.9.0"')
    tree, now = template.path / TREE.name, {}
    for name, new, old in OLDER:
        path = tree / name
        now.setdefault(path, path.read_bytes() if path.exists() else None)
        if new is None:
            path.unlink() if old is None else path.write_text(old, encoding="utf-8")
        else:
            swap(path, new, old)
    template.commit("an older state")
    template.run("git", "tag", "v0.9.0")
    for path, content in now.items():
        path.unlink() if content is None else path.write_bytes(content)
    template.replace("cookiecutter.json", '"0.9.0"', '"9.0.0"')
    template.commit("as it is now")
    template.run("git", "tag", "v9.0.0")
    return template


@pytest.fixture
def bake_release(template, tmp_path_factory):
    """Bake a release of the template, in git."""

    def bake(release, **answers):
        template.run("git", "checkout", "--quiet", release)
        repository = Repository(render(template.path, tmp_path_factory.mktemp(release), **answers))
        template.run("git", "checkout", "--quiet", "main")
        repository.commit("bake")
        return repository

    return bake


@pytest.fixture
def update(template):
    """Run the updater in a repository, by this environment; `make update` does so by the repository's own."""

    def run(repository, *words, fails=False):
        return repository.run(sys.executable, str(template.path / "tools/update.py"), *words, fails=fails)

    return run


@pytest.fixture
def is_current(template):
    """Ask the updater whether something is newer."""

    def check(repository):
        command = [sys.executable, str(template.path / "tools/update.py"), "--check"]
        done = subprocess.run(command, cwd=repository.path, env=repository.environment(), check=False)
        assert done.returncode in (0, 1)
        return done.returncode == 0

    return check


def owned(name):
    """Say whether a path is the team's."""
    return name != ".cruft.json" and any(name == path or name.startswith(f"{path}/") for path in TEAMS)


def content(repository):
    """Give what is in git, without what differed in the older release in a file that is the team's."""
    assert repository.run("git", "status", "--porcelain") == ""
    names = repository.run("git", "ls-files", "-z").split("\0")[:-1]
    found = {name: (repository.path / name).read_bytes() for name in names}
    found.pop("docs/operations/ai_act.md", None)  # a new page among those that are the team's
    found["params.yaml"] = found["params.yaml"].replace(PARAMS[1].encode(), PARAMS[0].encode())
    return found | {".cruft.json": json.loads(found[".cruft.json"])["context"]}


def templates_part(files):
    return {name: text for name, text in files.items() if not owned(name)}


@pytest.mark.parametrize("release", [*RELEASES, "v0.9.0"])
def test_a_repository_that_nobody_changed_becomes_what_is_baked_now(bake_release, update, is_current, release):
    repository, now = bake_release(release), bake_release("v9.0.0")
    assert not is_current(repository)
    printed = update(repository)
    assert "Update the template to v9.0.0: " in printed
    assert (
        re.search("yours and left as they are, changed in the template: .*params.yaml", printed) or release in RELEASES
    )
    assert is_current(repository)
    assert templates_part(content(repository)) == templates_part(content(now))
    assert read_record(repository) == read_record(now) | {"checkout": "v9.0.0"}
    assert (repository.path / "docs/operations/ai_act.md").exists()
    assert repository.run("git", "log", "--format=%s") == "Update the template to v9.0.0\nbake\n"
    assert "version 9.0.0 of it" in repository.read("docs/updates.md")


def edit(repository, known=None):
    """Change a repository as docs/updates.md says: every file that is the team's, every place for more.

    known: the files that there were then; without, all that there are.
    """
    for path in set(repository.files()) & set(known or repository.files()):
        if owned(str(path)) and path.suffix in (".md", ".py", ".yaml", ".csv"):
            with (repository.path / path).open("a", encoding="utf-8") as file:
                file.write("# ours\n" if path.suffix != ".csv" else "")
        elif MARK in repository.read(path) and path.name != "updates.md":
            added = ADDED.get(str(path)) or ADDED[path.name]
            text = repository.read(path)
            line = re.search(rf".*{MARK}.*\n", text)[0]
            (repository.path / path).write_text(text.replace(line, line + added), encoding="utf-8")
    repository.replace("pyproject.toml", "dependencies = []", 'dependencies = ["lightgbm>=4"]')
    for name in ("src/flight_delays/ours.py", "tests/unit/test_ours.py", "docs/ours.md", "docs/decisions/ours.md"):
        (repository.path / name).write_text('"""Ours."""\n', encoding="utf-8")
    if (repository.path / ".github").exists():
        (repository.path / ".github/workflows/ours.yml").write_text("name: ours\n", encoding="utf-8")


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"ci_provider": "gitlab", "deployment": "kubernetes"},
        {"ci_provider": "jenkins", "deployment": "openshift"},
        {"ci_provider": "bamboo", "airflow": False},
    ],
    ids=lambda answers: answers.get("ci_provider", "github"),
)
def test_edits_a_moved_and_a_deleted_file_and_another_style_are_kept(bake_release, update, answers):
    updated, now = bake_release("v0.9.0", **answers), bake_release("v9.0.0", **answers)
    for repository in (updated, now):
        edit(repository)
        repository.run("git", "mv", "src/modelcycle/serving/answer.py", "src/modelcycle/serving/answers.py")
        (repository.path / "docs/ci.md").unlink()  # which the template has changed since
        if not answers:
            repository.replace("pyproject.toml", "line-length = 120", "line-length = 79")
            updated.run(
                str(Path(sys.executable).with_name("ruff")),
                "format",
                "--quiet",
                "--no-cache",
                *[str(repository.path / name) for name in ("src", "tests", "deploy")],
            )
        repository.commit("ours")
    if not answers:
        formatted = now.run("git", "show", "--name-only", "--format=").split()
        assert {"deploy/airflow/dags.py", "tests/unit/test_features.py"} <= set(formatted)  # which have changed since
    assert re.search("left out, as not here .*: docs/ci.md", update(updated))
    assert content(updated) == content(now)
    assert not {"docs/gone.md", "docs/ci.md", "src/modelcycle/serving/answer.py"} & set(content(updated))


def test_announced_states_are_commits_of_this_history_which_ci_fetches():
    history = Repository(TEMPLATE).run("git", "rev-list", "HEAD").split()
    missing = [commit for commit in ANNOUNCED if commit not in history]
    assert not missing, f"CHANGELOG.md announces {missing}, which this clone lacks: git fetch, or correct CHANGELOG.md."
    assert "fetch-depth: 0" in (TEMPLATE / ".github/workflows/test.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("state", ANNOUNCED or ["v0.9.0"])
def test_a_team_that_started_at_an_announced_state_takes_part_in_all_that_came_since(
    bake_release, update, state, tmp_path
):
    """Edits of all kinds, a fresh clone without history, and an option that is switched off and on."""
    old, now = bake_release(state), bake_release("v9.0.0")
    ruff, known = str(Path(sys.executable).with_name("ruff")), old.files()
    for repository in (old, now):
        edit(repository, known)
        repository.run("git", "mv", "src/modelcycle/serving/answer.py", "src/modelcycle/serving/answers.py")
        (repository.path / "docs/ci.md").unlink()
        repository.replace("pyproject.toml", "line-length = 120", "line-length = 79")
        repository.run(ruff, "format", "--quiet", "--no-cache", "src", "tests", "deploy")
        repository.commit("ours")
    updated = Repository(tmp_path / "clone")
    old.run("git", "clone", "--quiet", "--depth=1", f"file://{old.path}", str(updated.path))
    update(updated)
    found = content(updated)
    assert templates_part(found) == templates_part(content(now))
    before = content(old)
    assert {name: text for name, text in before.items() if owned(name)}.items() <= found.items()
    for answer in ("False", "True"):
        update(updated, f"--set=airflow={answer}")
        assert (updated.path / "deploy/airflow").exists() == (answer == "True")
    assert content(updated) == found


def test_every_place_for_more_is_in_the_page_and_is_edited():
    page = (TREE / "docs/updates.md").read_text(encoding="utf-8")
    tracked = (Path(name) for name in Repository(TREE).run("git", "ls-files", "-z").split("\0")[:-1])
    marked = {path for path in tracked if MARK in (TREE / path).read_text(encoding="utf-8")}
    assert len(marked) > 8
    for path in marked:
        assert path.name in page
        assert str(path) in ADDED or path.name in ADDED


# Each question with another answer than the default, in three ways where there are so many.
OTHERS = [{name: others[min(i, len(others) - 1)] for name, (_, *others) in CHOICES.items()} for i in range(3)]


@pytest.mark.parametrize("answers", OTHERS, ids=lambda answers: answers["ci_provider"])
def test_answers_are_changed_and_changed_back(bake_release, update, answers):
    repository, fresh = bake_release("v9.0.0"), bake_release("v9.0.0", **answers)
    (repository.path / "src/flight_delays/ours.py").write_text("OURS = 1\n")
    repository.commit("ours")
    before = content(repository)
    update(repository, *[f"--set={name}={answer}" for name, answer in answers.items()])
    changed = content(repository)
    assert changed.pop("src/flight_delays/ours.py") == b"OURS = 1\n"
    assert templates_part(changed) == templates_part(content(fresh)) != templates_part(before)
    update(repository, *[f"--set={name}={default}" for name, (default, *_) in CHOICES.items()])
    assert content(repository) == before


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("deployment=moon", ".*moon"),
        ("container_registry=Ours!", "cookiecutter failed: container_registry can't be 'Ours!'"),
    ],
)
def test_an_answer_that_is_no_good_is_refused_and_changes_nothing(bake_release, update, answer, reason):
    repository = bake_release("v9.0.0")
    before = content(repository)
    printed = update(repository, f"--set={answer}", fails=True)
    assert re.search(f"^error: {reason}", printed, re.MULTILINE)
    assert "Traceback" not in printed
    assert content(repository) == before


@pytest.fixture
def installed_old(bake_release, default):
    """An older repository with an environment of its own."""

    def bake(**answers):
        repository = bake_release("v0.9.0", **answers)
        link_environment(default, repository.path)
        return repository

    return bake


def test_an_updated_repository_passes_its_checks_and_tests(installed_old, default):
    repository = installed_old()
    edit(repository)
    (repository.path / "tests/unit/test_ours.py").unlink()
    for path in default.files():
        if owned(str(path)) and path.suffix in (".yaml", ".py"):
            shutil.copy(default.path / path, repository.path / path)
    repository.commit("ours")
    os.utime(repository.path / ".venv/ready")  # so that lightgbm is not installed
    assert "The template's v9.0.0 is newer: make update\n" in repository.run("make", "update-check", fails=True)
    assert "Update the template to v9.0.0: " in repository.run("make", "update")
    os.utime(repository.path / ".venv/ready")
    assert "Nothing is newer: the template's newest release is v9.0.0\n" in repository.run("make", "update-check")
    repository.run("make", "check")
    assert "passed" in repository.run("make", "test", "TESTS=tests/unit")
    assert "ours" in repository.run("make", "ours")


def test_what_make_is_told_reaches_the_updater_and_nothing_is_left(installed_old, template, tmp_path):
    repository = installed_old()
    before = repository.run("git", "rev-parse", "HEAD")
    folder = {"TMPDIR": str(tmp_path)}
    assert "nothing is written" in repository.run("make", "update", "PREVIEW=1", **folder)
    assert "The template has no v8.0.0; " in repository.run("make", "update", "TO=v8.0.0", fails=True, **folder)
    assert repository.run("git", "rev-parse", "HEAD") == before
    assert "Render the template with airflow=False: " in repository.run("make", "update", "SET=airflow=False", **folder)
    assert list(tmp_path.glob("tmp*")) == []


def test_a_record_without_an_address_or_a_commit_is_a_sentence_that_helps(installed_old, template):
    repository = installed_old()

    def write_record(**values):
        text = json.dumps(read_record(repository) | values, indent=2)
        (repository.path / ".cruft.json").write_text(text, encoding="utf-8")
        repository.commit("the record")

    write_record(commit=None)
    other_repository = str(repository.path)
    for address in ("/a/template.zip", "file:///nowhere", other_repository):
        write_record(template=address)
        for verb in ("update", "update-check"):
            printed = repository.run("make", verb, fails=True)
            sentence = f"error: git can't clone the template from '{address}': write its git address into .cruft.json"
            assert sentence in printed
    write_record(template=str(template.path))
    for verb in ("update", "update-check"):
        assert "error: .cruft.json names no commit of the template: write " in repository.run("make", verb, fails=True)
    write_record(commit="v0.9.0")
    assert "Update the template to v9.0.0: " in repository.run("make", "update")


def test_an_update_is_proposed_as_ci_does_it(installed_old, tmp_path):
    repository, origin = installed_old(ci_provider="gitlab"), Repository(tmp_path / "origin.git")
    repository.run("git", "clone", "--quiet", "--bare", ".", str(origin.path))
    origin.run("git", "config", "receive.advertisePushOptions", "true")
    repository.run("git", "remote", "add", "origin", str(origin.path))
    repository.replace("docs/ci.md", "# What CI does", "# Our CI")
    repository.commit("ours")
    repository.run("git", "push", "--quiet", "origin", "main")
    repository.run("git", "checkout", "--quiet", "--detach")
    sentence = "for review: The template and you have both changed docs/ci.md."
    assert sentence in repository.run("make", "update", "PROPOSE=1")
    assert origin.run("git", "branch", "--format=%(refname:short)").split() == ["main"]
    assert sentence in repository.run("make", "propose", GITLAB_CI="true")
    assert origin.run("git", "branch", "--format=%(refname:short)").split() == ["main", "update-v9.0.0"]
    assert "<<<<<<<" in origin.run("git", "show", "update-v9.0.0:docs/ci.md")
    assert "proposed already: update-v9.0.0" in repository.run("make", "propose")
