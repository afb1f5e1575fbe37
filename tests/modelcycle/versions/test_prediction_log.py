"""The log on SQLite; tests/e2e/test_servers.py has it on PostgreSQL."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from modelcycle.core.errors import InputError
from modelcycle.versions import prediction_log
from modelcycle.versions.prediction_log import (
    ANSWERS,
    check_log,
    connect_writer,
    convert_database_errors,
    open_log,
    read_answer,
    read_feedback,
    read_hourly_counts,
    read_json_lines,
    read_labelled_inputs,
    read_monitoring_result,
    read_outcomes,
    to_utc,
    utc_now,
    write_answers,
    write_feedback,
    write_monitoring_result,
)

NOON = datetime(2024, 3, 1, 12)


@pytest.fixture
def log(tmp_path):
    return open_log(f"sqlite:///{tmp_path}/log.db")


def key(number):
    """Give an id whose last 12 digits, which a sample goes by, grow with the number: 16 make all."""
    return f"{number:020x}{number * 16**11:012x}"


def line(number, version="1", minutes=0):
    """Give an answer as the service writes it."""
    at = f"{NOON + timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S.%f}"
    return (key(number), at, version, "ada", f'{{"price": {number}}}', f'{{"prediction": {number}}}', "[]")


def fill(log, *lines):
    with connect_writer(log) as connection:
        write_answers(connection, list(lines))


def test_answers_are_read_as_they_were_written_and_are_on_disk(log, monkeypatch):
    monkeypatch.setattr(prediction_log, "MAX_ROWS", 2)
    statements = []
    event.listen(log, "before_cursor_execute", lambda *given: statements.append(given[2]))
    fill(log, *[line(number) for number in range(5)])
    assert [statement.count("(?") for statement in statements if statement.startswith("insert")] == [2, 2, 1]
    assert read_answer(log, key(3)) == {
        **{"id": key(3), "at": NOON, "version": "1", "caller": "ada", "inputs": {"price": 3}},
        **{"answer": {"prediction": 3}, "unusual": [], "feedback": []},
    }
    with log.connect() as connection:
        assert connection.execute(text("pragma journal_mode")).scalar() == "wal"
        assert connection.execute(text("pragma synchronous")).scalar() == 2  # full: waits for the disk
        assert len(connection.execute(select(ANSWERS)).all()) == 5


def test_a_batch_is_written_whole_or_not_at_all(log):
    with pytest.raises(IntegrityError):
        fill(log, line(1), line(2), line(1))
    assert read_answer(log, key(2)) is None


def test_feedback_needs_an_answer_and_the_last_one_counts(log):
    fill(log, line(1), line(2), line(3, version="2"))
    started = utc_now()
    assert not write_feedback(log, key(9), True, "")
    for number, outcome, comment in [(1, True, "sure"), (2, False, ""), (1, None, "no"), (1, False, ""), (3, 5.5, "")]:
        assert write_feedback(log, key(number), outcome, comment)
    given = read_answer(log, key(1))["feedback"]
    assert [(one["outcome"], one["comment"]) for one in given] == [(True, "sure"), (None, "no"), (False, "")]
    assert all(started <= one["at"] <= utc_now() for one in given)

    assert read_labelled_inputs(log) == [
        {"inputs": {"price": 2}, "outcome": False},
        {"inputs": {"price": 1}, "outcome": False},
        {"inputs": {"price": 3}, "outcome": 5.5},
    ]
    listed = read_feedback(log, started, 10)
    assert [(one["answer"]["prediction"], one["outcome"], one["version"]) for one in listed] == [
        *((3, 5.5, "2"), (1, False, "1"), (2, False, "1")),
    ]
    assert [one["comment"] for one in read_feedback(log, started, 10, with_comment=True)] == ["no", "sure"]
    assert [one["comment"] for one in read_feedback(log, started, 1, with_comment=True)] == ["no"]
    assert read_feedback(log, utc_now() + timedelta(seconds=1), 10) == []


def test_outcomes_are_the_latest_of_a_version_and_a_span(log):
    fill(log, *[line(number, minutes=number) for number in range(5)], line(7, version="2"))
    for number in (0, 1, 3, 4, 7):
        write_feedback(log, key(number), number > 2, "")
    span = (NOON + timedelta(minutes=1), NOON + timedelta(minutes=4))
    assert [(one["at"].minute, one["outcome"]) for one in read_outcomes(log, "1", *span, 10)] == [(3, True), (1, False)]
    assert [one["answer"] for one in read_outcomes(log, "1", *span, 1)] == [{"prediction": 3}]
    assert read_outcomes(log, "3", *span, 10) == []


def test_answers_are_counted_by_version_and_hour(log):
    assert read_hourly_counts(log, NOON, NOON + timedelta(days=1)) == []
    fill(log, line(1), line(2, minutes=59), line(3, minutes=60), line(4, version="2"), line(5, minutes=-1))
    counts = read_hourly_counts(log, NOON, NOON + timedelta(minutes=60))
    assert sorted(counts) == [("1", "2024-03-01 12", 2), ("2", "2024-03-01 12", 1)]
    assert ("1", "2024-03-01 13", 1) in read_hourly_counts(log, NOON, NOON + timedelta(minutes=61))


@pytest.mark.parametrize(
    ("share", "numbers"), [(0, [0]), (0.25, [0, 1, 2, 3, 4]), (1, [*range(16)]), (2, [*range(16)])]
)
def test_a_sample_of_answers_is_the_same_at_each_call(log, share, numbers):
    fill(log, *[line(number, minutes=number) for number in range(16)], line(20, version="2"), line(21, minutes=-1))
    for _ in range(2):
        lines = b"\n".join(read_json_lines(log, "1", NOON, NOON + timedelta(hours=1), share)).decode().splitlines()
        rows = [json.loads(text) for text in lines]
        assert [row["inputs"]["price"] for row in rows] == numbers
    assert rows[0] == {"at": "2024-03-01 12:00:00.000000", "inputs": {"price": 0}, "answer": {"prediction": 0}}


def test_the_result_of_the_latest_span_is_found_whenever_it_was_written(log):
    check_log(log)
    assert read_monitoring_result(log) is None
    for hours, result in ((2, "old"), (3, "first"), (1, "other"), (3, "again")):
        write_monitoring_result(log, NOON + timedelta(hours=hours), {"is": result, "at": NOON})
    assert read_monitoring_result(log) == {"is": "again", "at": "2024-03-01T12:00:00"}


def test_times_are_stored_in_utc(log):
    assert to_utc(datetime(2024, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))) == NOON
    assert to_utc(NOON) == NOON
    assert abs(utc_now() - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)


def test_the_local_log_s_folder_is_made_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = prediction_log.LOCAL_LOG
    check_log(open_log(f"sqlite:///{local.as_posix()}"))
    assert local.exists()
    unreadable = r"^The prediction log \(DATABASE_URL\) can't be read: .*unable to open database file\.$"
    with pytest.raises(InputError, match=unreadable), convert_database_errors():
        read_answer(open_log("sqlite:///slip/log.db"), key(1))
    assert not Path("slip").exists()


def test_a_log_that_can_t_be_written_to_is_noticed_before_the_first_answer(tmp_path, log):
    impatient = open_log(f"sqlite:///{tmp_path}/log.db")
    event.listen(impatient, "connect", lambda connection, _: connection.execute("pragma busy_timeout = 0"))
    check_log(impatient)
    with log.begin() as other:
        other.execute(text("begin immediate"))
        with pytest.raises(OperationalError, match="locked"):
            check_log(impatient)


@pytest.mark.parametrize("address", ["nonsense", "oracle://me:secret@host/x", "sqlite+nothing:///x"])
def test_an_address_that_can_t_be_used_is_refused_without_its_password(address):
    with pytest.raises(
        InputError, match=r"^DATABASE_URL is no address that can be used: \w+; expected sqlite:///FILE or"
    ) as error:
        open_log(address)
    assert "secret" not in str(error.value)
