import re
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.process.review import (
    collect_points,
    compute_errors,
    describe_difference,
    explain_decision,
    find_start,
    find_weak_slices,
    list_commits,
    plot_points,
    review,
)
from modelcycle.versions.ledger import LedgerEntry
from modelcycle.versions.prediction_log import (
    ANSWERS,
    FEEDBACK,
    check_log,
    open_log,
    read_feedback,
    write_monitoring_result,
)
from modelcycle.versions.registry import Verdict

DAY = datetime(2024, 3, 1)


def verdict(rule, found, *interval, passed=True):
    numbers = dict(zip(("value", "low", "high"), interval, strict=False))
    return Verdict(rule, passed, found, "more", "Too bad.", numbers)


VERDICTS = [
    verdict("better than guessing", "roc_auc 0.75 (0.73 to 0.77)", 0.75, 0.73, 0.77),
    verdict("slice shop = NO", "roc_auc 0.72 (0.7 to 0.74)", 0.72, 0.7, 0.74),
    verdict("slice shop = Köln", "roc_auc 0.6 (0.5 to 0.65)", 0.6, 0.5, 0.65, passed=False),
    verdict("slice gift = True", "roc_auc 0.73 (0.7 to 0.76)", 0.73, 0.7, 0.76),
    verdict("calibration", "0.0100 apart"),
    verdict("duel with the champion", "roc_auc 0.75, version 1 0.74; at worst +0.0010"),
]


@pytest.fixture
def history(tmp_path, monkeypatch) -> None:
    """A repository of two commits, of 1 March 2024 with the tag v1 and of 11 March."""
    monkeypatch.chdir(tmp_path)
    for name in ("AUTHOR", "COMMITTER"):  # which the environment may set to something else, as in CI
        monkeypatch.setenv(f"GIT_{name}_NAME", "T")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "t@example.com")
    commit = ["-c", "commit.gpgsign=false", "commit", "--quiet", "--allow-empty", "--message"]
    for day, *command in [(1, "init", "--quiet"), (1, *commit, "first"), (1, "tag", "v1"), (11, *commit, "a|b")]:
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2024-03-{day:02}T01:00:00+01:00")
        subprocess.run(["git", *command], check=True)


@pytest.mark.parametrize(
    ("since", "start", "others"),
    [
        ("v1", DAY, ["a|b"]),
        ("HEAD", DAY + timedelta(days=10), []),
        ("2024-03-05", DAY + timedelta(days=4), ["a|b"]),
        ("2024-03-11T02:00+01:00", DAY + timedelta(days=10, hours=1), []),
        ("2024-02-01", datetime(2024, 2, 1), ["a|b", "first"]),
    ],
)
def test_a_review_begins_behind_a_tag_a_commit_or_the_last_commit_before_a_date(history, since, start, others):
    then, found = find_start(since)
    assert found == start
    entries = list_commits(f"{then}..HEAD" if then else "HEAD")
    assert [entry["what"] for entry in entries] == others
    assert all(entry["by"] == "T" for entry in entries)


def test_a_review_of_two_weeks_begins_with_the_last_commit_where_that_is_older(history):
    assert datetime.now() - find_start("")[1] > timedelta(days=13)
    assert list_commits(f"{find_start('')[0]}..HEAD") == []


@pytest.mark.parametrize(
    ("since", "complaint"),
    [("v2", "--since is v2; expected"), ("--all", "--since is --all; expected"), ("2999-01-01", "is yet to come")],
)
def test_what_is_no_beginning_is_refused(history, since, complaint):
    with pytest.raises(InputError, match=complaint):
        find_start(since)


def test_without_a_commit_there_is_nothing_to_review(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="Nothing is committed yet"):
        find_start("")


@pytest.mark.slow
def test_a_repository_in_which_nothing_has_happened_gets_a_page_that_says_so(project, history, tmp_path):
    for name in ("contract.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy(project / name, tmp_path)
    review("HEAD")
    page = (tmp_path / "reports/review.html").read_text(encoding="utf-8")
    for sentence in (
        "Nothing has been committed.",
        "No model has been trained.",
        "No model has been judged and committed yet.",
        "No feedback has come in.",
        "Nothing was released, rejected or rolled back.",
        "Nobody said whether an answer was right.",
        "Nobody left a comment.",
        "No model is in use yet.",
        "The model in use has not been looked at",
        "From 11 Mar 2024, 00:00 (HEAD) to ",
        "Nobody has told what became of the answers.",
        "0 changes and 0 trainings; 0 models released, 0 rejected, 0 rollbacks.",
        "No page in docs/crisp-dm is kept.",
    ):
        assert sentence in page


def run(rows: int, **settings: str) -> SimpleNamespace:
    """A training run as MLflow gives it."""
    return SimpleNamespace(data=SimpleNamespace(params=settings, metrics={"train_rows": float(rows)}))


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (run(1000, seed="0"), None, "the first: seed 0; 1,000 training rows"),
        (run(1000, seed="0"), run(1000, seed="0"), "the same settings and as many rows"),
        (run(3000, seed="1"), run(1000, seed="0"), "seed 1 instead of 0, 2,000 more training rows"),
        (run(900, depth="2"), run(1000, seed="0"), "seed not set instead of 0, depth 2 instead of not set, 100 fewer"),
    ],
)
def test_a_training_is_told_by_what_differs_from_the_one_before(now, before, words):
    assert describe_difference(now, before).startswith(words)


def entry(event, **facts):
    return LedgerEntry(event, "1", by="T", commit="c", at=0, **facts)


def test_a_decision_is_told_with_its_reason():
    assert explain_decision(entry("rejected"), VERDICTS) == [
        "Too bad. (slice shop = Köln: roc_auc 0.6 (0.5 to 0.65); expected more)"
    ]
    passed, duel = explain_decision(entry("promoted"), VERDICTS)
    assert passed == "It passed all 6 rules of the gate."
    assert "version 1 0.74; at worst +0.0010" in duel
    doubted = [replace(VERDICTS[0], passed=None), *VERDICTS[1:]]
    told, _ = explain_decision(entry("promoted", reason="undecided: no more rows"), doubted)
    assert told.startswith(f"The gate could not decide about {VERDICTS[0].rule}. It was released all the same: ")
    assert explain_decision(entry("rolled back", reason="too slow"), VERDICTS) == ["too slow"]
    assert explain_decision(entry("deployed", environment="staging", image="x"), []) == ["staging"]


def test_a_slice_is_weak_when_it_is_worse_for_certain():
    assert [part["name"] for part in find_weak_slices(VERDICTS, "roc_auc")] == ["shop = Köln", "shop = NO"]
    assert find_weak_slices(VERDICTS, "mae") == []  # an amount is better the lower it is


@pytest.mark.parametrize(
    ("kind", "answers", "model", "baseline"),
    [
        ("boolean", [(True, True), (True, False), (False, False), (True, None)], [0, 1, 0], [1, 0, 0]),
        ("category", [("a", "a"), ("b", "b"), ("a", "b")], [0, 0, 1], [1, 0, 0]),
        ("number", [(1.0, 2), (3, 3.0), (9, "x"), (4.0, None)], [1, 0], [0.5, 0.5]),
        ("boolean", [], [], []),
        ("number", [], [], []),
    ],
)
def test_answers_and_a_baseline_are_compared_with_what_happened(contract, kind, answers, model, baseline):
    definition = contract.model_dump()
    definition["columns"]["returned"] = {"role": "target", "type": kind}
    feedback = [{"answer": {"prediction": answer}, "outcome": outcome} for answer, outcome in answers]
    errors = compute_errors(feedback, Contract.model_validate(definition))
    assert len(errors) == len(answers)
    assert errors.dropna()["model"].tolist() == model
    assert errors.dropna()["baseline"].tolist() == baseline


def test_of_the_feedback_to_an_answer_the_last_counts_and_every_comment_is_read():
    log = open_log("sqlite://")
    check_log(log)
    answer = {"version": "1", "caller": "", "inputs": {}, "answer": {"prediction": True}, "unusual": []}
    said = [("a", 0, False, "<b>early"), ("a", 1, True, ""), ("b", 2, None, "what?"), ("b", 3, False, "late")]
    with log.begin() as transaction:
        transaction.execute(ANSWERS.insert(), [answer | {"id": name, "at": DAY} for name in "ab"])
        rows = [
            {"prediction_id": name, "at": DAY + timedelta(days=day), "outcome": outcome, "comment": comment}
            for name, day, outcome, comment in said
        ]
        transaction.execute(FEEDBACK.insert(), rows)
    assert [entry["outcome"] for entry in read_feedback(log, DAY, 10)] == [False, True]
    assert [entry["outcome"] for entry in read_feedback(log, DAY + timedelta(days=2), 10)] == [False]
    words = [entry["comment"] for entry in read_feedback(log, DAY, 2, with_comment=True)]
    assert words == ["late", "what?"]


def words(html: str) -> str:
    """Give what is read of a part of the page, without plots."""
    text = re.sub("<svg.*?</svg>|<[^>]*>", " ", re.sub("</?strong>", "", html), flags=re.DOTALL)
    return " ".join(text.split())


def section(page: str, title: str) -> str:
    """Give what is read of a section."""
    found = re.search(rf"<h2>{re.escape(title)}</h2>(.*?)(<h2>|</body>)", page, re.DOTALL)
    return words(found[1])


def log_what_users_say(project) -> None:
    """Log two right answers, a wrong one and one without an outcome, with comments, and what monitoring said."""
    log = open_log(f"sqlite:///{project.path}/.mlflow/predictions.db")
    check_log(log)
    now = datetime.now(UTC).replace(tzinfo=None)
    answer = {"at": now, "version": "2", "caller": "", "inputs": {}, "answer": {"prediction": True}, "unusual": []}
    said = [(True, ""), (True, "Ja, Köln"), (False, "<script src='http://x.example'>"), (None, "Why is it so late?")]
    with log.begin() as transaction:
        transaction.execute(ANSWERS.insert(), [answer | {"id": f"{i:032}"} for i in range(4)])
        rows = [
            {"prediction_id": f"{i:032}", "at": now, "outcome": outcome, "comment": comment}
            for i, (outcome, comment) in enumerate(said)
        ]
        transaction.execute(FEEDBACK.insert(), rows)
    monitoring = {"version": "2", "since": "2013-07-01T00:00:00", "until": "2013-07-15T00:00:00"}
    write_monitoring_result(log, now, monitoring | {"alerts": ["temperature is higher than in training"]})
    log.dispose()


@pytest.mark.slow
def test_a_sprint_is_told_on_one_page(first_release, tmp_path):
    project = first_release.copy_to(tmp_path)
    time.sleep(1.05 - time.time() % 1)  # git's times are whole seconds, and some milliseconds late
    project.run("git", "tag", "sprint-2", "--message", "It begins")
    project.commit_change("seed: 0", "seed: 3")
    assert "version 2 is the champion, 1 was before" in project.verb("release")
    project.commit("Write the cards")
    log_what_users_say(project)
    project.verb("rollback", "--reason", "too slow")
    project.replace("params.yaml", "bound: 0.62", "bound: 0.8")
    project.commit("bound: 0.8")
    project.verb("release", fails=True)
    printed = project.verb("review", "--since", "sprint-2")
    assert re.match(r"review +3 decisions since \d{4}-\d\d-\d\d \d\d:\d\d UTC +reports/review\.html\n$", printed)
    page = project.read("reports/review.html")

    short = words(page.partition("In short")[2].partition("</ul>")[0])
    assert "2 changes and 1 training; 1 model released, 1 rejected, 1 rollback." in short
    assert "In use is version 1, as at the beginning" in short
    assert (
        "told what became of 3 answers: 2 were right; always giving the most frequent one, 2 would have been." in short
    )
    assert "1 alert when the model in use was last looked at." in short
    tried = section(page, "What did we try?")
    assert "seed: 3 (version 2, released)" in tried
    assert "bound: 0.8 (version 3, rejected)" in tried
    assert "seed 3 instead of 0" in tried
    assert "Write the cards" not in tried
    svg = page[page.index("<svg") : page.index("</svg>")]
    assert all(label in svg for label in ("version 1", "version 2", "version 3", "rejected by the gate", "this review"))
    rows = section(page, "Which data came in?")
    assert "all data 18,330 18,330 0 to learn from" in rows
    assert "4 answers have got feedback, 3 of them with what really happened" in rows
    decided = section(page, "What was decided, and why?")
    assert "Back to version 1, instead of version 2" in decided
    assert "too slow" in decided
    assert re.search(r"Version 2 released, instead of version 1 .* On the same cases: roc_auc [\d.]+, version", decided)
    assert re.search(r"Version 3 rejected by .* The model is not as good as was agreed\. \(minimum: roc_auc", decided)
    said = section(page, "What did users say?")
    assert "2 answers were right, 1 were wrong" in said
    assert "Ja, Köln True True" in said
    assert "Why is it so late? True not told" in said
    assert "&lt;script src=" in said
    assert "True False (wrong)" in said
    assert "<script" not in page
    risks = section(page, "Which risks are open?")
    assert "Version 1 is clearly worse" in risks
    assert "Version 2, which is no longer in use, 2013-07-01 to 2013-07-15:" in risks
    assert "temperature is higher than in training" in risks
    assert "modelling: no owner; still the example; never reviewed" in risks
    assert not re.search(r"""(src|href)=["']?http|@import|url\(http""", page.replace("src=&#39;http", ""))

    printed = project.verb("review", fails=True, DATABASE_URL="sqlite:///no/such/folder/log.db")
    assert printed.startswith("error: The prediction log (DATABASE_URL) can't be read")
    assert len(printed.splitlines()) == 1


def test_a_commit_whose_model_was_never_released_has_a_point(reproduced, monkeypatch):
    monkeypatch.chdir(reproduced.path)
    (point,) = collect_points([], list_commits("--", "dvc.lock"), "roc_auc")
    assert point["id"].startswith(point["name"])
    assert (point["status"], point["what"]) == ("committed", "reproduce")
    assert point["low"] < point["value"] < point["high"]


@pytest.mark.slow
def test_points_stand_in_the_order_of_time_behind_the_line_where_the_review_begins():
    points = [
        {
            "status": "passed",
            "name": f"version {i}",
            "at": DAY + timedelta(days=i),
            "value": 0.7,
            "low": 0.6,
            "high": 0.8,
        }
        for i in range(10)
    ]
    within, before = (plot_points(points, DAY + timedelta(days=days), "roc_auc") for days in (4, 40))
    assert within.count("this review begins") == 1
    assert "this review begins" not in before
    assert "roc_auc, higher is better" in within
    assert "passed the gate" in within
    assert "rejected by the gate" not in within
    assert "mae, lower is better" in plot_points(points[:1], DAY, "mae")
