"""Load the service for ten minutes: requests, milliseconds and memory of each minute.

    .venv/bin/python benchmarks/load.py [MINUTES]

As benchmarks/serve.py: 8 connections of wrk that each send one row after the other, the durable log on.
"""

import signal
import sys
from pathlib import Path

from baked import baked
from serve import OURS, ROW, load, start


def megabytes(process: int) -> float:
    """Read how much memory a process holds."""
    (line,) = [x for x in Path(f"/proc/{process}/status").read_text().splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Bake, release, load, and print a row for each minute."""
    limits = {"SERVE_OPEN": "true", "SERVE_PORT": "PORT", "SERVE_REQUESTS_PER_MINUTE": "9999999"}
    with baked("cycle", "release") as bake:
        process, port = start(bake, OURS, "/health", **limits)
        print("| minute | requests a second | half took at most | 99 % took at most | memory |\n|---|---|---|---|---|")
        for minute in range(1, (int(sys.argv[1]) if len(sys.argv) > 1 else 10) + 1):
            rate, half, most = load(port, "/predict", f"[{ROW}]", 60, bake)
            memory = megabytes(process.pid)
            print(f"| {minute} | {rate:,.0f} | {half:.2f} ms | {most:.2f} ms | {memory:.1f} MB |", flush=True)
        process.send_signal(signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    main()
