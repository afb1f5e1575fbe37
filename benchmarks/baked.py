"""What the benchmarks share: a bake in a temporary folder, and commands that are run and timed in it."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parents[1]


def environment(folder: Path) -> dict[str, str]:
    """Give the environment of a folder's commands: its own tools come first."""
    left_out = ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "CI")
    clean = {name: value for name, value in os.environ.items() if name not in left_out}
    return clean | {"PATH": os.pathsep.join([str(folder / ".venv/bin"), os.environ["PATH"]])}


def run(folder: Path, *command: str) -> tuple[float, float, str]:
    """Run a command in a folder; return the seconds of the whole process, its peak memory in MB and what it printed."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    printed = process.stdout.read().decode() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"{' '.join(command)}: {printed}"
    return time.perf_counter() - started, used.ru_maxrss / 1024, printed


def seconds(folder: Path, *command: str) -> float:
    """Run a command in a folder; return how long the whole process took."""
    return run(folder, *command)[0]


def commit(folder: Path) -> None:
    """Put everything into git."""
    author = ["-c", "user.name=B", "-c", "user.email=b@example.com"]
    run(folder, "git", "add", "--all")
    run(folder, "git", *author, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", "benchmark")


@contextmanager
def baked(*verbs: str, **answers: str) -> Iterator[Path]:
    """Bake the default answers, or others, run verbs of make and commit; the folder goes away at the end."""
    with TemporaryDirectory() as scratch:
        others = [f"{name}={value}" for name, value in answers.items()]
        run(HERE, "cookiecutter", "--no-input", "--output-dir", scratch, str(HERE), *others)
        folder = Path(scratch) / "flight-delays"
        for verb in verbs:
            run(folder, "make", verb)
            if (folder / ".git").exists():
                commit(folder)
        yield folder
