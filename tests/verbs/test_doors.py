"""The first command on machines that are not like ours: another make, another uv, another environment, a moved folder.

Both Makefiles are tried, with a pyproject.toml that asks for little. MAKE_UNDER_TEST may name macOS's make 3.81.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.repository import TEMPLATE, Repository

MAKE = os.environ.get("MAKE_UNDER_TEST", "make")
# With these, Apple's make 3.81 takes a plain command's program from its own PATH (job.c: _is_posix_shell).
KNOWN_SHELLS = {"/bin/sh", "/bin/bash", "/bin/dash", "/bin/zsh", "/usr/local/bin/ash"}
OWN_COPY = "There is no uv 0.8 or newer that runs"


@pytest.fixture(params=["template", "bake"])
def project(bake, tmp_path, request) -> Repository:
    """A folder with one of the two Makefiles, to be installed in a moment."""
    path = tmp_path / "project"
    if request.param == "bake":
        shutil.move(bake().path, path)
    else:
        path.mkdir()
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(TEMPLATE / name, path)
    groups = '[dependency-groups]\nbake = []\nmachinery = []\ntest = []\nchecks = ["pre-commit>=4.3"]\n\n'
    text = (path / "pyproject.toml").read_text(encoding="utf-8")
    text = re.sub(r"\[dependency-groups\]\n.*?\n(?=\[)", groups, text, flags=re.DOTALL)
    text = re.sub(r"default-groups = .*", 'default-groups = ["checks"]', text).replace("compile-bytecode = true", "")
    (path / "pyproject.toml").write_text(text, encoding="utf-8")
    return Repository(path)


def program(path: Path, text: str) -> None:
    """Write a shell script that can be called by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def shell_of(project: Repository) -> str:
    """Give the shell that make runs the recipes with."""
    printed = project.run(MAKE, "--print-data-base", "--dry-run", "help", PATH=os.environ["PATH"])
    return re.search(r"^SHELL :?= (.*)", printed, re.MULTILINE)[1]


def test_recipes_run_in_a_shell_that_no_make_bypasses(project):
    assert shell_of(project) not in KNOWN_SHELLS
    project.replace("modelcycle.mk" if (project.path / "modelcycle.mk").exists() else "Makefile", "SHELL := ", "# ")
    assert shell_of(project) in KNOWN_SHELLS


def test_a_recipe_finds_its_program_in_the_environment(project, tmp_path):
    """MAKE_UNDER_TEST=make-3.81 shows what happens without SHELL; a newer make finds the program either way."""
    program(project.path / ".venv/bin/pytest", "echo the tests run")
    program(tmp_path / "bin/uv", "echo uv 99.0.0")
    (project.path / ".venv/ready").touch()
    assert "the tests run" in project.run(MAKE, "test", PATH=f"{tmp_path}/bin:/usr/bin:/bin")


def test_uv_is_installed_where_there_is_none(project, tmp_path):
    """A machine with git, make and Python alone: nothing else is on the PATH."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in "sh bash git make python3 awk rm mkdir touch env uname dirname tail cp".split():
        found = Path(sys.base_prefix) / "bin/python3" if name == "python3" else shutil.which(name)
        (tools / name).symlink_to(found)
    shown = project.run(MAKE, ".venv/ready", PATH=str(tools))
    assert OWN_COPY in shown
    assert 'pip install --quiet "uv>=' in shown
    assert (project.path / ".venv/bin/pre-commit").exists()
    assert (project.path / ".uv/bin/uv").exists()


def test_uv_is_installed_where_pyenv_lacks_the_repository_s_python(bake, tmp_path):
    project = bake()
    missing = """echo "pyenv: version '$(cat .python-version)' is not installed (set by .python-version)" >&2; exit 1"""
    python = Path(sys.base_prefix) / "bin/python3"
    program(tmp_path / "bin/python3", f'[ "$PYENV_VERSION" = system ] || {{ {missing}; }}\nexec {python} "$@"')
    program(tmp_path / "bin/uv", "echo 'pyenv: uv: command not found' >&2; exit 127")
    project.run(MAKE, ".uv/bin/uv", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert (project.path / ".uv/bin/uv").exists()


@pytest.fixture(scope="session")
def old_uv(tmp_path_factory) -> Path:
    """The folder of a uv from 2024."""
    folder = tmp_path_factory.mktemp("old-uv")
    command = ["uv", "pip", "install", "--quiet", "--target", str(folder), "uv==0.5.9"]
    subprocess.run(command, check=True, env=Repository(TEMPLATE).environment())
    return folder / "bin"


def test_a_uv_that_is_too_old_is_not_taken(project, old_uv):
    path = f"{old_uv}{os.pathsep}{os.environ['PATH']}"
    assert OWN_COPY in project.run(MAKE, ".venv/ready", PATH=path)
    assert (project.path / ".venv/bin/pre-commit").exists()
    os.utime(project.path / "pyproject.toml")
    assert OWN_COPY not in project.run(MAKE, ".venv/ready", PATH=path)  # it is there now


@pytest.mark.parametrize(
    ("uv", "taken"),
    [
        ("echo uv 0.7.22", False),
        ("echo uv 0.8.0", True),
        ("echo 'uv 0.10.1 (0123456789 2026-01-01)'", True),
        ("echo uv 1.0.0", True),
        ("echo 'pyenv: uv: command not found' >&2; exit 127", False),
        ("echo 'pyenv: uv: command not found'; exit 127", False),
    ],
)
def test_a_uv_is_taken_if_it_runs_and_is_new_enough(project, tmp_path, uv, taken):
    program(tmp_path / "bin/uv", uv)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    printed = project.run(MAKE, "--dry-run", ".venv/ready", PATH=path)
    assert (OWN_COPY not in printed) == taken
    assert (f"{tmp_path}/bin/uv sync" in printed) == taken


def test_another_environment_that_is_active_or_named_is_left_alone(project, tmp_path):
    other = {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "named"), "VIRTUAL_ENV": str(tmp_path / "active")}
    other |= {"PYTHONHOME": str(tmp_path / "nowhere"), "PYTHONPATH": str(tmp_path / "src")}
    (tmp_path / "src").mkdir()
    (tmp_path / "src/json.py").write_text("raise SystemExit('code of another project')\n", encoding="utf-8")
    printed = project.run(MAKE, ".venv/ready", **other)
    assert "VIRTUAL_ENV" not in printed
    assert (project.path / ".venv/bin/pre-commit").exists()
    assert not (tmp_path / "named").exists()


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_folder_that_was_moved_or_copied_gets_an_environment_of_its_own(project, tmp_path, how):
    project.run(MAKE, ".venv/ready")
    assert "made again" not in project.run(MAKE, ".venv/ready")
    how(project.path, tmp_path / "new", **({"symlinks": True} if how is shutil.copytree else {}))
    new = Repository(tmp_path / "new")
    assert ".venv was made in another folder: it is made again." in new.run(MAKE, ".venv/ready")
    assert f"{new.path}/.venv/bin" in new.read(".venv/bin/pre-commit")
    assert "made again" not in new.run(MAKE, ".venv/ready")
    if (hook := new.path / ".git/hooks/pre-commit").exists():
        assert f"{new.path}/.venv/bin" in hook.read_text(encoding="utf-8")


def test_an_environment_that_is_a_link_is_shared(project, tmp_path):
    project.run(MAKE, ".venv/ready")
    other = Repository(tmp_path / "other")
    shutil.copytree(project.path, other.path, ignore=shutil.ignore_patterns(".venv"))
    (other.path / ".venv").symlink_to(project.path / ".venv")
    os.utime(project.path / ".venv/ready")
    assert "made again" not in other.run(MAKE, ".venv/ready")
    assert "made again" not in project.run(MAKE, ".venv/ready")


def test_a_repository_above_that_ignores_the_folder_is_named(bake):
    project = bake()
    above = Repository(project.path.parent)
    above.run("git", "init", "--quiet")
    (above.path / ".gitignore").write_text("*\n", encoding="utf-8")
    printed = project.run(MAKE, "--dry-run", "setup", fails=True)
    assert f"The git repository {above.path} ignores this folder: type git init" in printed
    project.run("git", "init")
    assert "ignores" not in project.run(MAKE, "--dry-run", "setup")
    (project.path / ".git").rename(above.path / "unused")
    (above.path / ".gitignore").write_text("*.log\n", encoding="utf-8")  # a repository of several projects
    assert "ignores" not in project.run(MAKE, "--dry-run", "setup")
