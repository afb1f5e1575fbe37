"""Plant small faults in the machinery, one at a time, and see whether the first two rooms notice: `make mutate`.

A fault is a changed comparison, operator, number or truth value, a condition turned round, a statement left out, or
nothing returned. Places and faults are chosen at random, by a new seed each time; `tests/mutate.py 60 SEED` repeats a
run. The fault's own room is asked first, then all of `make test-fast`, and last the room's slow tests. What nothing of
these notices is listed at the end: a test is missing there, or the fault changes nothing that matters.
"""

import ast
import copy
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import track

TEMPLATE = Path(__file__).parents[1]
SOURCE = Path("{{cookiecutter.project_slug}}/src/modelcycle")
ROOMS = ("tests/modelcycle", "tests/template")
NO_TESTS = 5  # pytest's exit status for a room without a slow one
MOST_SECONDS = 900  # a fault with which the tests never end is noticed
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


def find_failure(folder: Path, room: str) -> tuple[str, str]:
    """Give what pytest says of a test that fails, and whether the fast or the slow ones have it; nothing where none."""
    own = f"tests/modelcycle/{room}"
    asked = [("fast", [own]), ("fast", ROOMS), ("slow", [own])]
    for speed, tests in asked if (folder / own).is_dir() else [("fast", ROOMS)]:
        marked = "slow" if speed == "slow" else "not slow"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "--no-header", "-m", marked, *tests]
        options = {"capture_output": True, "text": True, "check": False, "timeout": MOST_SECONDS}
        try:
            done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, **options)
        except subprocess.TimeoutExpired:
            return "The tests wait for ever.", speed
        if done.returncode not in (0, NO_TESTS):
            return done.stdout + done.stderr, speed
    return "", ""


def copy_template(folder: Path) -> None:
    """Copy the template, as it is here, into a repository of its own."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=TEMPLATE, capture_output=True, check=True, text=True)
    for name in filter(None, tracked.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TEMPLATE / name, folder / name)
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "whole"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def main(count: int, seed: int) -> int:
    """Plant as many faults, one on each processor, and say which of them nobody has noticed. Returns how many."""
    choice = random.Random(seed)
    modules = sorted((TEMPLATE / SOURCE).rglob("*.py"))
    faults = [(path.relative_to(TEMPLATE), *fault) for path in modules for fault in faults_of(path)]
    print(f"{count} of {len(faults):,} faults, seed {seed}", flush=True)
    os.environ["GIT_CONFIG_GLOBAL"] = str(TEMPLATE / "tests/support/gitconfig")
    n_processors = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(n_processors) as workers:
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(n_processors):
            copy_template(folder := Path(scratch) / f"template-{number}")
            folders.put(folder)

        def plant(fault: tuple[Path, int, str, str, str]) -> tuple[str, str]:
            """Plant a fault; gives which tests have noticed it, or nothing, and its description."""
            (path, line, before, after, text), folder = fault, folders.get()
            whole = (folder / path).read_text(encoding="utf-8")
            (folder / path).write_text(text, encoding="utf-8")
            _, noticed = find_failure(folder, path.relative_to(SOURCE).parts[0])
            (folder / path).write_text(whole, encoding="utf-8")
            folders.put(folder)
            told = f"{path.relative_to(SOURCE)}:{line}: {' '.join(before.split())} -> {' '.join(after.split())}"
            print(f"{noticed or 'SURVIVES':8} {told}", flush=True)
            return noticed, told

        failure, _ = find_failure(folder, "none")
        if failure:
            sys.exit(f"{failure}\nA test fails without any fault.")
        results = list(track(workers.map(plant, choice.sample(faults, count)), "planting", count, transient=True))
    survivors = [told for noticed, told in results if not noticed]
    n_slow = sum(noticed == "slow" for noticed, _ in results)
    told = f"{count - len(survivors)} of {count} were noticed, {n_slow} of them by slow tests alone. Not noticed:"
    print(told, *survivors, sep="\n  ")
    return len(survivors)


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    main(words[0] if words else 60, words[1] if words[1:] else random.SystemRandom().randrange(10**6))
