"""What becomes known in production comes back as data: a new version of it, a new model, and the gate decides."""

import re
import signal
import subprocess
import textwrap

import pandas as pd
import pytest

from support.orders import SOURCE, answer, make_orders, order


@pytest.fixture(scope="module")
def orders(installed, tmp_path_factory):
    """A repository that has adopted and released a table of orders."""
    return make_orders(installed(), tmp_path_factory.mktemp("table"))


def test_a_later_time_brings_new_rows_and_the_gate_decides(released, tmp_path):
    repository = released.copy_to(tmp_path)
    printed = repository.run("make", "retrain", "UNTIL=2013-10-01")
    assert "retrain   0 cases with their outcome, data before 2013-10-01" in printed
    assert "version 2 is the champion, 1 was before" in printed
    assert 'until: "2013-10-01" # take the rows' in repository.read("params.yaml")


def test_a_run_that_is_stopped_leaves_all_as_it_was(released, tmp_path):
    repository = released.copy_to(tmp_path)
    command = ["modelcycle", "retrain", "--until", "2013-08-01"]
    options = {"cwd": repository.path, "env": repository.environment(), "encoding": "utf-8"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:
        assert any("Running stage 'train'" in line for line in process.stdout)
        (repository.path / "src/flight_delays/features.py").write_text("# meanwhile\n", encoding="utf-8")
        process.terminate()
        process.stdout.read()
    assert process.returncode not in (0, -signal.SIGTERM)
    assert repository.run("git", "status", "--porcelain").split() == ["M", "src/flight_delays/features.py"]


def test_outcomes_become_data_of_their_own_once_and_a_person_can_be_removed(orders):
    source = (orders.path / SOURCE).read_bytes()
    known = [(order(5000 + i, float(i % 100) + 0.25), (i % 100 > 70) != (i % 7 == 0)) for i in range(300)]
    answer(orders, *known, (order(6000, 5), None), (order(None, 5), True), (order(7, 5), True))
    printed = orders.run("make", "retrain")
    assert "300 of these rows are feedback that the source does not hold" in printed  # it holds order 7
    assert "retrain   301 cases with their outcome" in printed
    assert "version 2 is the champion, 1 was before" in printed
    assert (orders.path / SOURCE).read_bytes() == source
    raw = pd.read_parquet(orders.path / "data/raw.parquet")
    assert raw.iloc[1200].tolist() == ["5000", "2024-02-01T00:00:00", "0.25", "Köln", "1"]
    assert len(raw) == 1500
    messages = orders.run("git", "log", "-2", "--format=%s").splitlines()
    assert messages == ["Write the cards of the new champion", "Retrain: 301 cases with their outcome"]
    written = orders.run("git", "show", "--format=", "--name-only", "HEAD~1").split()
    assert written == ["data/feedback.parquet.dvc", "dvc.lock", "dvc.yaml"]
    traced = orders.run("modelcycle", "trace", "2", "--json")
    assert 'all_broken": []' in traced
    assert '"data/feedback.parquet"' in traced

    head = orders.run("git", "rev-parse", "HEAD")
    assert "nothing new" in orders.run("make", "retrain")
    assert orders.run("git", "rev-parse", "HEAD") == head
    assert orders.run("git", "status", "--porcelain") == ""
    assert len(orders.run("modelcycle", "release", "--history").splitlines()) == 2

    feedback = orders.path / "data/feedback.parquet"
    content = feedback.read_bytes()
    orders.run("dvc", "push")
    feedback.unlink()
    (orders.path / SOURCE).unlink()
    told = orders.run("modelcycle", "ingest", fails=True)
    orders.run(*re.search("`(uv run dvc pull)`", told)[1].split())
    assert feedback.read_bytes() == content
    assert (orders.path / SOURCE).read_bytes() == source
    feedback.write_bytes(b"PAR1")
    printed = orders.run("modelcycle", "ingest", fails=True)
    assert "`uv run dvc checkout --force data/feedback.parquet.dvc` brings it back" in printed
    orders.run("dvc", "checkout", "--force", "data/feedback.parquet.dvc")
    assert feedback.read_bytes() == content

    page = orders.read("docs/operations/removal.md")
    (code,) = [block for block in re.findall(r"```\n(.*?)```", page, re.DOTALL) if "feedback.parquet" in block]
    code = code.replace("uv run ", "").replace("order_id", "order").replace("'4711'", "'5000'")
    orders.run("bash", "-ec", textwrap.dedent(code))
    assert "299 of these rows are feedback" in orders.run("dvc", "repro", "ingest")
