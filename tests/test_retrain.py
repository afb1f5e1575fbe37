"""What becomes known in use comes back as data: a new version of it, a new model, and the gate decides."""

import csv
import json
import signal
import subprocess

import pytest
from conftest import Repository, fork, use_environment

TOOL = "modelcycle"
ANSWER = """
import csv, json, sys
from datetime import datetime
from modelcycle.tracking import log, registry
from modelcycle.serving.answer import Job, answer_jobs
from modelcycle.tracking.bundle import load_champion
from modelcycle.core.settings import read_settings
engine = log.open_log(read_settings().database_url)
rows = json.loads(sys.argv[1])
job = Job([row | {"ordered": datetime.fromisoformat(row["ordered"])} for row, _ in rows], "test", None)
answer_jobs([job], load_champion(registry.connect()), None)
with log.connect_writer(engine) as connection:
    log.write_lines(connection, job.lines)
for given, (_, outcome) in zip(job.answers, rows):
    if outcome is not None:
        log.write_feedback(engine, given["id"], outcome, "")
"""


@pytest.fixture(scope="module")
def orders(bake, default, tmp_path_factory) -> Repository:
    """A repository that has adopted and released a table of orders, and has answered for new ones."""
    table = tmp_path_factory.mktemp("table") / "orders.csv"
    with table.open("w", encoding="utf-8", newline="") as content:
        writer = csv.writer(content, delimiter=";")
        writer.writerow(["order", "ordered", "price", "shop", "returned"])
        for i in range(1200):
            price = i * 37 % 100 + 0.5
            returned = (price > 70) != (i % 7 == 0)  # not quite: adopt would take the price for the answer itself
            row = [i, f"2024-01-{i % 28 + 1:02}", str(price).replace(".", ","), ["Köln", "Bonn"][i % 2]]
            writer.writerow([*row, "ja" if returned else "nein"])
    repository = bake()
    use_environment(repository.path, default)
    repository.commit()
    repository.run(TOOL, "adopt", str(table), "--target", "returned", "--key", "order", "--time", "ordered")
    repository.commit("adopt")
    repository.run("make", "reproduce")
    repository.commit("reproduce")
    repository.run(TOOL, "release")
    repository.commit("cards")
    return repository


def answer(repository: Repository, *cases: tuple[dict, bool | None]) -> None:
    repository.run("python", "-c", ANSWER, json.dumps(cases))


def order(number: int | None, price: float) -> dict:
    return {"order": number, "ordered": "2024-02-01T00:00:00", "price": price, "shop": "Köln"}


def test_a_run_that_was_stopped_before_the_gate_is_finished_by_the_next(orders, tmp_path):
    repository = fork(orders, tmp_path)
    answer(repository, *[(order(7000 + i, float(i % 100) + 0.25), i % 100 > 70) for i in range(100)])
    assert "MLFLOW_TRACKING_URI is not set" in repository.run(TOOL, "retrain", fails=True, CI="1")
    assert "version 2 is the champion, 1 was before" in repository.run(TOOL, "retrain")
    assert "nothing new" in repository.run(TOOL, "retrain")


def test_the_same_is_proposed_once(orders, tmp_path):
    git = ("git", "clone", "--quiet", "--bare", str(orders.path), str(tmp_path / "origin.git"))
    orders.run(*git)
    said = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        repository = fork(orders, tmp_path / name)
        repository.run("git", "remote", "add", "origin", str(tmp_path / "nowhere"))
        answer(repository, *[(order(8000 + i, float(i % 100) + 0.25), i % 100 > 70) for i in range(100)])
        printed = repository.run(TOOL, "retrain", "--propose", fails=True)
        assert "nowhere' does not appear to be a git repository" in printed
        repository.run("git", "remote", "set-url", "origin", str(tmp_path / "origin.git"))
        said.append(repository.run(TOOL, "retrain", "--propose"))
    assert "for review" in said[0]
    assert "the same is proposed already" in said[1]


def test_a_run_that_is_stopped_leaves_all_as_it_was(released, tmp_path):
    repository = fork(released, tmp_path)
    command = [TOOL, "retrain", "--until", "2013-08-01"]
    options = {"cwd": repository.path, "env": repository.environment(), "encoding": "utf-8"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:
        assert any("Running stage 'train'" in line for line in process.stdout)
        (repository.path / "src/flight_delays/features.py").write_text("# meanwhile\n", encoding="utf-8")
        process.terminate()
        process.stdout.read()
    assert process.returncode not in (0, -signal.SIGTERM)
    assert repository.run("git", "status", "--porcelain").split() == ["M", "src/flight_delays/features.py"]


def test_outcomes_become_rows_of_the_source_once(orders):
    path = orders.path / "data/orders.csv"
    before = path.read_text(encoding="utf-8")
    known = [(order(5000 + i, float(i % 100) + 0.25), (i % 100 > 70) != (i % 7 == 0)) for i in range(300)]
    answer(orders, *known, (order(6000, 5), None), (order(None, 5), True), (order(7, 5), True))
    printed = orders.run(TOOL, "retrain")
    assert "retrain   300 cases with their outcome" in printed
    assert "version 2 is the champion, 1 was before" in printed
    after = path.read_text(encoding="utf-8")
    assert after.startswith(before)
    added = after.removeprefix(before).splitlines()
    assert len(added) == 300
    assert added[0].split(";")[:4] == ["5000", "2024-02-01T00:00:00", "0,25", "Köln"]
    assert "0 rejected" in orders.run("dvc", "repro", "--force", "--single-item", "prepare")
    messages = orders.run("git", "log", "-2", "--format=%s").splitlines()
    assert messages == ["Write the cards of the new champion", "Retrain: 300 cases with their outcome"]
    assert 'all_broken": []' in orders.run(TOOL, "trace", "2", "--json")

    assert "nothing new" in orders.run(TOOL, "retrain")
    assert len(orders.run(TOOL, "release", "--history").splitlines()) == 2


def test_a_run_that_fails_says_why_and_leaves_all_as_it_was(orders, tmp_path):
    repository = fork(orders, tmp_path)
    answer(repository, *[(order(9000 + i, 5), True) for i in range(10)])
    before = (repository.path / "data/orders.csv").read_bytes()
    printed = repository.run(TOOL, "retrain", "--until", "2001-01-01", fails=True)
    assert "error: dvc failed: params.yaml: ingest.until is 2001-01-01 00:00:00, but the first row is" in printed
    assert repository.run("git", "status", "--porcelain") == ""
    assert (repository.path / "data/orders.csv").read_bytes() == before
    assert "10 cases with their outcome" in repository.run(TOOL, "retrain")


def test_a_half_written_page_is_not_committed(released, tmp_path):
    repository = fork(released, tmp_path)
    for name, staged in (("docs/roles.md", False), ("docs/process.md", True)):
        (repository.path / name).write_text(repository.read(name) + "half\n", encoding="utf-8")
        if staged:
            repository.run("git", "add", name)
    repository.run(TOOL, "retrain", "--until", "2013-08-01")
    assert repository.run("git", "show", "--format=", "--name-only", "HEAD~1").split() == ["dvc.lock", "params.yaml"]
    changed = repository.run("git", "show", "--format=", "--numstat", "HEAD~1", "--", "params.yaml").split()
    assert changed == ["1", "1", "params.yaml"]
    assert repository.run("git", "status", "--porcelain").split() == ["M", "docs/process.md", "M", "docs/roles.md"]


def test_a_later_time_brings_new_rows_and_the_gate_decides(released, tmp_path):
    repository = fork(released, tmp_path)
    printed = repository.run("make", "retrain", "UNTIL=2013-10-01")
    assert "retrain   0 cases with their outcome, data before 2013-10-01" in printed
    assert "version 2 is the champion, 1 was before" in printed
    assert 'until: "2013-10-01" # take the rows' in repository.read("params.yaml")
    assert "nothing new" in repository.run("make", "retrain", "UNTIL=2013-10-01")


def test_without_a_clean_tree_or_an_alert_nothing_is_done(released, tmp_path):
    repository = fork(released, tmp_path)
    head = repository.run("git", "rev-parse", "HEAD")
    assert "The log holds no answer of the champion" in repository.run(TOOL, "retrain", "--if-alert", fails=True)
    printed = repository.run(TOOL, "retrain", "--until", "tomorrow", fails=True)
    assert "--until is tomorrow; expected a date or time" in printed
    assert repository.run("git", "status", "--porcelain") == ""
    (repository.path / "notes.txt").write_text("mine\n", encoding="utf-8")
    assert "The work tree differs from the commit: notes.txt" in repository.run(TOOL, "retrain", fails=True)
    assert repository.run("git", "rev-parse", "HEAD") == head
