"""Time the cycle of the default bake, release, rollback and trace, and a `dvc repro` with nothing to do.

    .venv/bin/python benchmarks/cycle.py

Bakes into a temporary folder and sets it up, which is not timed. The floor of `dvc repro` is a pipeline of as many
shell stages with as many dependencies, outputs and parameters that hold one byte each, run by the same DVC, in turn
with ours. What release, rollback and trace take is mostly MLflow's import and its opening of the store: that is timed
alone.
"""

import shutil
import statistics
from pathlib import Path

from baked import baked, commit, seconds
from ruamel.yaml import YAML

RUNS = 7


def empty_pipeline(bake: Path, folder: Path) -> None:
    """Write a pipeline of the same shape whose stages only touch their outputs."""
    stages = YAML(typ="safe").load((bake / "dvc.yaml").read_text())["stages"]
    outputs = [path for stage in stages.values() for path in stage["outs"]]
    for stage in stages.values():
        stage["outs"] += stage.pop("metrics", [])
        stage["deps"] = ["source" if "$" in path else path for path in stage["deps"]]
        stage["cmd"] = " && ".join(f"echo x > {path}" for path in stage["outs"])
        outputs += stage["outs"]
    for path in {path for stage in stages.values() for path in stage["deps"]} - set(outputs):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    for name in {Path(path).parent for path in outputs}:
        (folder / name).mkdir(exist_ok=True)
    shutil.copy(bake / "params.yaml", folder)
    YAML().dump({"stages": stages}, folder / "dvc.yaml")
    (folder / ".venv").symlink_to(bake / ".venv")
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"], ["dvc", "repro"]):
        seconds(folder, *command)


def release_twice(bake: Path) -> dict[str, float]:
    """Release, change the gate and release again, trace, roll back: the seconds of each."""
    commit(bake)
    taken = {"release, the first": seconds(bake, "modelcycle", "release")}
    params = bake / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("slice_gap: 0.1", "slice_gap: 0.2"), encoding="utf-8")
    commit(bake)
    taken["release, with a duel"] = seconds(bake, "modelcycle", "release")
    taken["trace (median of 5)"] = statistics.median(seconds(bake, "modelcycle", "trace") for _ in range(5))
    taken["rollback"] = seconds(bake, "modelcycle", "rollback")
    store = ["python", "-c", "from modelcycle.tracking.store import connect; connect()"]
    taken["of each: opening MLflow's store (median of 5)"] = statistics.median(seconds(bake, *store) for _ in range(5))
    return taken


def main() -> None:
    """Bake, set up, and print the figures."""
    with baked("setup") as bake:
        floor = bake.parent / "floor"
        floor.mkdir()
        cold = seconds(bake, "make", "cycle")
        warm = [seconds(bake, "dvc", "repro", "--force", "--no-run-cache") for _ in range(3)]
        stages = {name: seconds(bake, "modelcycle", name) for name in ("ingest", "prepare", "train", "evaluate")}
        releases = release_twice(bake)
        empty_pipeline(bake, floor)
        pairs = [(seconds(bake, "dvc", "repro"), seconds(floor, "dvc", "repro")) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print("| what | seconds |\n|---|---|")
    print(f"| `make cycle`, the first after set-up | {cold:.1f} |")
    print(f"| all four steps again (median of 3) | {statistics.median(warm):.1f} |")
    for name, taken in stages.items():
        print(f"| {name} alone, start-up included | {taken:.1f} |")
    for name, taken in releases.items():
        print(f"| {name} | {taken:.1f} |")
    print(f"| `dvc repro` with nothing to do (median of {RUNS}) | {ours:.2f} |")
    print(f"| the same with empty shell stages | {theirs:.2f}, ours takes {ratio:.2f} x |")


if __name__ == "__main__":
    main()
