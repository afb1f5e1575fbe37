"""Compare the two scopes: how large the environment is, and how long a newcomer waits for it and for the first cycle.

    .venv/bin/python benchmarks/scope.py

Each round bakes both, in turn, with uv's cache warm, so that no download is timed.
"""

import statistics
from pathlib import Path

from baked import baked, run, seconds

ROUNDS = 2


def measure(scope: str) -> dict[str, float]:
    """Bake a scope and run a newcomer's first verbs."""
    with baked(scope=scope) as bake:
        setup = seconds(bake, "make", "setup")
        cycle = seconds(bake, "make", "cycle")
        packages = run(bake, "uv", "pip", "list", "--format", "freeze")[2].splitlines()
        sizes = [path.stat().st_size for path in Path(bake, ".venv").rglob("*") if path.is_file()]
    return {"setup, s": setup, "cycle, s": cycle, "packages": len(packages), "environment, MB": sum(sizes) / 1e6}


def main() -> None:
    """Measure both and print the figures."""
    rounds = [(measure("product"), measure("exploration")) for _ in range(ROUNDS)]
    print("| what | product | exploration | ratio |\n|---|---|---|---|")
    for name in rounds[0][0]:
        product, exploration = ([one[scope][name] for one in rounds] for scope in (0, 1))
        ratio = statistics.median(few / all_ for all_, few in zip(product, exploration, strict=True))
        print(f"| {name} | {statistics.median(product):.1f} | {statistics.median(exploration):.1f} | {ratio:.2f} x |")


if __name__ == "__main__":
    main()
