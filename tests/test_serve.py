"""The service in use: asked, overloaded, killed, and followed back from one answer to the training data."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from conftest import commit_change, fork
from playwright.sync_api import sync_playwright

TOOL = "flight-delays"
ROW = {
    "scheduled_departure": "2013-03-01T17:30:00",
    "carrier": "B6",
    "origin": "JFK",
    "dest": "BOS",
    "distance": 187,
    "temperature": 5.5,
    "visibility": 10,
}


class Service:
    """A running service and a way to ask it."""

    def __init__(self, repository, **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        clean |= {"PATH": f"{repository.path}/.venv/bin:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        settings = {"SERVE_PORT": str(self.port), "SERVE_POLL_SECONDS": "1"}
        self.process = subprocess.Popen(
            [TOOL, "serve"], cwd=repository.path, env=clean | settings | environment, stderr=subprocess.PIPE
        )
        for _ in range(300):
            try:
                if self.ask("/health")[0] == 200:
                    return
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read().decode()
                time.sleep(0.2)
        raise AssertionError("the service did not start")

    def ask(self, path, body=None, **headers):
        """Send a request; gives the status and what was answered."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                text = response.read().decode()
                return response.status, json.loads(text) if path not in ("/", "/metrics") else text
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read().decode())

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(40)
        self.process.stderr.close()


@contextmanager
def serving(repository, **environment):
    service = Service(repository, **environment)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


@pytest.fixture(scope="module")
def repository(released, tmp_path_factory):
    return fork(released, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def service(repository):
    with serving(repository) as running:
        yield running


def test_a_row_is_answered_logged_and_traced_to_the_training_data(service, repository):
    status, (answer,) = service.ask("/predict", [ROW])
    assert status == 200
    assert answer["version"] == "1"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert service.ask("/feedback", {"id": answer["id"], "outcome": True, "comment": "stood in line"})[0] == 200
    status, logged = service.ask(f"/predictions/{answer['id']}")
    assert logged["answer"]["probabilities"] == answer["probabilities"]
    assert logged["inputs"]["carrier"] == "B6"
    assert [said["outcome"] for said in logged["feedback"]] == [True]
    printed = repository.run(TOOL, "trace", answer["id"])
    assert "version 1 (champion)" in printed
    assert "data/train.parquet md5" in printed


def test_the_service_answers_every_test_row_like_the_pipeline(service, repository):
    code = """
import json, pandas as pd
rows = pd.read_parquet("data/test.parquet").drop(columns="late")
print(rows.to_json(orient="records", date_format="iso"))
print(pd.read_parquet("reports/predictions.parquet")["probability_True"].to_json(orient="values", double_precision=15))
"""
    rows, expected = (json.loads(line) for line in repository.run("python", "-c", code).splitlines()[-2:])
    found = []
    for start in range(0, len(rows), 900):
        status, answers = service.ask("/predict", rows[start : start + 900])
        assert status == 200
        found += [answer["probabilities"]["True"] for answer in answers]
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_interface_is_described_with_the_contracts_columns(service):
    schema = service.ask("/openapi.json")[1]["components"]["schemas"]["Row"]
    assert "temperature" in schema["properties"]
    assert "carrier" in schema["required"]
    assert "[°C]" in schema["properties"]["temperature"]["description"]
    assert schema["properties"]["origin"]["enum"] == ["EWR", "JFK", "LGA"]


@pytest.mark.parametrize(
    ("rows", "field", "expected"),
    [
        ([ROW | {"humidity": 300}], "0.humidity", "less than or equal to 100"),
        ([ROW | {"origin": "Köln"}], "0.origin", "'EWR', 'JFK' or 'LGA'"),
        ([{name: value for name, value in ROW.items() if name != "dest"}], "0.dest", "required"),
        ([ROW | {"pilot": "Ada"}], "0.pilot", "not permitted"),
        ([ROW, ROW | {"distance": "far"}], "1.distance", "valid integer"),
        ([], "", "at least 1 item"),
        ([ROW] * 1001, "", "at most 1000 items"),
        (b"[{", "2", "JSON"),
    ],
)
def test_rows_that_break_the_contract_are_refused_with_field_found_and_expected(service, rows, field, expected):
    status, answer = service.ask("/predict", rows)
    assert status == 422
    assert answer["detail"][0]["field"] == field
    assert expected in answer["detail"][0]["expected"]


def test_what_is_allowed_but_unusual_is_answered_and_flagged(service):
    status, (answer,) = service.ask("/predict", [ROW | {"carrier": "XX", "temperature": 54}])
    assert status == 200
    assert answer["unusual"] == ["carrier XX was never seen in training", answer["unusual"][1]]
    assert answer["unusual"][1].startswith("temperature 54.0 is outside")


def test_the_figures_and_the_model_are_shown(service):
    service.ask("/predict", [ROW])
    assert 'requests_total{path="/predict",status="200"}' in service.ask("/metrics")[1]
    assert service.ask("/ready") == (200, {"version": "1"})
    assert len(service.ask("/model")[1]["md5.train"]) == 32
    page = service.ask("/")[1]
    assert "Airport of departure" in page
    assert "://" not in page.replace("http://127.0.0.1", "")
    assert service.ask("/feedback", {"id": "0" * 32, "outcome": True})[0] == 404
    assert service.ask("/predictions/nothing")[0] == 404


def test_a_domain_expert_asks_and_answers_in_the_browser(service, tmp_path):
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        foreign = []
        page.on("request", lambda request: foreign.append(request.url) if "127.0.0.1" not in request.url else None)
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.get_by_label("scheduled_departure").fill("2013-03-01T17:30")
        page.get_by_label("carrier").select_option("B6")
        page.get_by_label("humidity").fill("")
        page.get_by_role("button", name="Predict").press("Enter")
        answer = page.locator("#answer")
        answer.wait_for()
        assert "of 100 such cases (version 1)" in answer.inner_text()
        page.get_by_label("what really happened").select_option("true")
        page.get_by_role("button", name="Send").click()
        page.get_by_text("Thank you.").wait_for()
        page.get_by_label("humidity").fill("300")
        page.get_by_role("button", name="Predict").click()
        assert page.evaluate("document.querySelector('[name=humidity]').validity.rangeOverflow")
        browser.close()
    assert foreign == []


def test_a_wrong_key_is_refused_and_limits_hold(repository):
    digest = hashlib.sha256(b"open sesame").hexdigest()
    with serving(repository, SERVE_KEYS=digest, SERVE_MOST_BYTES="2000", SERVE_REQUESTS_PER_MINUTE="9") as service:
        assert service.ask("/predict", [ROW])[0] == 401
        assert service.ask("/predict", [ROW], **{"X-API-Key": "open"})[0] == 401
        key = {"X-API-Key": "open sesame"}
        assert service.ask("/predict", [ROW], **key)[0] == 200
        assert service.ask("/predict", [ROW] * 50, **key)[0] == 413
        assert {service.ask("/predict", [ROW], **key)[0] for _ in range(12)} == {200, 429}
        assert service.ask("/health")[0] == 200


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SERVE_HOST": "0.0.0.0"}, "SERVE_KEYS is empty; expected the SHA-256 digests"),
        ({"SERVE_PORT": "high"}, "SERVE_PORT is 'high'; expected a valid integer"),
    ],
)
def test_an_unsafe_or_wrong_setting_is_named(repository, environment, sentence):
    assert sentence in repository.run(TOOL, "serve", fails=True, **environment)


def test_no_answer_is_lost_when_the_service_is_killed_under_load(repository, tmp_path):
    database = f"sqlite:///{tmp_path}/log.db"
    answered = []
    for _ in range(3):
        service = Service(repository, DATABASE_URL=database)

        def ask_on(service=service):
            while service.process.poll() is None:
                try:
                    answered.extend(answer["id"] for answer in service.ask("/predict", [ROW, ROW])[1])
                except (OSError, ValueError):
                    return

        threads = [threading.Thread(target=ask_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        service.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert len(answered) > 50
    with serving(repository, DATABASE_URL=database) as service:
        missing = [found for found in answered if service.ask(f"/predictions/{found}")[0] != 200]
    assert missing == []


def test_nothing_is_answered_that_can_not_be_logged(repository, tmp_path):
    import sqlite3

    with serving(repository, DATABASE_URL=f"sqlite:///{tmp_path}/log.db") as service:
        assert service.ask("/predict", [ROW])[0] == 200
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("begin immediate")
        status, answer = service.ask("/predict", [ROW])
        assert (status, service.ask("/ready")[0]) == (503, 503)
        assert "log can't be written to" in answer["detail"]
        other.execute("rollback")
        other.close()
        assert service.ask("/predict", [ROW])[0] == 200


def test_a_new_champion_takes_over_without_a_failed_request(released, tmp_path):
    repository = fork(released, tmp_path)
    commit_change(repository, "seed: 0", "seed: 9")
    with serving(repository) as service:
        statuses, versions, going = [], [], threading.Event()

        def ask_on():
            while not going.is_set():
                status, answers = service.ask("/predict", [ROW])
                statuses.append(status)
                versions.append(answers[0]["version"])

        thread = threading.Thread(target=ask_on)
        thread.start()
        repository.run(TOOL, "release")
        deadline = time.monotonic() + 30
        while versions[-1] != "2" and time.monotonic() < deadline:
            time.sleep(0.2)
        going.set()
        thread.join()
    assert set(statuses) == {200}
    assert set(versions) == {"1", "2"}
