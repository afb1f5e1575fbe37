"""The machinery in the template's own environment: what it needs, and that each check finds a fault that is planted."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.repository import TEMPLATE, TREE


def read(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_the_machinery_is_tested_with_what_a_repository_installs(bake):
    generated = read(bake().path / "pyproject.toml")
    groups = [generated["dependency-groups"][name] for name in ("model", "pipeline", "service")]
    groups += [generated["project"]["optional-dependencies"]["dask"]]
    needed = {requirement for group in groups for requirement in group}
    assert set(read(TEMPLATE / "pyproject.toml")["dependency-groups"]["machinery"]) == needed


def function(signature: str, *body: str) -> str:
    return "\n    ".join([f"\n\ndef planted{signature}:", '"""Plant a fault."""', *body]) + "\n"


def importing(package: str, module: str) -> str:
    return function("() -> object", f"from {package} import {module}\n", f"return {module}")


# What one checker finds in a run: file, what is planted there, what is said of it.
PLANTED = {
    "linter": [
        ("core/paths.py", function("(x: int) -> None", *["if x:", "    print(x)"] * 12), "too complex (13 > 12)"),
        ("core/errors.py", function("() -> None", 'eval("1")'), "S307"),
    ],
    "imports": [
        ("core/paths.py", importing("modelcycle.tracking", "git"), "modelcycle.core.paths -> modelcycle.tracking.git"),
        ("serving/schema.py", importing("modelcycle.delivery", "image"), "serving.schema -> modelcycle.delivery.image"),
        ("core/page.py", importing("mlflow", "tracking"), "modelcycle.core.page -> mlflow"),
        ("core/table.py", importing("fastapi", "responses"), "modelcycle.core.table -> fastapi"),
    ],
    "rooms": [("lab/__init__.py", '"""A room that has no place yet."""\n', "- modelcycle.lab")],
    "names": [("core/paths.py", function("() -> str | None", "return __package__"), "return __package__")],
    "types": [("core/paths.py", function("(x)", "return x"), "Function is missing a type annotation")],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLANTED)
def test_make_check_finds_what_is_planted_in_the_machinery(tmp_path, kind):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(TEMPLATE / name, tmp_path)
    for name in ("hooks", "tests", "benchmarks"):
        (tmp_path / name).mkdir()
    shutil.copytree(TEMPLATE / "tools", tmp_path / "tools")  # whose types are checked as well
    (tmp_path / ".venv").symlink_to(sys.prefix)
    source = tmp_path / TREE.name / "src/modelcycle"
    shutil.copytree(TREE / "src/modelcycle", source, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text, _ in PLANTED[kind]:
        (source / path).parent.mkdir(exist_ok=True)
        with (source / path).open("a", encoding="utf-8") as module:
            module.write(text)
    command = ["make", "--old-file=.venv/ready", "check"]
    libraries = {"MYPY_CACHE_DIR": str(TEMPLATE / ".mypy_cache")}  # whose types take a quarter of a minute to read
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | libraries, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode != 0
    for _, _, complaint in PLANTED[kind]:
        assert complaint in done.stdout, done.stdout + done.stderr
