"""Play the second half of the year in a baked repository: answer, learn late what became of it, monitor, retrain.

    cd build/flight-delays && .venv/bin/python ../../tools/year.py ..

The source is cut off at the end of June and the model released. Then the flights of each month are asked for in two
halves; the outcomes of one half arrive after the next one is answered. At the end of each month `retrain --if-alert`
runs. Writes year.html, and year.json with the figures behind it, into the folder that is named.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap

from modelcycle.core.contract import Contract, extract_target, find_violations, read_contract
from modelcycle.core.metrics import draw_resamples, score_resamples
from modelcycle.core.page import render_page
from modelcycle.core.plots import BLUE, GREY, ORANGE, make_axes, render_svg
from modelcycle.core.team import read_project
from modelcycle.tracking import store
from modelcycle.versions import registry
from modelcycle.versions.bundle import load_version
from modelcycle.versions.ledger import champion_number, read_ledger

SOURCE = Path("example/flights.csv")
MONTHS = pd.period_range("2013-07", "2013-12", freq="M")
TIME, TARGET = "scheduled_departure", "late"
AT_ONCE = 500  # rows in a request
DRAWS = 500  # resamples for an interval


def tool(*arguments: str, passes: tuple[int, ...] = (0,)) -> str:
    """Run a command of the repository, or git or dvc, and give what it printed; stop where it fails."""
    command = list(arguments) if arguments[0] == "git" else [sys.executable, "-m", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False)
    if done.returncode not in passes:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def commit(message: str) -> None:
    """Put all changes into git."""
    tool("git", "add", "--all")
    tool("git", "commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)


class Client:
    """Asks the service over one connection."""

    def __init__(self, port: int) -> None:
        """Name the service's port; the first request connects."""
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, path: str, body: Any = None) -> Any:
        """Send JSON, or nothing, and give the JSON of the answer; stop at any status but 200."""
        data = None if body is None else json.dumps(body)
        self.connection.request("GET" if body is None else "POST", path, data, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        content = response.read()
        if response.status != 200:
            sys.exit(f"{path} answered {response.status}: {content.decode()[:500]}")
        return json.loads(content)


@contextmanager
def service() -> Iterator[Client]:
    """Run the service on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"SERVE_PORT": str(port), "SERVE_OPEN": "true", "SERVE_POLL_SECONDS": "1"}
    command = [sys.executable, "-m", "modelcycle", "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            client = Client(port)
            for _ in range(300):
                try:
                    client.ask("/ready")
                    break
                except OSError:
                    client = Client(port)
                    time.sleep(0.2)
            yield client
        finally:
            process.terminate()


def answer(client: Client, rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Ask for (n, m) rows; gives them with prediction_id, version and probability."""
    bodies = json.loads(rows[contract.names("key", "time", "feature")].to_json(orient="records", date_format="iso"))
    given = [found for i in range(0, len(bodies), AT_ONCE) for found in client.ask("/predict", bodies[i : i + AT_ONCE])]
    return rows.assign(
        prediction_id=[one["id"] for one in given],
        version=[one["version"] for one in given],
        probability=[one["probabilities"]["True"] for one in given],
    )


def send_outcomes(client: Client, answered: pd.DataFrame) -> None:
    """Send what became of the answers, where it is known."""
    for row in answered[answered[TARGET].notna()].itertuples():
        client.ask("/feedback", {"id": row.prediction_id, "outcome": bool(row.late)})


def compare(rows: pd.DataFrame, in_use: np.ndarray, first: np.ndarray, contract: Contract) -> dict[str, list[float]]:
    """Give value, low and high of the ROC AUC of both (n,) probabilities on (n, m) rows, and of their difference.

    The intervals are bootstrap intervals; that of the difference is paired: both see the same resamples.
    """
    known = rows[TARGET].notna().to_numpy()
    truth, figures = extract_target(rows[known], contract), []
    for late in (in_use[known], first[known]):
        table = pd.DataFrame({"prediction": np.where(late > 0.5, "True", "False")})
        table["probability_False"], table["probability_True"] = 1 - late, late
        weights = [np.ones((1, len(truth))), *draw_resamples(len(truth), DRAWS)]
        figures.append(np.concatenate([score_resamples(truth, table, some)["roc_auc"] for some in weights]))
    named = {"in_use": figures[0], "first": figures[1], "difference": figures[0] - figures[1]}
    return {name: [float(x) for x in (all_[0], *np.quantile(all_[1:], [0.025, 0.975]))] for name, all_ in named.items()}


def play(contract: Contract) -> dict[str, Any]:
    """Play the year; gives what happened, month by month."""
    flights = pd.read_csv(SOURCE)
    rows, _ = find_violations(flights, contract)
    month = rows[TIME].dt.to_period("M")
    flights[(month < MONTHS[0]).to_numpy()].to_csv(SOURCE, index=False)
    commit("Know the year up to June only")
    tool("dvc", "repro")
    commit("Reproduce")
    print(tool("modelcycle", "release").splitlines()[-1], flush=True)
    commit("Cards of the first version")
    client = store.connect()
    first = load_version(client, registry.find_version(client, "1"))
    story: list[dict[str, Any]] = []
    late = rows.head(0).assign(prediction_id="")
    with service() as served:
        for now in MONTHS:
            began = datetime.now(UTC)
            this_month = []
            asked = rows[month == now].sort_values(TIME)
            for half in (asked.iloc[: len(asked) // 2], asked.iloc[len(asked) // 2 :]):
                answered = answer(served, half, contract)
                send_outcomes(served, late)
                late = answered
                this_month.append(answered)
            answered = pd.concat(this_month)
            frozen = first.predict(answered)["probability_True"].to_numpy()
            figures = compare(answered, answered["probability"].to_numpy(), frozen, contract)
            tool("modelcycle", "monitor", "--since", began.isoformat(), passes=(0, 2))
            found = json.loads(Path("reports/monitoring.json").read_text(encoding="utf-8"))
            until = str((now + 1).start_time.date())
            known = len(read_ledger(client))
            tool("modelcycle", "retrain", "--if-alert", "--until", until, passes=(0, 1))
            decisions = [f"version {entry.version} {entry.event}" for entry in read_ledger(client)[known:]]
            facts = {
                "month": str(now),
                "version": answered["version"].iloc[0],
                "answers": len(answered),
                "late": float(answered[TARGET].astype("float64").mean()),
                "predicted": float(answered["probability"].mean()),
                **figures,
                "outcomes": found["quality"]["labels"],
                "alerts": found["alerts"],
                "drift": {
                    row["column"] if row["what"] == "values" else "the prediction": row["effect"] / row["limit"]
                    for row in found["differences"]
                    if row["what"] in ("values", "prediction")
                },
                "decision": ", ".join(decisions) or "nothing decided",
            }
            story.append(facts)
            shown = "roc_auc {:.3f} ({:.3f} to {:.3f})".format(*figures["in_use"])
            print(
                f"{now}   version {facts['version']}: {shown}, {len(found['alerts'])} alerts, {facts['decision']}",
                flush=True,
            )
            champion = champion_number(read_ledger(client))
            served.connection.close()  # idle for longer than the service keeps a connection; the next request opens one
            while served.ask("/ready")["version"] != champion:
                time.sleep(0.2)
    return {"test": first.expected["figures"]["roc_auc"], "months": story}


def plot_figures(months: list[dict[str, Any]], test: dict[str, float]) -> Markup:
    """Draw the figure of the version in use and of the first one, month by month, beside that of the test data."""
    figure, plot = make_axes(3.4)
    plot.axhspan(test["low"], test["high"], color=GREY, alpha=0.2, label="on the test data, January to June")
    for name, shift, color, label in [
        ("in_use", -0.08, BLUE, "the version in use"),
        ("first", 0.08, ORANGE, "version 1, had it been kept"),
    ]:
        value, low, high = np.array([month[name] for month in months]).T
        places = np.arange(len(months)) + shift
        plot.errorbar(places, value, [value - low, high - value], fmt="o", color=color, label=label)
    plot.set_xticks(range(len(months)), [f"{month['month']}\nversion {month['version']}" for month in months])
    plot.set_ylabel("ROC AUC with its 95 % interval")
    plot.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.3), ncols=2)
    return render_svg(figure, "The leading figure month by month")


def plot_drift(months: list[dict[str, Any]]) -> Markup:
    """Draw how far each column has moved, month by month, as a share of its limit."""
    table = pd.DataFrame({month["month"]: month["drift"] for month in months}).fillna(0)
    table = table.loc[table.max(axis=1).sort_values(ascending=False).index]
    figure, plot = make_axes(0.6 + 0.3 * len(table), left_open=True)
    plot.imshow(
        table, aspect="auto", cmap=LinearSegmentedColormap.from_list("drift", ["white", ORANGE]), vmin=0, vmax=4
    )
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        plot.text(column, row, f"{value:.1f}", ha="center", va="center", weight="bold" if value > 1 else "normal")
    plot.set_xticks(range(len(months)), table.columns)
    plot.set_yticks(range(len(table)), table.index)
    plot.tick_params(length=0)
    plot.spines["bottom"].set_visible(False)
    return render_svg(figure, "Drift of each column month by month, as a share of its limit")


def main() -> None:
    """Play, and write the page."""
    folder = Path(sys.argv[1]).resolve()
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    who = {"NAME": "Demo", "EMAIL": "demo@example.com"}
    os.environ.update({f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()})
    year = play(read_contract())
    (folder / "year.json").write_text(json.dumps(year, indent=1) + "\n", encoding="utf-8")
    months = year["months"]
    plots = {"figures": plot_figures(months, year["test"]), "drift": plot_drift(months)}
    page = render_page(
        Path(__file__).with_name("year.html"), read_project().title, year=year, months=months, plots=plots
    )
    (folder / "year.html").write_text(page, encoding="utf-8")
    print(f"The year: {folder / 'year.html'}")


if __name__ == "__main__":
    main()
