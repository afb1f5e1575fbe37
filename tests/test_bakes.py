"""Every pair of answers gives a repository that is clean, complete and the same each time."""

import json
import re
import shutil
import tomllib

import nbformat
import pytest
from allpairspy import AllPairs
from conftest import CHOICES, Repository, use_environment
from ruamel.yaml import YAML

DEFAULT = {name: choices[0] for name, choices in CHOICES.items()}
PAIRS = [dict(zip(CHOICES, values, strict=True)) for values in AllPairs(list(CHOICES.values()))]
PAIRS += [least for least in [DEFAULT | {"airflow": False}] if least not in PAIRS]  # the fewest files


# A package's name shows in imports, which must not become too long for the formatter.
NAMES = {"project_name": "Other Name", "package_name": "a" * 40}


@pytest.fixture(scope="module", params=PAIRS, ids=lambda answers: "-".join(map(str, answers.values())))
def baked(request, bake, default):
    repository = bake(**request.param, **NAMES)
    use_environment(repository.path, default)
    return repository, request.param


@pytest.fixture
def copied(baked, tmp_path):
    """A copy of a bake, for tests that leave something in it: a worker may run the others after them."""
    repository, answers = baked
    return Repository(shutil.copytree(repository.path, tmp_path / repository.path.name, symlinks=True)), answers


@pytest.fixture(scope="module")
def plain(bake):
    """The files of the default answers."""
    repository = bake(**DEFAULT, **NAMES)
    return {path: repository.read(path) for path in repository.files()}


def test_every_pair_of_answers_is_baked():
    assert DEFAULT in PAIRS
    pairs = {(a, x[a], b, x[b]) for x in PAIRS for a in x for b in x if a < b}
    wanted = {(a, x, b, y) for a in CHOICES for b in CHOICES if a < b for x in CHOICES[a] for y in CHOICES[b]}
    assert pairs == wanted


def test_no_template_language_is_left(baked):
    repository, _ = baked
    for path in repository.files():
        is_page = path.suffix in (".html", ".md") and path.parts[:2] == ("src", "modelcycle")  # with Jinja of its own
        left = r"\{\{ ?cookiecutter|cookiecutter\.(?!json)" + ("" if is_page else r"|\{%-? ")
        assert not re.search(left, repository.read(path)), path
        assert "cookiecutter" not in str(path)


def test_no_file_is_empty_and_every_one_parses(baked):
    repository, _ = baked
    for path in repository.files():
        text = repository.read(path)
        assert text.strip(), path
        assert text.endswith("\n"), path
        assert not text.endswith("\n\n"), path
        match path.suffix:
            case ".yaml" | ".yml" | ".dvc":
                assert all(YAML(typ="safe", pure=True).load_all(text)), path
            case ".toml":
                assert tomllib.loads(text), path
            case ".json":
                json.loads(text)
            case ".ipynb":
                notebook = nbformat.reads(text, as_version=4)
                nbformat.validate(notebook)
                assert not any(cell.get("outputs") for cell in notebook.cells), path
            case ".py":
                compile(text, str(path), "exec")


def test_no_link_in_a_document_is_dead(baked):
    repository, _ = baked
    pages = [path for path in repository.files() if path.suffix == ".md" and path.parts[0] != "src"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)\s]+)\)", repository.read(page))]
    assert len(links) > 30
    for page, link in links:
        path, _, anchor = link.partition("#")
        if not re.match(r"[a-z]+:", link):
            assert (repository.path / page.parent / path).exists(), f"{page}: {link}"
            assert not anchor, f"{page}: {link} (not looked up: link to the page)"


def test_a_second_bake_gives_the_same_bytes(baked, bake):
    repository, answers = baked
    again = bake(**answers, **NAMES)
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
    assert named == set() if not answers["airflow"] else {"Makefile", "README.md", ".gitignore"} < named


def test_git_takes_every_file_and_the_checks_pass_and_change_nothing(copied, plain):
    repository, answers = copied
    repository.commit()
    tracked = set(repository.run("git", "ls-files").split())
    assert tracked == {path.as_posix() for path in repository.files()}
    others = [path for path in repository.files() if path not in plain or plain[path] != repository.read(path)]
    where = ["--all-files"] if answers == DEFAULT else ["--files", *map(str, others)]  # the rest is checked there
    printed = repository.run("pre-commit", "run", *where)
    assert "Failed" not in printed
    assert printed.count("Passed") >= (10 if answers == DEFAULT else 5)
    assert repository.run("git", "status", "--porcelain") == ""


def test_dvc_takes_the_remote(copied):
    repository, answers = copied
    repository.run("git", "init", "--quiet")
    name, url = repository.run("dvc", "remote", "list").split()[:2]
    assert name == "team"
    assert (answers["data_remote"] + "://" in url) or answers["data_remote"] == "local"
