import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.core.verdict import Verdict
from modelcycle.process.review import (
    compute_errors,
    describe_difference,
    explain_decision,
    find_start,
    find_weak_slices,
    list_commits,
)
from modelcycle.tracking.ledger import LedgerEntry
from modelcycle.tracking.prediction_log import ANSWERS, FEEDBACK, check_log, open_log, read_feedback

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
    for name in ("AUTHOR", "COMMITTER"):  # which the environment may name otherwise, as in CI
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


def test_a_repository_in_which_nothing_has_happened_gets_a_page_that_says_so(project, history, tmp_path):
    for name in ("contract.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy(project / name, tmp_path)
    subprocess.run([sys.executable, "-m", "modelcycle", "review", "--since", "HEAD"], check=True)
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
