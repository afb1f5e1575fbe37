"""Time a bake beside those of other templates, in turn, and print the ratios.

    .venv/bin/python benchmarks/bake.py [TEMPLATE ...]

TEMPLATE: folders or addresses of cookiecutter templates; without any, two small MLOps templates from GitHub, which are
cloned first so that no download is timed.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
PEERS = ["fmind/cookiecutter-mlops-package", "Chim-SO/cookiecutter-mlops"]
RUNS = 11


def clone(repository: str, folder: Path) -> Path:
    """Clone a repository from GitHub into a folder."""
    path = folder / repository.split("/")[1]
    subprocess.run(
        ["git", "clone", "--quiet", "--depth", "1", f"https://github.com/{repository}", str(path)], check=True
    )
    return path


def bake(template: Path, folder: Path) -> tuple[float, int]:
    """Bake the default answers; return the seconds of the whole process and the number of files."""
    started = time.perf_counter()
    command = ["cookiecutter", "--no-input", "--default-config", "--output-dir", str(folder), str(template)]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    files = sum(path.is_file() for path in folder.rglob("*"))
    shutil.rmtree(folder)
    return seconds, files


def main() -> None:
    """Bake all templates in turn and print a row for each."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        peers = [Path(path) for path in sys.argv[1:]] or [clone(name, work) for name in PEERS]
        templates = [HERE, *peers]
        seconds: dict[Path, list[float]] = {template: [] for template in templates}
        files = {}
        for run in range(RUNS + 1):
            for template in templates:
                taken, files[template] = bake(template, work / "bake")
                if run:  # the first round only warms up
                    seconds[template].append(taken)
    print("| template | files | seconds (median) | this one takes |\n|---|---|---|---|")
    for template in templates:
        ratio = statistics.median(ours / theirs for ours, theirs in zip(seconds[HERE], seconds[template], strict=True))
        print(f"| {template.name} | {files[template]} | {statistics.median(seconds[template]):.2f} | {ratio:.2f} x |")


if __name__ == "__main__":
    main()
