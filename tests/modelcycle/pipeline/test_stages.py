"""What the stages in dvc.yaml declare: all of the machinery that makes their results, and no more."""

import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.repository import TREE

SOURCE = TREE / "src"
STAGES = ("ingest", "prepare", "train", "evaluate")
# Modules that make no result: what they read is declared by itself (params.yaml, contract.yaml, the package), or they
# say where a file lies, how something is told, or where it is computed.
NEUTRAL = {
    *(f"modelcycle/core/{name}.py" for name in "config errors output params paths".split()),
    "modelcycle/pipeline/cluster.py",
    "modelcycle/tracking/store.py",
}


def files_of(path: str) -> set[str]:
    """List the files that a module of the machinery imports or, as `page.html` and the like, names."""
    text, found = (SOURCE / path).read_text(encoding="utf-8"), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modelcycle"):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {f"{name.replace('.', '/')}.py" for name in names}
        elif isinstance(node, ast.Import):
            found |= {f"{alias.name.replace('.', '/')}.py" for alias in node.names}
    pages = re.findall(r"""["']([a-z_]+\.(?:html|css|md))["']""", text)
    pages += [style for page in pages for style in re.findall('include "(.*?)"', read_beside(path, page))]
    found |= {str(Path(path).with_name(page)) for page in pages} | {f"modelcycle/core/{page}" for page in pages}
    return {name for name in found if (SOURCE / name).is_file()} - NEUTRAL


def read_beside(path: str, name: str) -> str:
    beside = (SOURCE / path).with_name(name)
    return beside.read_text(encoding="utf-8") if beside.is_file() else ""


def follow(path: str) -> set[str]:
    """List a module and all that it needs of the machinery, directly or through another one."""
    found, open_ones = {path}, [path]
    while open_ones:
        module = open_ones.pop()
        new = files_of(module) - found if module.endswith(".py") else set()
        found |= new
        open_ones += new
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_each_file_of_the_machinery_that_makes_its_results(stage):
    text = (TREE / "dvc.yaml").read_text(encoding="utf-8").replace("{{ cookiecutter.package_name }}", "package")
    text = re.sub(r"\{%-.*?%\}\n", "", text)  # conditions on rooms: all are chosen here
    declared = YAML(typ="safe", pure=True).load(text)["stages"][stage]["deps"]
    of_machinery = [path.removeprefix("src/") for path in declared if path.startswith("src/modelcycle/")]
    assert of_machinery == sorted(follow(f"modelcycle/pipeline/{stage}.py"))
    assert ("src/package" in declared) == (stage in ("train", "evaluate"))


def test_what_is_left_out_is_there_and_needed():
    """Or a file of that name would be left out one day without a thought."""
    needed = set()
    for stage in STAGES:
        for path in follow(f"modelcycle/pipeline/{stage}.py"):
            text = (SOURCE / path).read_text(encoding="utf-8")
            needed |= {name for name in NEUTRAL if name.removesuffix(".py").replace("/", ".") in text}
    assert needed == NEUTRAL
