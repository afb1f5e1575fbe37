"""The machinery in the template's own environment: what it needs, and that each check finds a fault that is planted."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import TEMPLATE, TREE


def read(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_the_machinery_is_tested_with_what_a_repository_installs():
    generated = read(TREE / "pyproject.toml")
    groups = [generated["dependency-groups"][name] for name in ("model", "pipeline", "service")]
    groups += [generated["project"]["optional-dependencies"]["dask"]]
    needed = {re.sub("{{.*?}}", "", requirement) for group in groups for requirement in group}
    assert set(read(TEMPLATE / "pyproject.toml")["dependency-groups"]["machinery"]) == needed


def function(signature: str, *body: str) -> str:
    return "\n    ".join([f"\n\ndef planted{signature}:", '"""Plant a fault."""', *body]) + "\n"


def importing(package: str, module: str) -> str:
    return function("() -> object", f"from {package} import {module}\n", f"return {module}")


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("core/paths.py", importing("modelcycle.tracking", "git"), "modelcycle.core.paths -> modelcycle.tracking.git"),
        ("serving/fast.py", importing("modelcycle.delivery", "image"), "serving.fast -> modelcycle.delivery.image"),
        ("core/paths.py", importing("mlflow", "tracking"), "modelcycle.core.paths -> mlflow"),
        ("core/paths.py", importing("fastapi", "responses"), "modelcycle.core.paths -> fastapi"),
        ("lab/__init__.py", '"""A room that has no place yet."""\n', "- modelcycle.lab"),
        ("core/paths.py", function("(x: int) -> None", *["if x:", "    print(x)"] * 12), "too complex (13 > 12)"),
        ("core/paths.py", function("() -> None", 'eval("1")'), "S307"),
        ("core/paths.py", function("() -> str | None", "return __package__"), "return __package__"),
        ("core/paths.py", function("(x)", "return x"), "Function is missing a type annotation"),
    ],
    ids=["upwards", "sideways", "mlflow", "fastapi", "new room", "too complex", "unsafe", "__package__", "untyped"],
)
def test_make_check_finds_what_is_planted_in_the_machinery(tmp_path, path, text, complaint):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(TEMPLATE / name, tmp_path)
    for name in ("hooks", "tests", "tools", "benchmarks"):
        (tmp_path / name).mkdir()
    (tmp_path / ".venv").symlink_to(sys.prefix)
    source = tmp_path / TREE.name / "src/modelcycle"
    shutil.copytree(TREE / "src/modelcycle", source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / path).parent.mkdir(exist_ok=True)
    with (source / path).open("a", encoding="utf-8") as module:
        module.write(text)
    command = ["make", "--old-file=.venv/ready", "check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode != 0
    assert complaint in done.stdout
