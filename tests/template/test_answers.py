"""Answers that would not work are refused in words; all others land intact in every file that carries them."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
from cookiecutter.exceptions import CookiecutterException
from markdown_it import MarkdownIt

from support.repository import TEMPLATE, TREE

REFUSED = [
    ("project_slug", "Flight-Delays", "type lower-case letters, digits"),
    ("project_slug", "flight delays", "type lower-case letters, digits"),
    ("project_slug", "flight_delays", "type lower-case letters, digits"),
    ("project_slug", "flight--delays", "type lower-case letters, digits"),
    ("project_slug", "-flight", "type lower-case letters, digits"),
    ("project_slug", "flight-", "type lower-case letters, digits"),
    ("project_slug", "2flights", "type lower-case letters, digits"),
    ("project_slug", "flüge", "type lower-case letters, digits"),
    ("project_slug", "../flights", "type lower-case letters, digits"),
    ("project_slug", "a/b", "type lower-case letters, digits"),
    ("project_slug", "a\\b", "type lower-case letters, digits"),
    ("project_slug", "a.b", "type lower-case letters, digits"),
    ("project_slug", "$(id)", "type lower-case letters, digits"),
    ("project_slug", "a;b", "type lower-case letters, digits"),
    ("project_slug", ".git", "type lower-case letters, digits"),
    ("project_slug", "x" * 51, "type at most 50 characters, not 51"),
    ("project_slug", "mlflow", "type a longer name, such as ourmlflow"),
    ("project_slug", "modelcycle", "type a longer name, such as ourmodelcycle"),
    ("project_slug", "test", "type a longer name"),
    ("project_slug", "json", "type a longer name"),
    ("project_slug", "scikit-learn", "type a longer name"),
    ("project_slug", "pre-commit", "type a longer name"),
    ("project_slug", "con", "type a longer name"),
    ("project_slug", "lpt1", "type a longer name"),
    ("project_slug", "nul", "type a longer name"),
    ("project_slug", "import", "type a longer name"),
    ("package_name", "flight-delays", "type lower-case letters, digits"),
    ("package_name", "Flights", "type lower-case letters, digits"),
    ("package_name", "_flights", "type lower-case letters, digits"),
    ("package_name", "flights__2", "type lower-case letters, digits"),
    ("package_name", "flights.two", "type lower-case letters, digits"),
    ("package_name", "1flight", "type lower-case letters, digits"),
    ("package_name", "class", "type a longer name"),
    ("package_name", "lambda", "type a longer name"),
    ("package_name", "sklearn", "type a longer name"),
    ("package_name", "pandas", "type a longer name"),
    ("package_name", "modelcycle", "type a longer name"),
    ("package_name", "asyncio", "type a longer name"),
    ("package_name", "tests", "type a longer name"),
    ("package_name", "aux", "type a longer name"),
    ("package_name", "com9", "type a longer name"),
    ("package_name", "   ", "type at least one word"),
    ("project_name", " ", "type at least one word"),
    ("project_name", "x" * 61, "type at most 60 characters"),
    ("project_name", "Flights\nDelays", "characters that can't be seen"),
    ("project_name", "Flights\x07", "characters that can't be seen"),
    ("project_name", "Flights\u202edelays", "characters that can't be seen"),
    ("project_name", " Flights", "without spaces at its ends"),
    ("description", "\t", "type at least one word"),
    ("description", "x" * 201, "type at most 200 characters"),
    ("description", "first\nsecond", "characters that can't be seen"),
    ("description", "ends with }}", "braces"),
    ("description", "ends with %}", "braces"),
    ("author_name", "  ", "type at least one word"),
    ("author_name", "x" * 81, "type at most 80 characters"),
    ("author_name", "a\x00b", "characters that can't be seen"),
    ("author_name", "Team #}", "braces"),
    ("author_email", "nobody", "such as team@example.com"),
    ("author_email", "a@b", "such as team@example.com"),
    ("author_email", "a@b@example.com", "such as team@example.com"),
    ("author_email", "a b@example.com", "such as team@example.com"),
    ("author_email", 'a"b@example.com', "such as team@example.com"),
    ("author_email", "a@example.com>", "such as team@example.com"),
    ("author_email", "@example.com", "such as team@example.com"),
]
INTACT = [
    'double "quotes" here',
    "single 'quotes' here",
    "three ''' and three \"\"\" quotes",
    "back\\slash \\n \\u0041 \\",
    "colon: in the middle: twice",
    "# a hash at the start",
    "a hash # in the middle",
    "Größe, Straße, naïve, Łódź",
    "日本語の名前",
    "emoji 😀 and family 👨\u200d👩\u200d👧",
    "$(touch pwned) `id` ${HOME} $PATH",
    "null",
    "true",
    "1.0",
    "- a leading hyphen",
    "-leading",
    "* star *emphasis* _under_ **bold**",
    "<b>html</b> & &amp; entities",
    "[link](http://example.com) ![image](x)",
    "@at %percent !bang | pipe > greater",
    "{single} [brackets] (round)",
    "~tilde~ ^caret^ ~~struck~~",
    "comma, semicolon; dot. question?",
    'it\'s 100% "safe" \\ # : - 😀',
]
TEXTS = [pytest.param(text, marks=pytest.mark.slow if i % 4 else ()) for i, text in enumerate(INTACT)]


def test_there_are_enough_hostile_answers():
    assert len(REFUSED) + len(INTACT) >= 60


@pytest.mark.parametrize(("question", "answer", "instead"), REFUSED, ids=lambda value: ascii(value)[:40])
def test_a_bad_answer_is_refused_with_what_to_type_instead(bake, capfd, question, answer, instead):
    with pytest.raises(CookiecutterException):
        bake(**{question: answer})
    (sentence,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith(question)]
    assert instead in sentence
    assert repr(answer) in sentence


def test_after_a_bad_answer_the_others_can_be_kept(tmp_path):
    """By the command that is shown; a person presses Enter for each, and types the one that was refused."""
    words = ["--no-input", "--checkout", "main", str(TEMPLATE), 'description=it\'s 100 % "quoted"']
    command = [sys.executable, "-m", "cookiecutter", *words]
    options = {
        "cwd": tmp_path,
        "capture_output": True,
        "encoding": "utf-8",
        "env": os.environ | {"HOME": str(tmp_path)},
    }
    answers = ["ci_provider=gitlab", "airflow=False", "author_email=nobody"]
    refused = subprocess.run([*command, *answers], **options, check=False)
    (again,) = re.findall("answers as defaults: cookiecutter (.*)", refused.stdout)
    assert "nobody" not in again
    command = [sys.executable, "-m", "cookiecutter", *shlex.split(again)]
    subprocess.run(command, **options, input="\n" * 20, check=True)
    record = json.loads((tmp_path / "flight-delays/.cruft.json").read_text(encoding="utf-8"))
    kept = record["context"]["cookiecutter"]
    assert record["checkout"] == "main"
    assert kept["description"] == 'it\'s 100 % "quoted"'
    assert (kept["ci_provider"], kept["airflow"], kept["author_email"]) == ("gitlab", False, "team@example.com")


@pytest.mark.parametrize("answer", ["{{ 7 * 7 }}", "{% raw %}", "{{ nothing }}"])
def test_jinja_typed_at_the_prompt_is_refused(tmp_path, answer):
    command = [sys.executable, "-m", "cookiecutter", "--output-dir", str(tmp_path), str(TEMPLATE)]
    lines = f"Name\n\n\n{answer}" + 20 * "\n"
    typed = subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", check=False)
    assert typed.returncode != 0
    assert "type it without doubled or marked braces" in typed.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_free_text_lands_intact_in_every_file_that_carries_it(bake, text):
    name = text[:60]
    repository = bake(
        project_name=name,
        project_slug="hostile",
        description=text,
        author_name=text,
        license="MIT",
        package_name="hostile_package",
    )
    project = tomllib.loads(repository.read("pyproject.toml"))["project"]
    assert project["description"] == text
    assert project["authors"] == [{"name": text, "email": "team@example.com"}]
    assert f"Copyright (c) {text}\n" in repository.read("LICENSE")
    tokens = [token for token in MarkdownIt().parse(repository.read("README.md")) if token.type == "inline"]
    title, purpose = ("".join(part.content for part in token.children) for token in tokens[:2])
    assert title == name
    assert purpose == f"What it does: {text}"
    assert not (repository.path / "pwned").exists()


def test_no_other_file_carries_free_text(bake):
    marks = {
        "project_name": "Zyx One",
        "description": "Zyx two.",
        "author_name": "Zyx three",
        "author_email": "zyx@four.example",
    }
    repository = bake(**marks, project_slug="known", license="BSD-3-Clause")
    carriers = {
        question: {str(path) for path in repository.files() if mark in repository.read(path)} - {".cruft.json"}
        for question, mark in marks.items()
    }
    assert carriers == {
        "project_name": {"README.md"},
        "description": {"README.md", "pyproject.toml"},
        "author_name": {"LICENSE", "pyproject.toml"},
        "author_email": {"pyproject.toml"},
    }


def test_every_dependency_s_name_is_taken(bake):
    hook = (TEMPLATE / "hooks/pre_gen_project.py").read_text(encoding="utf-8")
    taken = re.search(r'TAKEN = """(.*?)"""', hook, re.DOTALL)[1]
    groups = re.search(r"\[dependency-groups\].*?\n\[", bake().read("pyproject.toml"), re.S)
    names = set(re.findall(r'"([a-z][a-z0-9-]*)[^"]*[>=]=', groups[0]))
    assert len(names) > 15
    code = [path.read_text(encoding="utf-8") for path in TREE.glob("src/**/*.py")]
    imported = {name for text in code for name in re.findall(r"^ *(?:from|import) ([a-z]\w*)", text, re.MULTILINE)}
    assert {"pydantic_core", "starlette"} <= imported  # come with another one
    called = {"git", "make", "python", "python3", "sh", "uv", "docker", "podman", "buildah", "gh"}
    assert {name.replace("-", "_") for name in names} | called <= set(taken.split())
    assert imported <= set(taken.split()) | sys.stdlib_module_names
