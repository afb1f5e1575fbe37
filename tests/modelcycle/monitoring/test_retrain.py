import re
from contextlib import chdir
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from dvc.cli import main as dvc
from dvc.repo import Repo

from modelcycle.core.contract import Column, Contract
from modelcycle.core.errors import Alert, InputError
from modelcycle.core.output import md5
from modelcycle.core.params import Ingest
from modelcycle.monitoring import retrain
from modelcycle.monitoring.retrain import labelled_rows
from modelcycle.tracking.git import run
from modelcycle.versions.prediction_log import ANSWERS, FEEDBACK, check_log, open_log

COLUMNS = {
    "order": Column(role="key", type="integer"),
    "at": Column(role="time", type="datetime", format="%d.%m.%Y"),
    "price": Column(role="feature", type="number"),
    "returned": Column(role="target", type="boolean"),
}
CONTRACT = Contract(description="Orders.", columns=COLUMNS)


def case(order, at, outcome):
    return {"inputs": {"order": order, "at": at, "price": 5.0}, "outcome": outcome}


def test_logged_times_are_read_whatever_form_the_source_has():
    cases = [case(1, "2024-02-01 10:00:00", True), case(2, "2024-02-03 00:00:00.250000", False)]
    rows = labelled_rows(cases, CONTRACT)
    assert rows["at"].tolist() == [pd.Timestamp("2024-02-01 10:00"), pd.Timestamp("2024-02-03 00:00:00.25")]
    assert rows["returned"].tolist() == [True, False]


def test_the_latest_outcome_counts_and_a_case_without_a_key_does_not():
    cases = [case(1, "2024-02-01", True), case(None, "2024-02-01", True), case(1, "2024-02-01", False)]
    rows = labelled_rows(cases, CONTRACT)
    assert rows[["order", "returned"]].to_numpy().tolist() == [[1, False]]


@pytest.fixture
def add_logged(tmp_path, monkeypatch):
    """A folder with a source, and how to let cases be known; DVC is left out."""
    monkeypatch.chdir(tmp_path)
    ran, cases = [], []
    monkeypatch.setattr(retrain, "run", lambda *command: ran.append(command))
    monkeypatch.setattr(retrain, "read_labelled_inputs", lambda log: cases)
    Path("dvc.yaml").write_text("stages:\n  ingest:\n    cmd: x\n    deps: [orders.csv]\n")
    Path("orders.csv").write_text("order;at;price;returned\n1;01.02.2024;5,0;ja\n")

    def add(*known, source="orders.csv"):
        cases[:] = known
        ran.clear()
        return retrain.add_feedback(Ingest(source=source), CONTRACT), [command[:2] for command in ran]

    return add


def test_the_log_becomes_a_file_of_its_own_once(add_logged):
    known = [case(1, "2024-02-01", True), case(2, "2024-02-02", True)]
    added = (2, [("dvc", "add")])
    assert add_logged(*known) == added
    content = Path("data/feedback.parquet").read_bytes()
    assert "deps: [data/feedback.parquet, orders.csv]" in Path("dvc.yaml").read_text()
    assert add_logged(*known) == (0, [])
    assert add_logged(known[1]) == (0, [])  # what the log has given up stays known
    assert add_logged(case(3, "2024-02-01", True), case(2, "2024-02-02", False)) == added
    assert pd.read_parquet("data/feedback.parquet")[["order", "returned"]].to_numpy().tolist() == [
        [1, True],
        [2, False],
        [3, True],
    ]
    assert Path("orders.csv").read_text() == "order;at;price;returned\n1;01.02.2024;5,0;ja\n"
    Path("data/feedback.parquet").unlink()
    Path("dvc.yaml").write_text("stages:\n  ingest:\n    cmd: x\n    deps: [orders.csv]\n")
    assert add_logged(*reversed(known)) == added
    assert Path("data/feedback.parquet").read_bytes() == content  # whatever the order in which it became known


def test_without_known_cases_or_with_a_query_there_is_no_file(add_logged):
    assert add_logged() == (0, [])
    assert add_logged(case(None, "2024-02-01", True)) == (0, [])
    assert add_logged(case(1, "2024-02-01", True), source="orders.sql") == (0, [])
    assert not Path("data").exists()


def test_the_source_is_never_overwritten(add_logged):
    with pytest.raises(InputError, match=r"ingest.source is data/feedback.parquet, which retrain writes; rename"):
        add_logged(case(1, "2024-02-01", True), source="data/feedback.parquet")


@pytest.fixture(scope="module")
def dvc_in_place():
    """Let DVC and the stages of the pipeline run in this process; else `dvc repro` alone takes eight seconds."""
    from modelcycle.pipeline import evaluate, ingest, prepare, train

    def run_here(*command, **options) -> str:
        words = [str(word) for word in command]
        if words[:2] == ["dvc", "repro"]:
            if not Repo().status():
                return ""
            try:
                for stage in (ingest.ingest, prepare.prepare, train.train, evaluate.evaluate):
                    stage()
            except InputError as error:
                raise InputError(f"dvc failed: {error}") from None
            words = ["dvc", "commit", "--force"]
        if words[0] != "dvc":
            return run(*command, **options)
        assert dvc(["--quiet", *words[1:]]) == 0, words
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrain, "run", run_here)
        patch.setattr("modelcycle.adopt.adopt.run", run_here)
        choice = ("sklearn.ensemble.HistGradientBoosting", {}, "")  # of the model, which takes long
        patch.setattr("modelcycle.adopt.adopt.choose_model", lambda *_: choice)
        yield run_here


@pytest.fixture(scope="module")
def orders(baked, dvc_in_place, tmp_path_factory):
    """A project that has adopted and released a table of orders."""
    project = baked.copy_to(tmp_path_factory.mktemp("orders"))
    table = project.path.parent / "orders.csv"
    rows = pd.DataFrame({"order": range(600)})
    rows["ordered"] = [f"2024-01-{i % 28 + 1:02}" for i in range(600)]
    rows["price"] = rows["order"] * 37 % 100 + 0.5
    rows["shop"] = ["Köln", "Bonn"] * 300
    rows["returned"] = ((rows["price"] > 70) != (rows["order"] % 7 == 0)).map({True: "ja", False: "nein"})
    rows.to_csv(table, sep=";", decimal=",", index=False)
    project.verb("adopt", str(table), "--target", "returned", "--key", "order", "--time", "ordered")
    project.replace("params.yaml", "parameters: {}", "parameters: {max_iter: 20}")
    project.replace("params.yaml", "margin: 0.015", "margin: 0.1")
    project.replace("params.yaml", "calibration_gap: 0.03", "calibration_gap: 0.1")
    project.commit("adopt")
    project.reproduce()
    project.commit("reproduce")
    project.verb("release")
    project.commit("cards")
    return project


def tell(project, first: int, many: int = 60) -> None:
    """Log answers to orders from a number on, and what became of them."""
    log = open_log(f"sqlite:///{project.path}/.mlflow/predictions.db")
    check_log(log)
    answers, outcomes = [], []
    for number in range(first, first + many):
        inputs = {"order": number, "ordered": "2024-02-01T00:00:00", "price": number % 100 + 0.25, "shop": "Köln"}
        facts = {"id": f"{number:032x}", "at": datetime(2024, 2, 1), "version": "1", "caller": "", "unusual": []}
        answers.append(facts | {"inputs": inputs, "answer": {"prediction": True}})
        outcome = (number % 100 > 70) != (number % 7 == 0)
        outcomes.append({"prediction_id": facts["id"], "at": facts["at"], "outcome": outcome, "comment": ""})
    with log.begin() as transaction:
        transaction.execute(ANSWERS.insert(), answers)
        transaction.execute(FEEDBACK.insert(), outcomes)
    log.dispose()


def subjects(project, many: int) -> list[str]:
    return project.run("git", "log", f"-{many}", "--format=%s").splitlines()


@pytest.mark.slow
def test_a_run_that_was_stopped_before_the_gate_is_finished_by_the_next(orders, tmp_path):
    project = orders.copy_to(tmp_path)
    tell(project, 7000)
    assert "MLFLOW_TRACKING_URI is not set" in project.verb("retrain", fails=True, CI="1")
    assert subjects(project, 2) == ["Retrain: 60 cases with their outcome", "cards"]
    assert project.run("git", "show", "--format=", "--name-only").split() == [
        *("data/feedback.parquet.dvc", "dvc.lock", "dvc.yaml")
    ]
    printed = project.verb("retrain")
    assert "version 2 is the champion, 1 was before" in printed
    assert "cases with their outcome" not in printed
    assert subjects(project, 2) == ["Write the cards of the new champion", "Retrain: 60 cases with their outcome"]
    assert len(pd.read_parquet(project.path / "data/raw.parquet")) == 660
    assert "retrain   nothing new: the last commit holds all that is known" in project.verb("retrain")
    assert project.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_the_same_is_proposed_once(orders, tmp_path):
    orders.run("git", "clone", "--quiet", "--bare", str(orders.path), str(tmp_path / "origin.git"))
    projects = [orders.copy_to(tmp_path / name) for name in ("first", "second")]
    for project, address in zip(projects, ("nowhere", "origin.git"), strict=True):
        project.run("git", "remote", "add", "origin", str(tmp_path / address))
        tell(project, 8000)
    printed = projects[0].verb("retrain", "--propose", fails=True)
    assert "nowhere' does not appear to be a git repository" in printed
    projects[0].run("git", "remote", "set-url", "origin", str(tmp_path / "origin.git"))
    said = [project.verb("retrain", "--propose") for project in projects]
    assert "for review: merging it releases it" in said[0]
    assert "retrain   the same is proposed already" in said[1]
    with chdir(projects[0].path):
        remote = Repo().cloud.get_remote_odb()
    assert remote.exists(md5(projects[0].path / "data/feedback.parquet"))  # for who reviews it
    branches = project.run("git", "ls-remote", "origin", "refs/heads/retrain-*").split()
    assert said[0].split()[-1] == said[1].split()[-1] == branches[1].removeprefix("refs/heads/")
    assert project.verb("release", "--history").count("version") == 1
    projects[0].run("git", "fetch", "--quiet")
    assert "nothing new" in projects[0].verb("retrain", "--propose")


@pytest.mark.slow
def test_a_run_that_fails_says_why_and_leaves_all_as_it_was(orders, tmp_path):
    project = orders.copy_to(tmp_path)

    def state():
        names = ("dvc.yaml", "data/orders.csv", "data/feedback.parquet", "data/raw.parquet", "data/.gitignore")
        return [(project.path / name).exists() and (project.path / name).read_bytes() for name in names]

    for number in (9000, 9500):  # the first feedback, and more of it
        tell(project, number, 10)
        before = state()
        printed = project.verb("retrain", "--until", "2001-01-01", fails=True)
        assert "error: dvc failed: params.yaml: ingest.until is 2001-01-01 00:00:00, but the first row is" in printed
        assert project.run("git", "status", "--porcelain") == ""
        assert state() == before
        if number == 9000:
            project.verb("retrain", fails=True, CI="1")
            assert before[2] is False
            assert state()[2]


@pytest.mark.slow
def test_a_later_time_is_noted_and_a_half_written_page_is_not_committed(orders, tmp_path):
    project = orders.copy_to(tmp_path)
    for name, staged in (("docs/roles.md", False), ("docs/process.md", True)):
        (project.path / name).write_text(project.read(name) + "half\n", encoding="utf-8")
        if staged:
            project.run("git", "add", name)
    printed = project.verb("retrain", "--until", "2024-02-01")
    assert "retrain   0 cases with their outcome, data before 2024-02-01" in printed
    assert "params.yaml\n" in printed
    assert project.run("git", "show", "--format=", "--name-only", "HEAD~1").split() == ["dvc.lock", "params.yaml"]
    changed = project.run("git", "show", "--format=", "--numstat", "HEAD~1", "--", "params.yaml").split()
    assert changed == ["1", "1", "params.yaml"]
    assert 'until: "2024-02-01" # take the rows' in project.read("params.yaml")
    assert project.run("git", "status", "--porcelain").split() == ["M", "docs/process.md", "M", "docs/roles.md"]


def test_without_a_clean_tree_a_branch_or_a_readable_time_nothing_is_done(repository):
    project = repository
    head = project.run("git", "rev-parse", "HEAD")
    assert "--until is tomorrow; expected a date or time" in project.verb("retrain", "--until", "tomorrow", fails=True)
    project.run("git", "checkout", "--quiet", "--detach")
    printed = project.verb("retrain", fails=True)
    assert "No branch is checked out, so that the retraining would be on none" in printed
    project.run(*re.search("`(git checkout main)`", printed)[1].split())
    assert project.run("git", "status", "--porcelain") == ""
    (project.path / "notes.txt").write_text("mine\n", encoding="utf-8")
    assert "The work tree differs from the commit: notes.txt" in project.verb("retrain", fails=True)
    assert project.run("git", "rev-parse", "HEAD") == head


@pytest.mark.parametrize("alerts", [True, False])
def test_with_if_alert_only_an_alert_leads_to_more(first_release, monkeypatch, alerts):
    asked = []

    def monitor(*span: str) -> None:
        asked.append(span)
        if alerts:
            raise Alert("alert: price is higher.")

    monkeypatch.setattr(retrain, "monitor", monitor)
    monkeypatch.setattr(retrain, "bring_in", lambda until: asked.append("brought in"))
    monkeypatch.setattr(retrain, "was_judged", lambda: True)
    printed = first_release.verb("retrain", "--if-alert")
    assert asked == [("", ""), *(["brought in"] if alerts else [])]
    assert ("alert: price is higher." in printed) == alerts
    assert ("retrain   nothing new" if alerts else "retrain   monitor is quiet, so nothing is done") in printed


@pytest.mark.slow
def test_where_the_log_is_empty_if_alert_says_so(repository):
    assert "The log holds no answer of the champion" in repository.verb("retrain", "--if-alert", fails=True)
