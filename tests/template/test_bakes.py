"""Every pair of answers gives a repository that is clean, complete and the same each time."""

import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from allpairspy import AllPairs
from dvc.config import Config
from ruamel.yaml import YAML

from support.repository import CHOICES, TEMPLATE, Repository

DEFAULT = {name: choices[0] for name, choices in CHOICES.items()}
PAIRS = [dict(zip(CHOICES, values, strict=True)) for values in AllPairs(list(CHOICES.values()))]
PAIRS += [least for least in [DEFAULT | {"airflow": False}] if least not in PAIRS]  # the fewest files
SHAPE = ("scope", "ci_provider", "deployment")  # what files there are: of these each combination
SHAPES = {tuple(answers[name] for name in SHAPE) for answers in PAIRS}
PAIRS += [
    DEFAULT | dict(zip(SHAPE, values, strict=True))
    for values in product(*(CHOICES[name] for name in SHAPE))
    if values not in SHAPES
]
BAKES = [pytest.param(answers, marks=pytest.mark.slow if i > 3 else ()) for i, answers in enumerate(PAIRS)]


# A package's name shows in imports, which must not become too long for the formatter.
NAMES = {"project_name": "Other Name", "package_name": "a" * 40}


@pytest.fixture(scope="module", params=BAKES, ids=lambda answers: "-".join(map(str, answers.values())))
def baked(request, bake):
    return bake(**request.param, **NAMES), request.param


def test_every_pair_of_answers_is_baked():
    assert DEFAULT in PAIRS
    pairs = {(a, x[a], b, x[b]) for x in PAIRS for a in x for b in x if a < b}
    wanted = {(a, x, b, y) for a in CHOICES for b in CHOICES if a < b for x in CHOICES[a] for y in CHOICES[b]}
    assert pairs == wanted
    shapes = {tuple(answers[name] for name in SHAPE) for answers in PAIRS}
    assert len(shapes) == len(CHOICES["scope"]) * len(CHOICES["ci_provider"]) * len(CHOICES["deployment"]) == 40


@pytest.mark.slow
def test_every_choice_has_an_effect(bake):
    def content(**answers: str | bool) -> dict[Path, str]:
        made = bake(**answers)
        return {path: made.read(path) for path in made.files() if path.name != ".cruft.json"}

    defaults = content()
    others = [{question: value} for question, values in CHOICES.items() for value in values[1:]]
    assert [answers for answers in others if content(**answers) == defaults] == []


def test_no_template_language_is_left(baked):
    repository, _ = baked
    for path in repository.files():
        is_page = path.suffix in (".html", ".md") and path.parts[:2] == ("src", "modelcycle")  # with Jinja of its own
        left = r"\{\{ ?cookiecutter|cookiecutter\.(?!json)" + ("" if is_page else r"|\{%-? ")
        assert not re.search(left, repository.read(path)), path
        assert "cookiecutter" not in str(path)


@cache  # most files are the same in all bakes
def require_parsable(suffix: str, text: str) -> None:
    """Raise an error where a text is not what files of its kind are."""
    match suffix:
        case ".yaml" | ".yml" | ".dvc":
            assert all(YAML(typ="safe", pure=True).load_all(text))
        case ".toml":
            assert tomllib.loads(text)
        case ".json" | ".ipynb":
            json.loads(text)
        case ".py":
            compile(text, "file", "exec")


def test_no_file_is_empty_and_every_one_parses(baked):
    repository, _ = baked
    for path in repository.files():
        text = repository.read(path)
        assert text.strip(), path
        assert text.endswith("\n"), path
        assert not text.endswith("\n\n"), path
        assert not re.search(r"[ \t]$", text, re.MULTILINE), path
        try:
            require_parsable(path.suffix, text)
        except Exception as error:
            raise AssertionError(f"{path}: {error}") from error


def test_no_link_in_a_document_is_dead(baked):
    repository, _ = baked
    pages = [path for path in repository.files() if path.suffix == ".md" and path.parts[0] != "src"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)\s]+)\)", repository.read(page))]
    assert len(links) > 2
    for page, link in links:
        path, _, anchor = link.partition("#")
        if not re.match(r"[a-z]+:", link):
            assert (repository.path / page.parent / path).exists(), f"{page}: {link}"
            assert not anchor, f"{page}: {link} (not looked up: link to the page)"


@pytest.mark.slow
@pytest.mark.parametrize("answers", [DEFAULT, PAIRS[-1]], ids=["default", "other"])
def test_another_bake_gives_the_same_bytes(bake, tmp_path, answers):
    """By another process, which orders sets differently, in another folder."""
    repository = bake(**answers, **NAMES)
    given = [f"{name}={value}" for name, value in {**answers, **NAMES}.items()]
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--output-dir", str(tmp_path), str(TEMPLATE), *given]
    subprocess.run(command, check=True, env=os.environ | {"HOME": str(tmp_path / "home"), "PYTHONHASHSEED": "7"})
    again = Repository(tmp_path / repository.path.name)
    assert again.files() == repository.files()
    for path in repository.files():
        assert (again.path / path).read_bytes() == (repository.path / path).read_bytes(), path


def test_the_answers_are_where_they_work(baked):
    repository, answers = baked
    assert repository.read(".python-version") == answers["python_version"] + "\n"
    url = re.search(r"url = (\S+)", repository.read(".dvc/config"))[1]
    scheme = {"local": "../../other-name-remote"}.get(answers["data_remote"], answers["data_remote"] + "://")
    assert url.startswith(scheme)
    project = tomllib.loads(repository.read("pyproject.toml"))
    extra = "" if answers["data_remote"] == "local" else f"[{answers['data_remote']}]"
    assert any(name.startswith(f"dvc{extra}>=") for name in project["dependency-groups"]["pipeline"])
    assert (repository.path / "LICENSE").exists() == (answers["license"] != "Proprietary")
    assert project["project"]["license"].removeprefix("LicenseRef-") == answers["license"]


def test_without_airflow_nothing_speaks_of_it(baked):
    repository, answers = baked
    named = {path.as_posix() for path in repository.files() if "airflow" in f"{path}{repository.read(path)}".lower()}
    named -= {".cruft.json"}  # which names every question
    is_there = answers["airflow"] and answers["scope"] == "product"
    assert {"modelcycle.mk", "README.md", ".gitignore"} < named if is_there else named == set()


def test_every_verb_and_file_that_is_named_is_there(baked):
    repository, _ = baked
    verbs = set(re.findall(r"^([a-z-]+):", repository.read("modelcycle.mk"), re.MULTILINE)) | {"install", "a"}
    for path in repository.files():
        if path.parts[0] != "src" and path.suffix != ".ipynb":
            text = repository.read(path)
            named = set(re.findall(r"(?:`|^ *|run: |')make ([a-z-]+)", text, re.MULTILINE))
            assert named <= verbs, path
            if path.suffix == ".md":
                named = re.findall(r"(?<![\w./-])((?:deploy|docs|tests|src/modelcycle)/[\w./-]*\w)", text)
                named = {name for name in named if name != "docs/decisions/0001_title.md"}  # to be made
                assert not [name for name in named if not (repository.path / name).exists()], path


def test_git_takes_every_file(baked):
    repository, _ = baked
    repository.run("git", "init", "--quiet")
    taken = set(repository.run("git", "ls-files", "--others", "--exclude-standard").split())
    assert taken == {path.as_posix() for path in repository.files()}


def test_dvc_takes_the_remote(baked):
    repository, answers = baked
    config = Config(str(repository.path / ".dvc"))
    assert config["core"]["remote"] == "team"
    assert config["remote"]["team"]["url"].startswith(
        f"{answers['data_remote']}://" if answers["data_remote"] != "local" else "/"
    )
