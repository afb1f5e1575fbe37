"""An update brings in what the template has changed, keeps what the team has changed, and says where both did."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from conftest import CHOICES, TEMPLATE, TREE, Repository, swap, use_environment
from cookiecutter.main import cookiecutter

PARAMS = ("# share of the keys that go to the test data, for ever", "# once said otherwise")
# An older state of the template: file, a text of today, what it was. Of a file without a text, all is given up or new.
# Many of them are the last line before a place for the team's.
OLDER = [
    ("pyproject.toml", "httptools>=0.7", "httptools>=0.6"),
    ("Makefile", "commit, then: make release", "then: make release"),
    ("src/modelcycle/serving/answer.py", '"""From rows to', '"""Long ago: from rows to'),
    ("tests/unit/test_features.py", "import pandas as pd\n", "import pandas as pd  # once\n"),
    (".pre-commit-config.yaml", "types: [text]", "types: [file]"),
    (".github/workflows/ci.yml", "make update UPDATE=--propose", "make update"),
    (".gitlab-ci.yml", "make update UPDATE=--propose", "make update"),
    ("Jenkinsfile", "make update UPDATE=--propose", "make update"),
    ("bamboo-specs/bamboo.yaml", "make update UPDATE=--propose", "make update"),
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
    ".gitlab-ci.yml": "\nours:\n  stage: check\n  script: [make ours]\n",
    "bamboo-specs/bamboo.yaml": "---\nversion: 2\nplan: {project-key: OURS, key: OURS, name: Ours}\nstages: []\n",
    "dvc.yaml": "  ours:\n    cmd: echo ours\n    deps: [reports/slices.csv]\n",
    "deploy/monitoring/alerts.yml": "  - name: ours\n    rules: []\n",
    "kustomization.yaml": "# ours\n",
}
RELEASES = subprocess.run(["git", "tag", "--list", "v*"], cwd=TEMPLATE, capture_output=True, text=True).stdout.split()


def git(folder: Path, *words: str) -> str:
    author = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    return subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "-m", message)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A clone of the template with its releases, v0.9.0, an older state, and v9.0.0, as it is now."""
    folder = tmp_path_factory.mktemp("template") / "ours"
    git(TEMPLATE, "clone", "--quiet", "--no-hardlinks", str(TEMPLATE), str(folder))
    git(folder, "checkout", "--quiet", "-B", "main")
    git(folder, "rm", "-rf", "--quiet", ".")
    for name in git(TEMPLATE, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        if name and (TEMPLATE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TEMPLATE / name, folder / name)
    version = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))["_version"]
    swap(folder / "cookiecutter.json", f'"{version}"', '"0.9.0"')
    tree, now = folder / TREE.name, {}
    for name, new, old in OLDER:
        path = tree / name
        now.setdefault(path, path.read_bytes() if path.exists() else None)
        if new is None:
            path.unlink() if old is None else path.write_text(old, encoding="utf-8")
        else:
            swap(path, new, old)
    commit(folder, "an older state")
    git(folder, "tag", "v0.9.0")
    for path, content in now.items():
        path.unlink() if content is None else path.write_bytes(content)
    swap(folder / "cookiecutter.json", '"0.9.0"', '"9.0.0"')
    commit(folder, "as it is now")
    for tag in ("v9.0.0", "v10.0.0-rc1"):
        git(folder, "tag", tag)
    return folder


def baked(template: Path, tag: str, folder: Path, default: Repository, **answers: str | bool) -> Repository:
    """Bake a release of the template, with the environment of another bake."""
    git(template, "checkout", "--quiet", tag)
    path = Path(cookiecutter(str(template), no_input=True, extra_context=answers, output_dir=str(folder)))
    git(template, "checkout", "--quiet", "main")
    use_environment(path, default)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "config", "user.name", "T")
    git(path, "config", "user.email", "t@example.com")
    commit(path, "bake")
    return Repository(path)


@pytest.fixture
def old(template, default, tmp_path) -> Repository:
    return baked(template, "v0.9.0", tmp_path / "old", default)


def update(repository: Repository, *words: str, **environment: str) -> str:
    return repository.run("modelcycle", "update", *words, **environment)


def is_current(repository: Repository) -> bool:
    done = attempt(repository, "--check")
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def content(repository: Repository) -> dict[str, bytes | str]:
    """Give what is in git, without what the older release had otherwise in a file that is the team's."""
    assert git(repository.path, "status", "--porcelain") == ""
    names = git(repository.path, "ls-files", "-z").split("\0")[:-1]
    found = {name: (repository.path / name).read_bytes() for name in names}
    found.pop("docs/operations/ai_act.md", None)  # a new page among those that are the team's has a test of its own
    found["params.yaml"] = found["params.yaml"].replace(PARAMS[1].encode(), PARAMS[0].encode())
    return found | {".cruft.json": json.loads(found[".cruft.json"])["context"]}


@pytest.mark.parametrize("release", [*RELEASES, "v0.9.0"])
def test_a_repository_that_nobody_changed_becomes_what_is_baked_now(template, default, tmp_path, release):
    repository = baked(template, release, tmp_path / "old", default)
    assert not is_current(repository)
    assert "Update the template to v9.0.0: " in update(repository)
    assert is_current(repository)
    assert "this is the newest release of the template already" in update(repository)
    now, found = (content(one) for one in (baked(template, "v9.0.0", tmp_path / "now", default), repository))
    assert {name: found[name] for name in found if not owned(name)} == {n: now[n] for n in now if not owned(n)}
    assert git(repository.path, "log", "--format=%s") == "Update the template to v9.0.0\nbake\n"
    assert "release 9.0.0 of it" in repository.read("docs/updates.md")


SKIPPED = tomllib.loads(
    (TREE / "pyproject.toml").read_text(encoding="utf-8").replace("{{ cookiecutter.package_name }}", "flight_delays")
)["tool"]["cruft"]["skip"]


def owned(name: str) -> bool:
    """Say whether a path is the team's."""
    return name != ".cruft.json" and any(name == path or name.startswith(f"{path}/") for path in SKIPPED)


def edit(repository: Repository) -> None:
    """Change a repository as docs/updates.md says: every file that is the team's, every place for more."""
    for path in repository.files():
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
def test_edits_a_moved_and_a_deleted_file_are_kept(template, default, tmp_path, answers):
    updated, now = (baked(template, tag, tmp_path / tag, default, **answers) for tag in ("v0.9.0", "v9.0.0"))
    for repository in (updated, now):
        edit(repository)
        git(repository.path, "mv", "src/modelcycle/serving/answer.py", "src/modelcycle/serving/answers.py")
        (repository.path / "docs/ci.md").unlink()  # which the template has changed since
        commit(repository.path, "ours")
    assert re.search("left out, as not here .*: docs/ci.md", update(updated))
    assert content(updated) == content(now)
    assert not {"docs/gone.md", "docs/ci.md", "src/modelcycle/serving/answer.py"} & set(content(updated))


def test_every_place_for_more_is_in_the_page_and_is_edited():
    page = (TREE / "docs/updates.md").read_text(encoding="utf-8")
    tracked = (Path(name) for name in git(TREE, "ls-files", "-z").split("\0")[:-1])
    marked = {path for path in tracked if MARK in (TREE / path).read_text(encoding="utf-8")}
    assert len(marked) > 8
    for path in marked:
        assert path.name in page
        assert str(path) in ADDED or path.name in ADDED


def test_code_that_is_formatted_otherwise_is_merged(template, default, tmp_path):
    updated, now = (baked(template, tag, tmp_path / tag, default) for tag in ("v0.9.0", "v9.0.0"))
    for repository in (updated, now):
        repository.replace("pyproject.toml", "line-length = 120", "line-length = 79")
        repository.run("ruff", "format", "--quiet", "--no-cache", "src", "tests", "deploy")
        commit(repository.path, "our style")
    formatted = git(now.path, "show", "--name-only", "--format=").split()
    assert {"deploy/airflow/dags.py", "tests/unit/test_features.py"} <= set(formatted)  # which the template has changed
    update(updated)
    assert content(updated) == content(now)


def test_a_folder_of_a_larger_repository_is_updated_in_its_place(old, tmp_path):
    expected = set(content(old)) | {"docs/scale.md"}
    shutil.rmtree(old.path / ".git")
    whole = tmp_path / "whole"
    (whole / "teams").mkdir(parents=True)
    part = Repository(old.path.rename(whole / "teams/flights"))
    (whole / "README.md").write_text("All teams\n")
    git(whole, "init", "--quiet")
    for name in ("name", "email"):
        git(whole, "config", f"user.{name}", "t@example.com")
    commit(whole, "all")
    update(part, "v9.0.0")
    assert set(content(part)) == expected - {"docs/gone.md"}
    assert "httptools>=0.7" in part.read("pyproject.toml")
    assert sorted(path.name for path in whole.iterdir()) == [".git", "README.md", "teams"]
    assert "v9.0.0 would change nothing" in update(part, "v9.0.0")


def test_a_clone_without_history_is_updated_all_the_same(old, default, tmp_path):
    edit(old)
    commit(old.path, "ours")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{old.path}", "shallow")
    shallow = Repository(tmp_path / "shallow")
    use_environment(shallow.path, default)
    for name in ("name", "email"):
        git(shallow.path, "config", f"user.{name}", "t@example.com")
    update(old)
    update(shallow)
    assert content(shallow) == content(old)


@pytest.fixture
def conflicting(old) -> Repository:
    """An older bake in which the team has changed lines that the template has changed as well."""
    old.replace("docs/ci.md", "# What CI does", "# Our CI")
    old.replace("tests/unit/test_features.py", "import pandas as pd  # once", "import pandas as pd  # ours")
    commit(old.path, "ours")
    return old


SENTENCE = "The template and you have both changed docs/ci.md, tests/unit/test_features.py."


def test_where_both_changed_a_line_a_person_decides(conflicting):
    before = content(conflicting)
    done = attempt(conflicting)
    assert done.returncode == 3
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"conflict: {SENTENCE}")
    assert "`git cherry-pick --abort`" in said
    assert not is_current(conflicting)
    again = attempt(conflicting)
    assert again.returncode == 3
    assert "conflict: git has not finished a cherry-pick here" in again.stderr
    git(conflicting.path, "cherry-pick", "--abort")
    assert content(conflicting) == before
    assert not is_current(conflicting)
    assert attempt(conflicting).returncode == 3
    git(conflicting.path, "checkout", "--ours", "docs/ci.md", "tests/unit/test_features.py")
    git(conflicting.path, "add", ".")
    git(conflicting.path, "-c", "core.editor=true", "cherry-pick", "--continue")
    assert is_current(conflicting)
    assert "# Our CI" in conflicting.read("docs/ci.md")
    assert "httptools>=0.7" in conflicting.read("pyproject.toml")


def test_what_the_template_gave_up_and_the_team_changed_a_person_decides(old):
    (old.path / "docs/gone.md").write_text("Ours now.\n")
    commit(old.path, "ours")
    done = attempt(old)
    assert done.returncode == 3
    assert "conflict: The template has given up docs/gone.md, which you have changed. Edit" in done.stderr
    git(old.path, "add", ".")
    git(old.path, "-c", "core.editor=true", "cherry-pick", "--continue")
    assert old.read("docs/gone.md") == "Ours now.\n"
    assert is_current(old)


def test_what_is_moved_and_much_changed_is_named_with_what_the_template_has_changed(old):
    (old.path / "src/modelcycle/serving/answer.py").unlink()
    (old.path / "src/modelcycle/serving/reply.py").write_text('"""All anew."""\n')
    commit(old.path, "ours")
    printed = update(old)
    show = re.search(r"git (show \w+ -- src/modelcycle/serving/answer.py)", printed)[1]
    assert '+"""From rows to' in git(old.path, *show.split())
    assert not (old.path / "src/modelcycle/serving/answer.py").exists()


def test_a_new_page_comes_and_a_changed_one_that_is_the_teams_is_named(old):
    assert not (old.path / "docs/operations/ai_act.md").exists()
    before = old.read("params.yaml")
    assert re.search("yours, so not touched, but otherwise in the template now: +params.yaml", update(old))
    assert (old.path / "docs/operations/ai_act.md").exists()
    assert old.read("params.yaml") == before


def test_an_older_release_is_brought_in_with_a_word(template, default, tmp_path):
    repository = baked(template, "v9.0.0", tmp_path / "new", default)
    assert "v0.9.0 is older than what you have, v9.0.0" in update(repository, "v0.9.0")
    assert (repository.path / "docs/gone.md").exists()


def test_another_answer_alone_brings_no_newer_release(old):
    assert "Render the template with airflow=false: " in update(old, "--set", "airflow=false")
    assert not (old.path / "deploy/airflow").exists()
    assert not is_current(old)


def attempt(repository: Repository, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["modelcycle", "--quiet", "update", *words],
        cwd=repository.path,
        env=repository.environment() | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def origin(old) -> Path:
    """A bare remote of an older bake, which notes what is asked for with a push."""
    path = old.path.parent / "origin.git"
    git(old.path, "clone", "--quiet", "--bare", str(old.path), str(path))
    git(path, "config", "receive.advertisePushOptions", "true")
    hook = path / "hooks/post-receive"
    hook.write_text(f"#!/bin/sh\nenv | grep ^GIT_PUSH_OPTION_[0-9] | cut -d= -f2- | sort >{path}/asked\n")
    hook.chmod(0o755)
    git(old.path, "remote", "add", "origin", str(path))
    return path


def test_an_update_is_proposed_once_as_a_branch(old, origin):
    main = git(origin, "rev-parse", "main")
    git(old.path, "checkout", "--quiet", "--detach")  # as CI has it
    assert re.search(r"for review +update-v9.0.0", update(old, "--propose", GITLAB_CI="true"))
    assert git(origin, "branch", "--format=%(refname:short)").split() == ["main", "update-v9.0.0"]
    assert [main, main] == [git(path, "rev-parse", name) for path, name in ((origin, "main"), (old.path, "HEAD"))]
    assert git(origin, "log", "--format=%s", "main..update-v9.0.0") == "Update the template to v9.0.0\n"
    asked = (origin / "asked").read_text().splitlines()
    assert asked == ["merge_request.create", "merge_request.title=Update the template to v9.0.0"]
    assert re.search(r"v9.0.0 is proposed already +update-v9.0.0", update(old, "--propose"))


def test_a_conflict_is_proposed_as_a_draft_with_a_label(conflicting, origin, tmp_path):
    git(conflicting.path, "push", "--quiet", "origin", "main")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word" >>{tmp_path}/gh; done\n')
    (tmp_path / "bin/gh").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{conflicting.environment()['PATH']}"
    printed = update(conflicting, "--propose", GITLAB_CI="true", GITHUB_ACTIONS="true", PATH=path)
    assert f"for review: {SENTENCE}" in printed
    assert git(conflicting.path, "branch", "--show-current") == "main\n"
    assert content(conflicting)["docs/ci.md"].startswith(b"# Our CI")
    assert (origin / "asked").read_text().splitlines() == [
        "merge_request.create",
        "merge_request.label=conflict",
        "merge_request.title=Draft: Update the template to v9.0.0",
    ]
    asked = (tmp_path / "gh").read_text().splitlines()
    assert asked[:4] == ["label", "create", "conflict", "--force"]
    assert asked[4:] == [
        *["pr", "create", "--head", "update-v9.0.0", "--title", "Update the template to v9.0.0"],
        *["--body", SENTENCE, "--draft", "--label", "conflict"],
    ]
    assert "<<<<<<<" in git(origin, "show", "update-v9.0.0:docs/ci.md")
    assert SENTENCE in git(origin, "log", "-1", "--format=%B", "update-v9.0.0")


def test_a_request_that_was_refused_is_opened_the_next_time(old, origin, tmp_path):
    (tmp_path / "bin").mkdir()
    gh = tmp_path / "bin/gh"
    gh.write_text('#!/bin/sh\necho "HTTP 403: may not open requests" >&2\nexit 1\n')
    gh.chmod(0o755)
    github = {"GITHUB_ACTIONS": "true", "PATH": f"{gh.parent}:{old.environment()['PATH']}"}
    done = attempt(old, "--propose", **github)
    assert done.stderr == "error: gh failed: HTTP 403: may not open requests\n"
    assert git(origin, "branch", "--format=%(refname:short)").split() == ["main"]
    assert git(old.path, "branch", "--show-current") == "main\n"
    gh.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\n')
    update(old, "--propose", **github)
    assert "pr create --head update-v9.0.0" in (tmp_path / "asked").read_text()


def test_a_proposal_that_another_job_was_faster_with_stays(old, origin):
    hook = origin / "hooks/pre-receive"  # between this job's look and its push comes the other one's
    hook.write_text("#!/bin/sh\nenv -u GIT_QUARANTINE_PATH git update-ref refs/heads/update-v9.0.0 main\nexit 1\n")
    hook.chmod(0o755)
    assert attempt(old, "--propose", GITHUB_ACTIONS="true").stderr.startswith("error: git failed: ")
    hook.unlink()
    assert git(origin, "branch", "--format=%(refname:short)").split() == ["main", "update-v9.0.0"]
    assert git(old.path, "branch", "--show-current") == "main\n"


@pytest.mark.parametrize(
    ("question", "other"),
    [
        (name, other)
        for name, (_, *others) in CHOICES.items()
        for other in others[: 3 if name in ("ci_provider", "deployment") else 1]
    ],
)
def test_an_answer_is_changed_and_changed_back(template, default, tmp_path, question, other):
    repository = baked(template, "v9.0.0", tmp_path / "now", default)
    (repository.path / "src/flight_delays/ours.py").write_text("OURS = 1\n")
    commit(repository.path, "ours")
    before = content(repository)
    update(repository, "--set", f"{question}={other}")
    fresh = content(baked(template, "v9.0.0", tmp_path / "other", default, **{question: other}))
    changed = content(repository)
    assert changed.pop("src/flight_delays/ours.py") == b"OURS = 1\n"
    assert {n: changed[n] for n in changed if not owned(n)} == {n: fresh[n] for n in fresh if not owned(n)}
    assert changed != before
    update(repository, "--set", f"{question}={CHOICES[question][0]}")
    assert content(repository) == before


def test_an_updated_repository_passes_its_checks_and_tests(old, default):
    edit(old)
    (old.path / "tests/unit/test_ours.py").unlink()
    for path in default.files():
        if owned(str(path)) and path.suffix in (".yaml", ".py"):
            shutil.copy(default.path / path, old.path / path)
    commit(old.path, "ours")
    update(old)
    os.utime(default.path / ".venv/ready")  # so that nothing is installed into the environment of others
    old.run("make", "check")
    old.run("make", "cycle")
    old.run("make", "test", "TESTS=tests/unit tests/model tests/system")
    assert "ours" in old.run("make", "ours")


def test_cruft_links_a_repository_without_a_record(template, old, tmp_path):
    expected = json.loads(old.read(".cruft.json"))["context"]["cookiecutter"]
    git(old.path, "rm", "--quiet", ".cruft.json")
    commit(old.path, "lost")
    assert "uvx cruft link" in attempt(old).stderr
    old.run("cruft", "link", "--no-input", "--checkout", "v0.9.0", str(template))
    commit(old.path, "found")
    update(old)
    assert is_current(old)
    assert json.loads(old.read(".cruft.json"))["context"]["cookiecutter"] == expected
    assert "httptools>=0.7" in old.read("pyproject.toml")


def test_cruft_updates_by_the_same_record(template, old, default, tmp_path):
    old.run("cruft", "update", "--skip-apply-ask", "--refresh-private-variables", "--checkout", "v9.0.0")
    commit(old.path, "cruft")
    now = content(baked(template, "v9.0.0", tmp_path / "now", default))
    record = content(old)[".cruft.json"]["cookiecutter"]
    assert now[".cruft.json"]["cookiecutter"].items() <= record.items()
    assert content(old) | {".cruft.json": None} == now | {".cruft.json": None}
    assert is_current(old)


def test_cruft_reads_what_is_recorded(template, old, default, tmp_path):
    old.run("cruft", "check", fails=True)
    update(old)
    old.run("cruft", "check")
    assert old.run("cruft", "diff") == ""
    made = tmp_path / "cruft"
    old.run("cruft", "create", "--no-input", "--checkout", "v0.9.0", "--output-dir", str(made), str(template))
    repository = Repository(made / "flight-delays")
    use_environment(repository.path, default)
    git(repository.path, "init", "--quiet", "--initial-branch=main")
    for name in ("name", "email"):
        git(repository.path, "config", f"user.{name}", "t@example.com")
    commit(repository.path, "bake")
    update(repository)
    assert {n: v for n, v in content(repository).items() if n != ".cruft.json"} == {
        n: v for n, v in content(old).items() if n != ".cruft.json"
    }


@pytest.mark.parametrize(
    ("change", "words", "sentence"),
    [
        (lambda path: (path / "new.txt").write_text("new"), [], "Something is not committed"),
        (lambda path: (path / ".cruft.json").unlink(), [], "nobody knows which template this comes from"),
        (lambda path: (path / ".cruft.json").write_text("{}"), [], ".cruft.json is not what cruft writes"),
        (lambda path: record(path, template="/nowhere"), [], "the template is in /nowhere; write its address"),
        (lambda path: record(path, commit="0" * 40), [], "has no commit 00000"),
        (lambda path: None, ["v8.0.0"], "The template has no v8.0.0; its releases: v9.0.0, "),
        (lambda path: None, ["--set", "colour=red"], "colour is no question; expected one of project_name, "),
        (lambda path: None, ["--set", "deployment=moon"], "moon"),
        (lambda path: None, ["--set", "package_name=late"], "package_name can't be changed by an update"),
    ],
    ids="dirty no-record other-record no-template no-commit no-release no-question no-answer package".split(),
)
def test_what_can_not_begin_is_one_sentence_and_changes_nothing(old, change, words, sentence):
    change(old.path)
    if sentence != "Something is not committed":
        git(old.path, "add", "--all")
        git(old.path, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", "change")
    head = git(old.path, "rev-parse", "HEAD")
    done = attempt(old, *words)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert git(old.path, "rev-parse", "HEAD") == head
    if not words and sentence != "Something is not committed":
        assert attempt(old, "--check").returncode == 2


def record(folder: Path, **values: str) -> None:
    path = folder / ".cruft.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
