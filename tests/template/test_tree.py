"""The template's own files: what users get is tracked, legal everywhere, and not more than it should be."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.repository import CHOICES, QUESTIONS, TEMPLATE, TREE, Repository, render, swap

MACHINERY = TREE / "src/modelcycle"
PAGES = {*MACHINERY.rglob("*.html"), *MACHINERY.rglob("*.md")}  # which the machinery fills in, with Jinja of its own


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=TEMPLATE, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.split("\0")[:-1]


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def test_every_file_of_the_tree_is_tracked():
    tracked = {TEMPLATE / path for path in git("ls-files", "-z")}
    present = set(files_of(TREE))
    assert present <= tracked
    assert len(present) > 40


def test_no_link_in_the_template_s_own_documents_is_dead():
    pages = [TEMPLATE / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    links = [
        (page, link)
        for page in [*pages, *(TEMPLATE / "docs").glob("*.md")]
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 15
    assert not [(page.name, link) for page, link in links if ":" not in link and not (page.parent / link).exists()]


def test_the_page_on_the_architecture_names_every_room_and_no_other():
    page = (TEMPLATE / "docs/architecture.md").read_text(encoding="utf-8")
    section = page.partition("## The generated packages\n")[2].partition("\n## ")[0]
    picture = re.search(r"^ *cli -->.*", section, re.MULTILINE)[0]
    rooms = [path.parent.name for path in MACHINERY.glob("*/__init__.py")]
    assert len(rooms) > 5
    assert sorted(re.findall(r"\w+", picture)) == sorted(["cli", *rooms])
    assert sorted(re.findall(r"^\| `(\w+)/` \|", section, re.MULTILINE)) == sorted(rooms)


def test_the_readme_says_how_many_files_a_bake_has(bake):
    for name in ("README.md", "docs/figures.md"):
        text = (TEMPLATE / name).read_text(encoding="utf-8")
        assert f"{len(bake().files())} files" in text
        assert f"{len(bake(scope='exploration').files())} files" in text


def test_the_hooks_are_short_and_pure():
    for hook in (TEMPLATE / "hooks").glob("*.py"):
        text = hook.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 60
        imported = {
            alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names
        } | {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
        assert imported <= sys.stdlib_module_names
        assert not imported & {"subprocess", "socket", "urllib", "random", "datetime", "time"}
        assert set(re.findall(r"\bos\.[\w.]+", text)) <= {"os.environ.get"}  # where the shell is


def test_the_table_of_rooms_names_paths_that_exist_and_every_folder_that_may_be_left_out(bake):
    rooms = QUESTIONS["_rooms"]
    paths = {path for listed in rooms.values() for path in listed}
    assert not [path for path in paths if not (TREE / path).exists()]
    assert {f"src/modelcycle/{path.parent.name}" for path in MACHINERY.glob("*/__init__.py")} <= paths
    assert {f"deploy/{path.name}" for path in (TREE / "deploy").iterdir() if path.is_dir()} <= paths
    assert {*CHOICES["ci_provider"], *CHOICES["deployment"]} - {"none"} <= set(rooms)


@pytest.mark.parametrize(
    ("answers", "absent"),
    [
        ({"ci_provider": "gitlab", "deployment": "openshift"}, "github github_product jenkins bamboo server airflow"),
        (
            {"ci_provider": "none", "deployment": "kubernetes"},
            "ci github github_product gitlab gitlab_product jenkins bamboo server openshift airflow",
        ),
        (
            {"deployment": "none"},
            "gitlab gitlab_product jenkins bamboo server kubernetes openshift delivery airflow",
        ),
        (
            {"scope": "exploration", "airflow": True},
            "github_product gitlab gitlab_product jenkins bamboo server kubernetes openshift delivery airflow versions "
            "release serving monitoring process",
        ),
    ],
)
def test_a_room_that_is_not_chosen_is_absent(bake, answers, absent):
    made = bake(**{"airflow": False, "license": "MIT", **answers})
    rooms = QUESTIONS["_rooms"]
    kept = {path for room in rooms.keys() - absent.split() for path in rooms[room]}
    for path in {path for paths in rooms.values() for path in paths}:
        assert (made.path / path).exists() == (path in kept), path
    assert not [path for path in made.path.rglob("*") if path.is_dir() and not any(path.iterdir())]


@pytest.mark.slow
def test_a_room_is_added_by_the_table_and_the_blocks_that_the_page_names(tmp_path):
    template = tmp_path / "template"
    for name in ("hooks", TREE.name):
        shutil.copytree(TEMPLATE / name, template / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TEMPLATE / "cookiecutter.json", template)
    swap(template / "cookiecutter.json", '"_rooms": {', '"_rooms": {"lab": ["src/modelcycle/lab", "docs/lab.md"],')
    swap(template / "cookiecutter.json", "monitoring process{%", "monitoring process lab{%")
    source = template / TREE.name / "src/modelcycle"
    (source / "lab").mkdir()
    (source / "lab/__init__.py").write_text('"""A laboratory."""\n')
    verbs = 'import typer\n\napp = typer.Typer()\n\n\n@app.command()\ndef brew() -> None:\n    """Brew."""\n'
    (source / "lab/verbs.py").write_text(verbs)
    swap(source / "cli.py", '"process")', '"process", "lab")')
    (template / TREE.name / "docs/lab.md").write_text("# The laboratory\n")
    with (template / TREE.name / "modelcycle.mk").open("a", encoding="utf-8") as file:
        file.write("{%- if 'lab' in cookiecutter.__rooms %}\n\nbrew: setup ## brew\n\tmodelcycle brew\n{%- endif %}\n")
    for scope, is_there in (("product", True), ("exploration", False)):
        (tmp_path / scope).mkdir()
        repository = Repository(render(template, tmp_path / scope, scope=scope))
        assert (repository.path / "docs/lab.md").exists() == is_there
        assert ("make brew " in repository.run("make")) == is_there
        code = {"PYTHONPATH": str(repository.path / "src")}
        assert ("brew" in repository.run(sys.executable, "-m", "modelcycle", "--help", **code)) == is_there


def test_every_question_and_choice_has_a_prompt_in_words():
    prompts = QUESTIONS["__prompts__"]
    asked = [name for name in QUESTIONS if not name.startswith("_")]
    assert list(prompts) == asked
    for name in asked:
        if isinstance(QUESTIONS[name], list):
            assert set(prompts[name]) == {"__prompt__", *CHOICES[name]}
            assert len(prompts[name]["__prompt__"]) > 20
        else:
            assert len(prompts[name]) > 20


def test_no_path_is_illegal_on_windows():
    paths = [path for path in git("ls-files", "-z") if path]
    parts = {part for path in paths for part in Path(path).parts}
    assert not [part for part in parts if re.search(r'[<>:"|?*\\\x00-\x1f]', part) or part.endswith((".", " "))]
    assert not {part.split(".")[0].lower() for part in parts} & {"con", "prn", "aux", "nul", "com1", "lpt1"}
    assert not [path for path in paths if (TEMPLATE / path).is_symlink()]


def test_jinja_stays_at_a_handful_of_lines():
    """But for what a room brings to a file that several share."""
    blocks = {}
    for path in files_of(TREE):
        if path.suffix != ".csv" and path not in PAGES:
            rooms = r"{%-? (if '\w+' in cookiecutter\.__rooms|endif|raw|endraw) -?%}"
            text = re.sub(rooms, "", path.read_text("utf-8"))
            blocks[path.name] = sum("{%" in line for line in text.splitlines())
    assert max(blocks.values()) <= 6, blocks


def test_the_code_holds_no_jinja_at_all():
    code = files_of(TREE / "src")
    assert len(code) > 60
    assert not [
        path.name
        for path in code
        if re.search(r"{{ ?cookiecutter" if path in PAGES else r"{%|{{ ?cookiecutter", path.read_text(encoding="utf-8"))
    ]


def test_the_code_is_the_same_for_all_answers(bake):
    made = bake(package_name="parcel_times").path / "src"
    names = {path.relative_to(TREE / "src").as_posix(): path for path in files_of(TREE / "src")}
    wanted = {name.replace("{{cookiecutter.package_name}}", "parcel_times"): names[name] for name in names}
    assert {path.relative_to(made).as_posix() for path in files_of(made)} == set(wanted)
    for name, path in wanted.items():
        assert (made / name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_no_update_prints_what_to_do_next(tmp_path):
    """A project made with cruft says what to type; cruft's update of it, which runs the hooks again, does not."""
    source, work = tmp_path / "template", tmp_path / "work"
    work.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(TEMPLATE), str(source)], check=True)
    for path in git("ls-files", "-z", "--modified", "--others", "--exclude-standard"):
        if (TEMPLATE / path).is_file():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes((TEMPLATE / path).read_bytes())

    def run(folder: Path, *command: str) -> str:
        environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (tmp_path / "tmp").mkdir()
    cruft = [sys.executable, "-m", "cruft"]
    commit = ["git", "commit", "--quiet", "--allow-empty", "-am"]
    run(source, "git", "add", "--all")
    run(source, *commit, "one")
    assert "make cycle" in run(work, *cruft, "create", str(source), "--no-input", "--default-config")
    project = work / "flight-delays"
    run(project, "git", "init", "--quiet")
    run(project, "git", "add", "--all")
    run(project, *commit, "bake")
    makefile = source / "{{cookiecutter.project_slug}}/modelcycle.mk"
    makefile.write_text(makefile.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    run(source, *commit, "two")
    assert "make cycle" not in run(project, *cruft, "update", "--skip-apply-ask")
    assert (project / "modelcycle.mk").read_text(encoding="utf-8").endswith("# changed\n")


def test_make_alone_lists_every_verb():
    listed = subprocess.run(["make", "-s"], cwd=TEMPLATE, capture_output=True, encoding="utf-8", check=True).stdout
    makefile = (TEMPLATE / "Makefile").read_text(encoding="utf-8")
    verbs = re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[1].split()
    assert re.findall(r"^  make ([a-z-]+) +\w", listed, re.MULTILINE) == verbs
    assert set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set(verbs)


def test_the_prompts_are_asked_in_words(tmp_path):
    command = [sys.executable, "-m", "cookiecutter", "--output-dir", str(tmp_path), str(TEMPLATE)]
    asked = subprocess.run(command, input=20 * "\n", capture_output=True, encoding="utf-8", check=True).stdout
    words = " ".join(asked.split())
    for prompt in QUESTIONS["__prompts__"].values():
        assert (prompt["__prompt__"] if isinstance(prompt, dict) else prompt) in words
    assert (tmp_path / "flight-delays/dvc.yaml").exists()
