"""Load the service, `mlflow models serve` with the same model, and a route that does nothing, in turn.

The same model without any server says how many requests there could be at most: 8 rows, which is what 8 connections
can have waiting, or 1,000 rows, one call after the other.

    .venv/bin/python benchmarks/serve.py [SECONDS]

Bakes into a temporary folder, edits features.py as a team would, sets up and releases, which is not timed. The load
comes from wrk (apt install wrk): 8 connections that each send one row after the other. Every server is one process;
all get the same bytes.
"""

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from baked import baked, commit, environment, run

ROUNDS = 3
OURS = ["modelcycle", "serve"]
ROW = (
    '{"scheduled_departure": "2013-03-01T17:30:00", "carrier": "B6", "origin": "JFK", "dest": "BOS", "distance": 187, '
    '"temperature": 5.5, "humidity": 60, "wind_direction": 220, "wind_speed": 10, "wind_gust": null, '
    '"precipitation": 0, "pressure": 1017, "visibility": 10}'
)
MADE = "    return pd.DataFrame(features, index=rows.index)\n"
EDIT = """

usual_features = make_features


def make_features(rows, contract):
    features = usual_features(rows, contract)
    return features.assign(cold_wind=features["wind_speed"] * (20 - features["temperature"]))
"""
NOTHING = """
from fastapi import FastAPI
from fastapi.responses import JSONResponse
import uvicorn, sys
app = FastAPI()
@app.post("/predict")
async def nothing():
    return JSONResponse([])
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""
MLFLOW = """
import mlflow, sys
from modelcycle.versions.bundle import load_champion
from modelcycle.tracking.store import connect
champion = load_champion(connect())
class Same(mlflow.pyfunc.PythonModel):
    def __init__(self, bundle):
        self.bundle = bundle
    def predict(self, context, model_input):
        return self.bundle.predict(model_input).to_dict("records")
mlflow.pyfunc.save_model("served", python_model=Same(champion), pip_requirements=[])
"""

MODEL = """
import json, sys, time
from modelcycle.versions.questions import make_request_table
from modelcycle.versions.bundle import load_champion
from modelcycle.tracking.store import connect
row, n_rows, seconds = map(json.loads, sys.argv[1:])
champion = load_champion(connect())
table = make_request_table([row] * n_rows, champion.contract.inputs, champion.contract)
champion.predict(table)
begin, calls = time.perf_counter(), 0
while (taken := time.perf_counter() - begin) < seconds:
    champion.predict(table)
    calls += 1
print(calls / taken)
"""


def start(folder: Path, command: list[str], path: str, **settings: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server on a free port and wait until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [word.replace("PORT", str(port)) for word in command]
    settings = {name: value.replace("PORT", str(port)) for name, value in settings.items()}
    process = subprocess.Popen(
        words, cwd=folder, env=environment(folder) | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
            return process, port
        except urllib.error.HTTPError:
            return process, port
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(" ".join(words))


def load(port: int, path: str, body: str, seconds: int, folder: Path) -> tuple[float, float, float]:
    """Send requests; return requests a second and the milliseconds that 50 % and 99 % took at most."""
    script = folder / "load.lua"
    script.write_text(
        f"wrk.method, wrk.body = 'POST', [==[{body}]==]\n"
        "wrk.headers['Content-Type'] = 'application/json'\n"
        "done = function(s, l, r) io.write(string.format('%f %f %f %d\\n', s.requests / s.duration * 1e6, "
        "l:percentile(50) / 1000, l:percentile(99) / 1000, s.errors.status)) end\n"
    )
    address = f"http://127.0.0.1:{port}{path}"
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", "-s", str(script), address]
    *figures, refused = subprocess.run(command, capture_output=True, check=True).stdout.split()[-4:]
    assert refused == b"0", f"{refused!r} requests were refused"
    return tuple(float(figure) for figure in figures)  # type: ignore[return-value]


def main() -> None:
    """Bake, release, and print a row for each server."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    os.environ["OMP_NUM_THREADS"] = "1"
    with baked() as bake:
        features = bake / "src/flight_delays/features.py"
        text = features.read_text(encoding="utf-8")
        assert text.count(MADE) == 1
        features.write_text(text.replace(MADE, MADE + EDIT), encoding="utf-8")
        for verb in ("cycle", "release"):
            run(bake, "make", verb)
            commit(bake)
        run(bake, "python", "-c", MLFLOW)
        limits = {"SERVE_OPEN": "true", "SERVE_PORT": "PORT", "SERVE_REQUESTS_PER_MINUTE": "9999999"}
        in_memory = limits | {"DATABASE_URL": f"sqlite:////dev/shm/{bake.parent.name}.db"}
        mlflow = [
            "mlflow",
            "models",
            "serve",
            "--model-uri",
            "served",
            "--env-manager",
            "local",
            "--workers",
            "1",
            "--port",
            "PORT",
        ]
        many = ", ".join([ROW] * 1000)
        servers = {
            "this service, one row": (OURS, "/predict", f"[{ROW}]", limits),
            "this service, one row, log in memory": (OURS, "/predict", f"[{ROW}]", in_memory),
            "a route that does nothing": (["python", "-c", NOTHING, "PORT"], "/predict", f"[{ROW}]", {}),
            "mlflow models serve, one row": (mlflow, "/invocations", f'{{"dataframe_records": [{ROW}]}}', {}),
            "this service, 1,000 rows": (OURS, "/predict", f"[{many}]", limits),
            "mlflow models serve, 1,000 rows": (mlflow, "/invocations", f'{{"dataframe_records": [{many}]}}', {}),
        }
        alone = {"the model alone, 8 rows a call": (8, 8), "the model alone, 1,000 rows a call": (1000, 1)}
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in (*servers, *alone)}
        for _ in range(ROUNDS):
            for name, (n_rows, n_requests) in alone.items():
                calls = float(run(bake, "python", "-c", MODEL, ROW, str(n_rows), str(seconds))[2])
                found[name].append((calls * n_requests, 1000 / calls, 1000 / calls))
            for name, (command, path, body, settings) in servers.items():
                process, port = start(bake, command, "/health", **settings)
                load(port, path, body, 2, bake)
                found[name].append(load(port, path, body, seconds, bake))
                process.send_signal(signal.SIGTERM)
                process.wait()
        print("| server | requests a second | half took at most | 99 % took at most |\n|---|---|---|---|")
        for name, rounds in found.items():
            rate, half, most = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"| {name} | {rate:,.1f} | {half:.2f} ms | {most:.2f} ms |")
        rates = {name: statistics.median(rate for rate, _, _ in rounds) for name, rounds in found.items()}
        for name, other in [
            ("this service, one row", "mlflow models serve, one row"),
            ("this service, one row", "a route that does nothing"),
            ("this service, one row, log in memory", "a route that does nothing"),
            ("the model alone, 8 rows a call", "mlflow models serve, one row"),
            ("this service, 1,000 rows", "mlflow models serve, 1,000 rows"),
            ("the model alone, 1,000 rows a call", "mlflow models serve, 1,000 rows"),
        ]:
            print(f"{name}: {rates[name] / rates[other]:.2f} x {other}")


if __name__ == "__main__":
    main()
