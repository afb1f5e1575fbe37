"""Time batch prediction and a search for parameters on Dask beside one process, in turn, and print ratios.

    .venv/bin/python benchmarks/dask.py [ROWS ...]

Bakes into a temporary folder, sets it up with Dask and releases, which is not timed. ROWS: how many rows to predict,
in eight files; without any 1 and 20 million. Each time is that of the whole command, the median of three below five
million rows, of one above. Two schedulers run on this machine, one with one worker, one with two. A worker has one
thread, and so has the model everywhere (OMP_NUM_THREADS=1). From 20 million rows with one worker, the plan in the
bake's docs/scale.md is written anew.
"""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from baked import baked, commit, environment, run

FILES = 8
CLUSTERS = {"tcp://127.0.0.1:28786": 1, "tcp://127.0.0.1:28787": 2}  # address: workers
SEARCH = "{trials: 6, folds: 3, parameters: {learning_rate: [0.02, 0.05, 0.1], max_iter: [50, 100]}}"


def write_rows(folder: Path, rows: int) -> str:
    """Write so many rows, drawn from the test data, each with a key of its own, into eight files."""
    test = pd.read_parquet(folder / "data/test.parquet").drop(columns="late")
    schema = pa.Schema.from_pandas(test, preserve_index=False)
    inputs = folder / f"data/{rows}"
    inputs.mkdir()
    for number in range(FILES):
        with pq.ParquetWriter(inputs / f"{number}.parquet", schema) as writer:
            for first in range(0, rows // FILES, 500_000):
                some = test.sample(min(500_000, rows // FILES - first), replace=True, random_state=first)
                some["flight_id"] += [f"-{number}-{row}" for row in range(first, first + len(some))]
                writer.write_table(pa.Table.from_pandas(some, schema, preserve_index=False))
    return str(inputs)


@contextmanager
def clusters(folder: Path) -> Iterator[None]:
    """Run the schedulers and their workers."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        command = ["dask", *words, "--no-dashboard"]
        processes.append(subprocess.Popen(command, cwd=folder, env=environment(folder), stderr=subprocess.DEVNULL))

    for address, workers in CLUSTERS.items():
        start("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2])
        for _ in range(workers):
            start("worker", address, "--nthreads", "1", "--no-nanny")
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


PAGE = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}/docs/scale.md"
MARKS = ("<!-- plan: written by benchmarks/dask.py of the template -->\n", "<!-- end of plan -->")
PLANNED, WORKERS, IN_A_FILE = 10_000_000_000, 100, 2_000_000  # rows; workers; rows
MEMORY = 0.6  # GB of a worker, the peak of benchmarks/predict.py at any number of rows


def plan(rows: int, seconds: int, size: int) -> str:
    """Reckon on paper from what one worker took for so many rows; size: bytes of a row in Parquet."""
    rate, files = rows / seconds, PLANNED // IN_A_FILE
    together, read = PLANNED / rate / WORKERS, 3 * PLANNED * size / 1e9
    hours, minutes = PLANNED / rate / 3600, together / 60
    return f"""\
A plan on paper for {PLANNED:,} rows of the example's columns. Measured: one worker with one thread takes
{seconds} s for {rows:,} rows in Parquet, start of the command included, on an idle machine, and about
{MEMORY} GB of memory whatever the file's size; a row is {size} bytes in Parquet.

| | |
|---|---|
| files | {files:,} of {IN_A_FILE:,} rows: what is lost with a worker, at most: {IN_A_FILE / rate:.0f} s of work |
| work | {PLANNED:,} rows at {rate:,.0f} a second: {hours:.0f} hours of one core |
| with {WORKERS} workers | {minutes:.0f} minutes, and {MEMORY * WORKERS:.0f} GB of memory in all |
| reading | each file twice for its md5 and once for its rows: {read:.0f} GB, {read / together:.1f} GB a second |
| tasks | {files:,}, at about a millisecond each for the scheduler: {files / 1000:.0f} seconds |
"""


def write_plan(rows: int, seconds: int, inputs: Path) -> None:
    """Write the plan into the page between its marks."""
    size = sum(path.stat().st_size for path in inputs.iterdir()) // rows
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(before + MARKS[0] + plan(rows, seconds, size) + MARKS[1] + after, encoding="utf-8")


def compare(name: str, work: Callable[[], float], runs: int = 3) -> float:
    """Do work in one process, with one and with two workers, in turn; print medians and ratios. Gives one worker's."""
    times: dict[str, list[float]] = {address: [] for address in ("", *CLUSTERS)}
    for _ in range(runs):
        for address, found in times.items():
            os.environ["DASK_SCHEDULER_ADDRESS"] = address
            found.append(work())
    alone, one, two = map(statistics.median, times.values())
    print(
        f"| {name} | {alone:.1f} s | {one:.1f} s | {two:.1f} s | {one / alone:.2f} x | {one / two:.2f} x |", flush=True
    )
    return one


def main() -> None:
    """Bake, release, and print a row for each size and for the search."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["DASK_SCHEDULER_ADDRESS"] = next(iter(CLUSTERS))  # so that `make setup` installs Dask
    with baked("setup") as bake:
        os.environ["DASK_SCHEDULER_ADDRESS"] = ""
        run(bake, "dvc", "repro")
        commit(bake)
        run(bake, "modelcycle", "release")
        params = bake / "params.yaml"
        params.write_text(
            params.read_text(encoding="utf-8").replace("search: null", f"search: {SEARCH}"), encoding="utf-8"
        )

        def predict(inputs: str) -> float:
            shutil.rmtree(bake / "data/out", ignore_errors=True)
            return run(bake, "modelcycle", "predict", inputs, "data/out")[0]

        with clusters(bake):
            print("| what | one process | one worker | two workers | Dask's overhead | a second worker brings |")
            print("|---|---|---|---|---|---|")
            compare("search, 6 trials of 3 folds", lambda: run(bake, "modelcycle", "train")[0])
            for rows in [int(text) for text in sys.argv[1:]] or [1_000_000, 20_000_000]:
                inputs = write_rows(bake, rows)
                runs = 3 if rows < 5_000_000 else 1
                seconds = compare(f"predict, {rows:,} rows", lambda inputs=inputs: predict(inputs), runs)
                if rows == 20_000_000:
                    write_plan(rows, round(seconds), Path(inputs))


if __name__ == "__main__":
    main()
