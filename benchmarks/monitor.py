"""Time `monitor` beside evidently 0.7 on a million answers with 20 columns, in turn, and print time and memory.

    .venv/bin/python benchmarks/monitor.py [ROWS]

Ours is all that `monitor` does between loading the champion and writing what it found: from the SQLite log to the
reasons of an alert; once with the sample that params.yaml asks for, once with all answers. evidently runs its
DataDriftPreset in an environment of its own, with a reference of 100,000 rows, of which ours has the profile. It has
no reader for the log, so json.loads and a frame stand in for one; it is also given the frame before the clock starts,
with all rows and with the first 50,000.

Each run is a process of its own; data are made before the clock starts, imports are not timed. The peak is that of the
whole process; processor time is that of all its threads and depends less on what else the machine does.
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

from baked import baked, run

RUNS = 3
SAMPLE = 50_000  # as in params.yaml
NUMBERS, CATEGORIES = [f"number_{i}" for i in range(15)], [f"category_{i}" for i in range(5)]
CASES = {
    "ours": (True, SAMPLE),
    "ours, all answers": (True, sys.maxsize),
    "evidently": (True, sys.maxsize),
    "evidently, given a frame": (False, sys.maxsize),
    "evidently, given a frame of 50,000": (False, SAMPLE),
}


def clocks() -> list[float]:
    """Read the clock and the processor time, in seconds."""
    return [time.perf_counter(), time.process_time()]


def elapsed(started: list[float]) -> list[float]:
    """Give the seconds since then, by both."""
    return [now - then for now, then in zip(clocks(), started, strict=True)]


def make_data(rows: int) -> None:
    """Write reference.parquet, current.parquet, the profile and a log; a fifth of the numbers has drifted."""
    import numpy as np
    import pandas as pd

    from modelcycle.versions.prediction_log import ANSWERS, check_log, open_log
    from modelcycle.versions.reference import describe_column

    random = np.random.default_rng(0)
    for name, many in (("reference", 100_000), ("current", rows)):
        table = {
            column: random.normal(0.2 * (name == "current" and i < 3), 1, many) for i, column in enumerate(NUMBERS)
        }
        table |= {column: random.choice(list("abcdefghij"), many) for column in CATEGORIES}
        pd.DataFrame(table).to_parquet(f"{name}.parquet")
    reference, current = pd.read_parquet("reference.parquet"), pd.read_parquet("current.parquet")
    profile = {
        name: describe_column(reference[name], "number" if name in NUMBERS else "category") for name in reference
    }
    Path("profile.json").write_text(json.dumps(profile))
    log = open_log("sqlite:///log.db")
    check_log(log)
    common = {"version": "1", "caller": "", "unusual": []}
    times = pd.date_range("2024-03-01", "2024-03-31", rows + 1)[:-1]
    for start in range(0, rows, 50_000):
        part, some = current[start : start + 50_000], times[start : start + 50_000]
        answers = []
        for at, inputs, p in zip(some, part.to_dict("records"), random.random(len(part)).tolist(), strict=True):
            answer = {"prediction": p > 0.5, "probabilities": {"False": 1 - p, "True": p}, "milliseconds": 5.0}
            facts = {"id": f"{at.value // 10**6:012x}{random.bytes(10).hex()}", "at": at.to_pydatetime()}
            answers.append(common | facts | {"inputs": inputs, "answer": answer})
        with log.begin() as transaction:
            transaction.execute(ANSWERS.insert(), answers)


def ours(_: bool, rows: int) -> tuple[list[float], list[str]]:
    """Compare with our package; gives the seconds by `clocks` and the columns that drifted."""
    from datetime import datetime

    import numpy as np
    import pandas as pd

    from modelcycle.core.contract import Contract
    from modelcycle.core.team import Project
    from modelcycle.monitoring.monitor import compare_with_training
    from modelcycle.versions.bundle import Bundle
    from modelcycle.versions.params import Monitor
    from modelcycle.versions.prediction_log import open_log
    from modelcycle.versions.reference import describe_column

    profile = json.loads(Path("profile.json").read_text())
    types = {name: "number" if name in NUMBERS else "category" for name in profile}
    columns = {name: {"role": "feature", "type": kind} for name, kind in types.items()}
    contract = Contract(description="", columns=columns | {"happened": {"role": "target", "type": "boolean"}})
    uniform = describe_column(pd.Series(np.linspace(0, 1, 10_000)), "number")
    test = {"figures": {"roc_auc": {}}, "prediction": {"of": "probability_True", **uniform}}
    served = Bundle("1", {}, contract, None, Project(package="benchmark"), profile, test)
    span = datetime(2024, 3, 1), datetime(2024, 4, 1)
    started = clocks()
    result, _ = compare_with_training(open_log("sqlite:///log.db"), served, *span, Monitor(sample=rows), 500)
    return elapsed(started), [row["column"] for row in result["differences"] if row["alert"]]


def evidently(from_log: bool, rows: int) -> tuple[list[float], list[str]]:
    """Compare with evidently; gives the same as `ours`."""
    import sqlite3

    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    reference, current = pd.read_parquet("reference.parquet"), None
    if not from_log:
        current = pd.read_parquet("current.parquet")[:rows]
    started = clocks()
    if current is None:
        logged = sqlite3.connect("log.db").execute("select inputs from predictions where version = '1'")
        current = pd.DataFrame([json.loads(inputs) for (inputs,) in logged])
    result = Report([DataDriftPreset()]).run(current, reference).dict()
    seconds = elapsed(started)
    found = [metric for metric in result["metrics"] if metric["metric_name"].startswith("ValueDrift")]
    return seconds, [m["config"]["column"] for m in found if float(m["value"]) > m["config"].get("threshold", 0.1)]


def measure(python: list[str], folder: Path, *arguments: str) -> dict:
    """Run this file in a folder and a process of its own."""
    command = [*python, str(Path(__file__).resolve()), *arguments]
    printed = run(folder, *command)[2]
    return json.loads(printed.splitlines()[-1]) if printed else {}


def main(rows: int) -> None:
    """Bake, make the data, run all cases in turn, and print the figures."""
    with baked("setup") as bake:
        work = bake.parent
        our_python = [str(bake / ".venv/bin/python")]
        run(work, "uv", "venv", "--quiet", "--python", "3.11", "theirs")
        install = ["uv", "pip", "install", "--quiet", "--python", "theirs", "evidently==0.7.*", "pandas<3", "pyarrow"]
        run(work, *install)
        their_python = [str(work / "theirs/bin/python")]
        measure(our_python, work, "data", str(rows))
        results: dict[str, list[dict]] = {case: [] for case in CASES}
        for _ in range(RUNS):
            for case in CASES:
                results[case].append(measure(our_python if case.startswith("ours") else their_python, work, case))
    print(f"| {rows:,} x 20 | seconds | processor seconds | peak memory, MB | found | x our time | our memory |")
    print("|---|---|---|---|---|---|---|")
    our_seconds = [result["seconds"][0] for result in results["ours"]]
    our_peak = max(result["mb"] for result in results["ours"])
    for case, runs in results.items():
        seconds, processor = (statistics.median(column) for column in zip(*(r["seconds"] for r in runs), strict=True))
        ratio = statistics.median(r["seconds"][0] / least for r, least in zip(runs, our_seconds, strict=True))
        peak, found = max(result["mb"] for result in runs), len(runs[0]["found"])
        print(f"| {case} | {seconds:.1f} | {processor:.1f} | {peak:,.0f} | {found} |", end="")
        print(f" {ratio:.1f} | {our_peak / peak:.2f} |")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["data", rows]:
            make_data(int(rows))
        case [case] if case in CASES:
            taken, drifted = (ours if case.startswith("ours") else evidently)(*CASES[case])
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps({"seconds": taken, "mb": peak_mb, "found": drifted}))
        case arguments:
            main(int(arguments[0]) if arguments else 1_000_000)
