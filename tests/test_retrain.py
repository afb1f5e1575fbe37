"""What becomes known in use comes back as data: a new version of it, a new model, and the gate decides."""

import csv
import json
import re
import signal
import subprocess
import textwrap

import pandas as pd
import pytest
from conftest import Repository, fork, use_environment

TOOL = "modelcycle"
ANSWER = """
import csv, json, sys
from datetime import datetime
from modelcycle.tracking import prediction_log, store
from modelcycle.serving.answer import Job, answer_jobs
from modelcycle.tracking.bundle import load_champion
from modelcycle.core.settings import read_settings
engine = prediction_log.open_log(read_settings().database_url)
rows = json.loads(sys.argv[1])
job = Job([row | {"ordered": datetime.fromisoformat(row["ordered"])} for row, _ in rows], "test", None)
answer_jobs([job], load_champion(store.connect()), None)
with prediction_log.connect_writer(engine) as connection:
    prediction_log.write_answers(connection, job.lines)
for given, (_, outcome) in zip(job.answers, rows):
    if outcome is not None:
        prediction_log.write_feedback(engine, given["id"], outcome, "")
"""
SOURCE = "data/orders.csv"


@pytest.fixture(scope="module")
def orders(bake, default, tmp_path_factory) -> Repository:
    """A repository that has adopted and released a table of orders.

    The table is then written as a file that rows can't be appended to: all quoted, with a line below the last row.
    """
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
    with (repository.path / SOURCE).open("w", encoding="utf-8", newline="") as content:
        writer = csv.writer(content, delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writerows(csv.reader(table.open(encoding="utf-8"), delimiter=";"))
        writer.writerow(["1200 orders", "", "", "", ""])
    repository.replace("params.yaml", "csv: {", "csv: {quoting: 1, skipfooter: 1, engine: python, ")
    repository.run("dvc", "add", SOURCE)
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


def test_a_run_that_fails_says_why_and_leaves_all_as_it_was(orders, tmp_path):
    repository = fork(orders, tmp_path)

    def state():
        names = ("dvc.yaml", SOURCE, "data/feedback.parquet", "data/raw.parquet", "data/.gitignore")
        return [(repository.path / name).exists() and (repository.path / name).read_bytes() for name in names]

    for number in (9000, 9500):  # the first feedback, and more of it
        answer(repository, *[(order(number + i, 5), True) for i in range(10)])
        before = state()
        printed = repository.run(TOOL, "retrain", "--until", "2001-01-01", fails=True)
        assert "error: dvc failed: params.yaml: ingest.until is 2001-01-01 00:00:00, but the first row is" in printed
        assert repository.run("git", "status", "--porcelain") == ""
        assert state() == before
        if number == 9000:
            assert "10 cases with their outcome" in repository.run(TOOL, "retrain")


def test_outcomes_become_data_of_their_own_once(orders):
    source = (orders.path / SOURCE).read_bytes()
    known = [(order(5000 + i, float(i % 100) + 0.25), (i % 100 > 70) != (i % 7 == 0)) for i in range(300)]
    answer(orders, *known, (order(6000, 5), None), (order(None, 5), True), (order(7, 5), True))
    printed = orders.run(TOOL, "retrain")
    assert "300 of these rows are feedback that the source does not hold" in printed  # it holds order 7
    assert "retrain   301 cases with their outcome" in printed
    assert "version 2 is the champion, 1 was before" in printed
    assert (orders.path / SOURCE).read_bytes() == source
    raw = pd.read_parquet(orders.path / "data/raw.parquet")
    assert raw.iloc[1200].tolist() == ["5000", "2024-02-01T00:00:00", "0.25", "Köln", "1"]
    assert len(raw) == 1500
    assert "0 rejected" in orders.run("dvc", "repro", "--force", "--single-item", "prepare")
    messages = orders.run("git", "log", "-2", "--format=%s").splitlines()
    assert messages == ["Write the cards of the new champion", "Retrain: 301 cases with their outcome"]
    written = orders.run("git", "show", "--format=", "--name-only", "HEAD~1").split()
    assert written == ["data/feedback.parquet.dvc", "dvc.lock", "dvc.yaml"]
    traced = orders.run(TOOL, "trace", "2", "--json")
    assert 'all_broken": []' in traced
    assert '"data/feedback.parquet"' in traced

    head = orders.run("git", "rev-parse", "HEAD")
    assert "nothing new" in orders.run(TOOL, "retrain")
    assert orders.run("git", "rev-parse", "HEAD") == head
    assert orders.run("git", "status", "--porcelain") == ""
    assert len(orders.run(TOOL, "release", "--history").splitlines()) == 2


def test_feedback_that_is_missing_or_damaged_is_brought_back(orders, tmp_path):
    repository = fork(orders, tmp_path)
    feedback = repository.path / "data/feedback.parquet"
    content = feedback.read_bytes()
    feedback.write_bytes(b"PAR1")
    printed = repository.run(TOOL, "ingest", fails=True)
    assert "`uv run dvc checkout --force data/feedback.parquet.dvc` brings it back" in printed
    repository.run("dvc", "checkout", "--force", "data/feedback.parquet.dvc")
    assert feedback.read_bytes() == content
    repository.run("dvc", "push")
    feedback.unlink()
    assert "`uv run dvc pull` brings it" in repository.run(TOOL, "ingest", fails=True)
    repository.run("dvc", "pull")
    assert feedback.read_bytes() == content
    assert "up to date" in repository.run("dvc", "repro")


def test_a_person_can_be_removed_from_the_feedback(orders, tmp_path):
    repository = fork(orders, tmp_path)
    page = repository.read("docs/operations/removal.md")
    (code,) = [block for block in re.findall(r"```\n(.*?)```", page, re.DOTALL) if "feedback.parquet" in block]
    code = code.replace("uv run ", "").replace("order_id", "order").replace("'4711'", "'5000'")
    repository.run("bash", "-ec", textwrap.dedent(code))
    assert "299 of these rows are feedback" in repository.run("dvc", "repro", "ingest")


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
