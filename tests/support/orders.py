"""A repository for a table of orders of its own, answers to orders, and what became of them."""

import csv
import json
from pathlib import Path

from support.repository import Repository

SOURCE = "data/orders.csv"
ANSWER = """
import json, sys
from datetime import datetime
from modelcycle.serving.answer import Job, answer_jobs
from modelcycle.tracking import store
from modelcycle.versions import prediction_log
from modelcycle.versions.bundle import load_champion
engine = prediction_log.open_log()
rows = json.loads(sys.argv[1])
rows_as_sent = [row | {"ordered": datetime.fromisoformat(row["ordered"])} for row, _ in rows]
job = Job(rows_as_sent, "test", load_champion(store.connect()), None)
answer_jobs([job])
with prediction_log.connect_writer(engine) as connection:
    prediction_log.write_answers(connection, job.lines)
for given, (_, outcome) in zip(job.answers, rows):
    if outcome is not None:
        prediction_log.write_feedback(engine, given["id"], outcome, "")
"""


def make_orders(repository: Repository, folder: Path) -> Repository:
    """Let a repository that is baked, installed and committed adopt a table of orders and release its first model.

    folder: for the table. It is then written as a file that rows can't be appended to: all quoted, with a line below
    the last row.
    """
    table = folder / "orders.csv"
    with table.open("w", encoding="utf-8", newline="") as content:
        writer = csv.writer(content, delimiter=";")
        writer.writerow(["order", "ordered", "price", "shop", "returned"])
        for i in range(1200):
            price = i * 37 % 100 + 0.5
            returned = (price > 70) != (i % 7 == 0)  # not quite: adopt would take the price for the answer itself
            row = [i, f"2024-01-{i % 28 + 1:02}", str(price).replace(".", ","), ["Köln", "Bonn"][i % 2]]
            writer.writerow([*row, "ja" if returned else "nein"])
    repository.run("modelcycle", "adopt", str(table), "--target", "returned", "--key", "order", "--time", "ordered")
    with (repository.path / SOURCE).open("w", encoding="utf-8", newline="") as content:
        writer = csv.writer(content, delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writerows(csv.reader(table.open(encoding="utf-8"), delimiter=";"))
        writer.writerow(["1200 orders", "", "", "", ""])
    repository.replace("params.yaml", "csv: {", "csv: {quoting: 1, skipfooter: 1, engine: python, ")
    repository.run("dvc", "add", SOURCE)
    repository.commit("adopt")
    repository.run("make", "reproduce")
    repository.commit("reproduce")
    repository.run("modelcycle", "release")
    repository.commit("cards")
    return repository


def answer(repository: Repository, *cases: tuple[dict, bool | None]) -> None:
    """Let the champion answer rows and log it, each with its outcome; None: not known."""
    repository.run("python", "-c", ANSWER, json.dumps(cases))


def order(number: int | None, price: float) -> dict:
    """Give an order's row."""
    return {"order": number, "ordered": "2024-02-01T00:00:00", "price": price, "shop": "Köln"}
