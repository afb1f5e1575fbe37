"""Time `predict` beside the same model in memory, in turn, and print ratios and peak memory.

    .venv/bin/python benchmarks/predict.py [ROWS ...]

Bakes into a temporary folder, sets it up and releases, which is not timed. ROWS: sizes of the files to predict, without
any 1 and 10 million. In memory: make_features and predict_proba on all rows at once, after they were read. Ours: the
whole command, from file to file with checks, md5 and manifest; its start, timed with a file of one row, is taken off
for the second ratio. Threads are as OMP_NUM_THREADS says.
"""

import statistics
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from baked import baked, run

RUNS = 3
IN_MEMORY = """
import sys, time
import pandas as pd
from modelcycle.versions.bundle import load_champion
from modelcycle.tracking.store import connect
champion, rows = load_champion(connect()), pd.read_parquet(sys.argv[1])
started = time.perf_counter()
running = champion.predictor
running.model.predict_proba(running.make_features(rows, champion.contract))
print(time.perf_counter() - started)
"""


def write_rows(folder: Path, rows: int) -> str:
    """Write a file of so many rows, drawn from the test data, each with a key of its own."""
    path, test = folder / f"data/{rows}.parquet", pd.read_parquet(folder / "data/test.parquet")
    schema = pa.Schema.from_pandas(test, preserve_index=False)
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, 1_000_000):
            some = test.sample(min(1_000_000, rows - first), replace=True, random_state=first)
            some["flight_id"] += [f"-{number}" for number in range(first, first + len(some))]
            writer.write_table(pa.Table.from_pandas(some, schema, preserve_index=False))
    return str(path)


def predict(folder: Path, path: str) -> tuple[float, float]:
    """Predict a file with the command; return seconds and MB."""
    for left in folder.glob("data/out.parquet*"):
        left.unlink()
    return run(folder, "modelcycle", "predict", path, "data/out.parquet")[:2]


def main() -> None:
    """Bake, release, and print a row for each size."""
    with baked("cycle", "release") as bake:
        start = statistics.median(predict(bake, write_rows(bake, 1))[0] for _ in range(RUNS))
        print("| rows | in memory | predict | speed | speed without the start | in memory, peak | predict, peak |")
        print("|---|---|---|---|---|---|---|")
        for rows in [int(text) for text in sys.argv[1:]] or [1_000_000, 10_000_000]:
            path, ours, theirs = write_rows(bake, rows), [], []
            for _ in range(RUNS):
                _, peak, seconds = run(bake, "python", "-c", IN_MEMORY, path)
                theirs.append((float(seconds), peak))
                ours.append(predict(bake, path))
            speed = statistics.median(one / other for (one, _), (other, _) in zip(theirs, ours, strict=True))
            bare = statistics.median(one / (other - start) for (one, _), (other, _) in zip(theirs, ours, strict=True))
            seconds, peak = map(statistics.median, zip(*theirs, strict=True))
            our_seconds, our_peak = map(statistics.median, zip(*ours, strict=True))
            print(
                f"| {rows:,} | {seconds:.1f} s | {our_seconds:.1f} s | {speed:.2f} x | {bare:.2f} x "
                f"| {peak:,.0f} MB | {our_peak:,.0f} MB |",
                flush=True,
            )
        print(f"\nThe start takes {start:.1f} s.")


if __name__ == "__main__":
    main()
