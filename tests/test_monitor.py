"""The model in use, watched: quiet on what it knows, loud and plain where something has changed."""

import json
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import Repository, fork
from test_serve import ROW, serving

TOOL = "modelcycle"
FILL = str(Path(__file__).parent / "fill_log.py")
FIRST_HALF = ("2013-01-01", "2013-07-01")
SECOND_HALF = ("2013-07-01", "2014-01-01")


COPY_LOG = """
import sys
from modelcycle.tracking.prediction_log import ANSWERS, check_log, open_log
log = open_log(sys.argv[1])
check_log(log)
with open_log("sqlite:///.mlflow/predictions.db").connect() as source, log.begin() as target:
    target.execute(ANSWERS.insert(), [dict(row) for row in source.execute(ANSWERS.select()).mappings()])
"""


def monitor(repository: Repository, span: tuple[str, str], fails: bool = False, **environment: str) -> tuple[str, dict]:
    """Give what is printed and what is in the JSON."""
    printed = repository.run(TOOL, "monitor", "--since", span[0], "--until", span[1], fails=fails, **environment)
    return printed, json.loads(repository.read("reports/monitoring.json"))


def alerts(found: dict) -> dict[tuple[str, str], bool]:
    """Say of each comparison whether it alerts."""
    return {(row["column"], row["what"]): row["alert"] for row in found["differences"]}


@pytest.fixture(scope="module")
def watched(released, tmp_path_factory) -> Repository:
    """A repository whose log holds the answers for all flights of the year, and the outcome of a third."""
    repository = fork(released, tmp_path_factory.mktemp("watched"))
    for since, until in (FIRST_HALF, SECOND_HALF):
        repository.run("python", FILL, since, until, "0.33")
    return repository


def test_the_months_of_the_training_data_are_no_alert(watched):
    printed, found = monitor(watched, FIRST_HALF)
    assert "no alert in 37 comparisons" in printed
    assert found["alerts"] == []
    assert found["answers"] == 18_330 == sum(period["answers"] for period in found["periods"])
    assert "Nothing to worry about" in watched.read("reports/monitoring.html")


def test_the_months_after_are_an_alert_with_the_reasons_in_plain_words(watched):
    printed, found = monitor(watched, SECOND_HALF, fails=True)
    assert "alert: temperature is higher than in training: mean 16.93 °C instead of 10.64." in printed
    assert "alert: wind_gust is missing in 82.1% of the cases" in printed
    assert [f"alert: {reason}." for reason in found["alerts"]] == [x for x in printed.splitlines() if "alert" in x]
    temperature = next(row for row in found["differences"] if row["column"] == "temperature")
    assert temperature["effect"] > temperature["limit"]
    assert temperature["p_adjusted"] < 0.01
    page = watched.read("reports/monitoring.html")
    assert page.count("<svg") == 4
    assert all(reason in page for reason in found["alerts"])


def test_a_sample_alerts_for_the_same_columns_and_is_the_same_on_sqlite_and_postgresql(watched, tmp_path, request):
    _, everything = monitor(watched, SECOND_HALF, fails=True)
    repository = fork(watched, tmp_path)
    params = repository.read("params.yaml").replace("sample: 50000", "sample: 5000")
    (repository.path / "params.yaml").write_text(params, encoding="utf-8")
    printed, found = monitor(repository, SECOND_HALF, fails=True)
    assert f"{found['answers']:,} answers of version 1" in printed
    assert f"{found['looked_at']:,} looked at" in printed
    assert 4800 < found["looked_at"] < 5200 < found["answers"] == everything["looked_at"] == everything["answers"]
    assert [period["answers"] for period in found["periods"]] == [row["answers"] for row in everything["periods"]]
    differ = {what for what, alerted in alerts(everything).items() if alerted != alerts(found)[what]}
    assert differ <= {("wind_direction", "values")}  # which moved by 0.0995, at a limit of 0.1
    page = repository.read("reports/monitoring.html")
    assert f"{found['looked_at']:,} of them, a sample spread evenly over time" in page
    database = request.getfixturevalue("postgres")[0]
    repository.run("python", "-c", COPY_LOG, database)
    _, copied = monitor(repository, SECOND_HALF, fails=True, DATABASE_URL=database)
    assert copied["differences"] == found["differences"]
    assert copied["periods"] == found["periods"]


def test_the_exit_status_of_an_alert_is_2_also_from_make(watched):
    for command in (["modelcycle", "monitor", "--since", "2013-07-01"], ["make", "monitor", "SINCE=2013-07-01"]):
        tools = {"PATH": f"{watched.path}/.venv/bin:/usr/bin:/bin", "TESTS_FORKS": "1"}
        tools["PYTHONPATH"] = str(watched.path / "src")
        assert subprocess.run(command, cwd=watched.path, env=tools, capture_output=True, check=False).returncode == 2


def test_feedback_gives_the_quality_in_use_with_its_interval(watched):
    _, found = monitor(watched, SECOND_HALF, fails=True)
    quality = found["quality"]
    assert 5500 < quality["labels"] < 6500
    assert 0.64 < quality["now"]["low"] < quality["now"]["value"] < quality["now"]["high"] < 0.74
    assert quality["then"]["value"] > quality["now"]["high"]
    assert len(quality["over_time"]) == 8


def test_every_known_outcome_of_a_model_that_got_worse_is_an_alert(watched, tmp_path):
    """Outcomes that are the other way round, as after a mistake in the feed."""
    repository = fork(watched, tmp_path)
    with sqlite3.connect(repository.path / ".mlflow/predictions.db") as log:
        log.execute("update feedback set outcome = case outcome when 'true' then 'false' else 'true' end")
    printed, found = monitor(repository, FIRST_HALF, fails=True)
    assert "alert: the answers have got worse: roc_auc 0." in printed
    assert len(found["alerts"]) == 1


def test_few_labels_are_said_to_be_few(watched):
    printed, found = monitor(watched, ("2013-02-01", "2013-02-03"), fails=True)
    assert "outcomes known: not enough labels yet, 100 are needed" in printed
    assert "Not enough labels yet" in watched.read("reports/monitoring.html")
    assert len(found["periods"]) > 24  # hours


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--since", "yesterday"], "--since is yesterday; expected a date or time, such as 2024-01-31T12:00."),
        (["--until", "2013-13-01"], "--until is 2013-13-01; expected a date or time"),
        (["--since", "2013-03-01", "--until", "2013-02-01"], "--since 2013-03-01 00:00:00 is not before --until"),
        ([], "The log holds no answer of the champion, version 1, from "),
    ],
)
def test_a_span_that_can_not_be_is_named(watched, arguments, sentence):
    printed = watched.run(TOOL, "monitor", *arguments, fails=True)
    assert sentence in printed
    assert "Traceback" not in printed


def test_a_log_out_of_reach_and_a_missing_champion_are_named(watched, copy):
    printed = watched.run(TOOL, "monitor", fails=True, DATABASE_URL="sqlite:////nowhere/log.db")
    assert "The prediction log (DATABASE_URL) can't be read" in printed
    assert "There is no champion yet; `make release` makes one." in copy.run(TOOL, "monitor", fails=True)


def test_what_the_service_logs_is_what_monitor_reads(released, tmp_path):
    repository = fork(released, tmp_path)
    with serving(repository) as service:
        for hour in range(24):
            rows = [ROW | {"scheduled_departure": f"2013-03-01T{hour:02}:30:00"}] * 10
            answers = service.ask("/predict", rows)[1]
            service.ask("/feedback", {"id": answers[0]["id"], "outcome": hour > 17})
        assert "drift{" not in service.ask("/metrics")[1]
        since, until = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
        printed, found = monitor(repository, (since.isoformat(), until.isoformat()), fails=True)
        figures = dict(line.rsplit(" ", 1) for line in service.ask("/metrics")[1].splitlines())
    assert found["answers"] == 240
    assert found["quality"]["labels"] == 24
    assert float(figures["monitor_alerts"]) == len(found["alerts"])
    assert float(figures["monitor_time_seconds"]) == pytest.approx(until.timestamp(), abs=1)
    assert float(figures['drift{column="carrier",what="values"}']) > 1
    assert float(figures['drift_alert{column="carrier",what="values"}']) == 1
    assert float(figures['drift_alert{column="carrier",what="missing"}']) == 0
    assert float(figures['quality{where="test"}']) == found["quality"]["then"]["value"]
    assert found["speed"]["answers"] == 240
    assert 0 < found["speed"]["milliseconds_50"] < 5000
    assert "alert: carrier has other shares than in training: B6 in 100.0% of the cases instead of" in printed


def test_a_steady_stream_stays_quiet(released):
    """Fifty random halves of the training rows, whole and as small streams: how many alert, of 50."""
    code = """
import numpy as np, pandas as pd
from modelcycle.tracking.bundle import load_champion
from modelcycle.monitoring.drift import compare_column, mark_alerts
from modelcycle.monitoring.histogram import Histogram
from modelcycle.pipeline.prepare import make_profile
from modelcycle.tracking.store import connect
served, train = load_champion(connect()), pd.read_parquet("data/train.parquet")
limits = {"values": 0.1, "missing": 0.05, "unseen": 0.05}
for rows in (None, 1000, 100):
    same = other = 0
    for seed in range(50):
        half = train.sample(frac=0.5, random_state=seed)
        rest = make_profile(train.drop(half.index), served.contract)
        some = half.head(rows or len(half))
        for known in (served.profile, rest):
            found = []
            for name in served.contract.names("feature"):
                counted = Histogram.count(some[name], np.zeros(len(some), int), 1, known[name])
                found += compare_column(name, counted, known[name])
            alerted = bool(mark_alerts(found, 0.01, limits)["alert"].any())
            same, other = same + (alerted and known is served.profile), other + (alerted and known is rest)
    print(f"{rows or 'all'} rows of a half: alerts {same} of 50 against all rows, {other} of 50 against the other half")
"""
    printed = released.run("python", "-c", code)
    print(printed)
    counts = [int(word) for line in printed.splitlines() if "of 50" in line for word in line.split() if word.isdigit()]
    assert "all rows of a half: alerts 0 of 50 against all rows, 0 of 50 against the other half" in printed
    assert len(counts) > 10
