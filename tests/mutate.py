"""Plant small faults in the machinery, one at a time, and see whether the first two rooms notice: `make mutate`.

A fault is a changed comparison, operator, number or truth value, a condition turned round, a statement left out, or
nothing returned. Places and faults are chosen at random, by a new seed each time; `tests/mutate.py 60 SEED` repeats a
run. The tests of the fault's own room are asked first, then all others. What no test notices is listed at the end: a
test is missing there, or the fault changes nothing that matters.
"""

import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

TEMPLATE = Path(__file__).parents[1]
SOURCE = Path("{{cookiecutter.project_slug}}/src/modelcycle")
ROOMS = ("tests/modelcycle", "tests/template")
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip


def nodes_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk through a module; what stands in annotations, decorators, docstrings and f-strings is left out."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list") or isinstance(value, ast.JoinedStr):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(node, ast.JoinedStr):
                yield from nodes_of(node)


def change(node: ast.AST) -> ast.AST | None:
    """Give a node with a fault in place of a node; None where there is no fault to plant."""
    changed = copy.deepcopy(node)
    match changed:
        case ast.Compare(ops=[operator]) if type(operator) in OPERATORS:
            changed.ops = [OPERATORS[type(operator)]()]
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in OPERATORS:
            changed.op = OPERATORS[type(operator)]()
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return operand
        case ast.Constant(value=bool(value)):
            changed.value = not value
        case ast.Constant(value=int(value) | float(value)):
            changed.value = value + 1
        case ast.If(test=test) | ast.IfExp(test=test) | ast.comprehension(ifs=[test]):
            return None if isinstance(test, ast.Compare | ast.UnaryOp) else ast.UnaryOp(ast.Not(), test)
        case ast.Return(value=ast.expr()):
            changed.value = ast.Constant(None)
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            return ast.Pass()
        case _:
            return None
    return changed


def faults_of(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """List the faults that can be planted in a module: line, what stands there, what takes its place, the new text."""
    source = path.read_text(encoding="utf-8")
    lines = source.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    for node in nodes_of(ast.parse(source)):
        if (changed := change(node)) is None:
            continue
        at = node.ifs[0] if isinstance(node, ast.comprehension) else getattr(node, "test", node)
        begin, end = starts[at.lineno - 1] + at.col_offset, starts[at.end_lineno - 1] + at.end_col_offset
        written = ast.unparse(changed) if isinstance(changed, ast.stmt) else f"({ast.unparse(changed)})"
        text = (source.encode()[:begin] + written.encode() + source.encode()[end:]).decode()
        yield at.lineno, source.encode()[begin:end].decode(), written, text


def find_failure(folder: Path, room: str) -> str:
    """Give what pytest says of a test that fails, or nothing; those of a room are asked first."""
    own = f"tests/modelcycle/{room}"
    for tests in [[own], ROOMS] if (folder / own).is_dir() else [ROOMS]:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", *tests]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stdout + done.stderr
    return ""


def main(count: int, seed: int) -> int:
    """Plant as many faults, and say which of them nobody has noticed. Returns how many."""
    choice = random.Random(seed)
    modules = sorted((TEMPLATE / SOURCE).rglob("*.py"))
    faults = [(path.relative_to(TEMPLATE), *fault) for path in modules for fault in faults_of(path)]
    chosen, survivors = choice.sample(faults, count), []
    print(f"{count} of {len(faults):,} faults, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "template"
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=TEMPLATE, capture_output=True, check=True, text=True)
        for name in filter(None, tracked.stdout.split("\0")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TEMPLATE / name, folder / name)
        os.environ["GIT_CONFIG_GLOBAL"] = str(TEMPLATE / "tests/support/gitconfig")
        for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "whole"]):
            subprocess.run(["git", *words], cwd=folder, check=True)
        if failure := find_failure(folder, "none"):
            sys.exit(f"{failure}\nA test fails without any fault.")
        for path, line, before, after, text in track(chosen, "planting", transient=True):
            whole = (folder / path).read_text(encoding="utf-8")
            (folder / path).write_text(text, encoding="utf-8")
            noticed = find_failure(folder, path.relative_to(SOURCE).parts[0])
            (folder / path).write_text(whole, encoding="utf-8")
            told = f"{path.relative_to(SOURCE)}:{line}: {' '.join(before.split())} -> {' '.join(after.split())}"
            print(f"{'noticed ' if noticed else 'SURVIVES'} {told}", flush=True)
            survivors += [] if noticed else [told]
    print(f"{count - len(survivors)} of {count} were noticed. Not noticed:", *survivors, sep="\n  ")
    return len(survivors)


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    main(words[0] if words else 60, words[1] if words[1:] else random.SystemRandom().randrange(10**6))
