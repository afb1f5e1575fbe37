"""The service in use: asked, overloaded, killed, and followed back from one answer to the training data."""

import hashlib
import http.client
import json
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import contextmanager
from random import Random

import pytest
from conftest import Repository, commit_change, fork
from containers import free_port

TOOL = "modelcycle"
ROW = {
    "scheduled_departure": "2013-03-01T17:30:00",
    "carrier": "B6",
    "origin": "JFK",
    "dest": "BOS",
    "distance": 187,
    "temperature": 5.5,
    "visibility": 10,
}


ODD = [
    None, True, -1, 0, 1e308, 10**400, -0.0, "", " ", "\x00", "ü" * 5000, "2013-03-01", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", [], [[]], {}, {"carrier": "B6"}, float("nan"), float("inf"),
]  # fmt: skip


def odd_bodies(count, seed):
    """Make bodies of requests: rows and feedback with odd values, names and shapes, and with bytes changed."""
    random = Random(seed)
    for _ in range(count):
        row = dict(ROW)
        for _ in range(random.randint(1, 3)):
            row[random.choice([*ROW, "humidity", "flight_id", "odd"])] = random.choice(ODD)
        said = {
            "id": random.choice(["0" * 32, "x", *ODD]),
            "outcome": random.choice(ODD),
            "comment": random.choice(ODD),
        }
        path = random.choice(["/predict", "/predict", "/predict", "/feedback"])
        body = json.dumps(said if path == "/feedback" else random.choice([[row], [row, ROW], row, ODD])).encode()
        if random.random() < 0.3:
            start = random.randrange(len(body))
            body = body[:start] + random.randbytes(random.randint(0, 4)) + body[start + random.randint(0, 4) :]
        yield path, body


class Service:
    """A running service and a way to ask it."""

    def __init__(self, repository, **environment):
        self.port = free_port()
        settings = {"SERVE_PORT": str(self.port), "SERVE_POLL_SECONDS": "1", "SERVE_OPEN": "true", "TESTS_FORKS": "1"}
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  a pipe that nobody reads would fill up and stop the service
        self.process = subprocess.Popen(
            [TOOL, "serve"],
            cwd=repository.path,
            env=repository.environment() | settings | environment,
            stdout=self.log,
            stderr=self.log,
        )
        for _ in range(300):
            try:
                if self.ask("/health")[0] == 200:
                    return
            except OSError:
                assert self.process.poll() is None, self.said()
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

    def said(self):
        """Give all that the service has printed."""
        self.log.seek(0)
        return self.log.read().decode()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(40)


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


@pytest.mark.parametrize("size", [90, 900], ids=["treelite", "estimator"])
def test_the_service_answers_every_test_row_like_the_pipeline(service, repository, size):
    code = """
import json, pandas as pd
rows = pd.read_parquet("data/test.parquet").drop(columns="late")
print(rows.to_json(orient="records", date_format="iso"))
print(pd.read_parquet("reports/predictions.parquet")["probability_True"].to_json(orient="values", double_precision=15))
"""
    rows, expected = (json.loads(line) for line in repository.run("python", "-c", code).splitlines()[-2:])
    found = []
    assert "rows take the fast path" in service.said()
    for start in range(0, len(rows), size):
        status, answers = service.ask("/predict", rows[start : start + size])
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
        ([ROW | {"humidity": -1}], "0.humidity", "greater than or equal to 0"),
        ([ROW | {"origin": "Köln"}], "0.origin", "'EWR', 'JFK' or 'LGA'"),
        ([{name: value for name, value in ROW.items() if name != "dest"}], "0.dest", "required"),
        ([ROW | {"pilot": "Ada"}], "0.pilot", "not permitted"),
        ([ROW, ROW | {"distance": "far"}], "1.distance", "valid integer"),
        ([], "", "at least 1 item"),
        ([ROW] * 1001, "", "at most 1000 items"),
        (b"[{", "", "Invalid JSON"),
        (b"\xff\xfe", "", "Invalid JSON"),
        ([ROW | {"scheduled_departure": "tomorrow"}], "0.scheduled_departure", "a valid datetime"),
        ([ROW | {"distance": 10**19}], "0.distance", "less than or equal to"),
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


def test_a_domain_expert_asks_and_answers_in_the_browser(service, page):
    page.goto(f"http://127.0.0.1:{service.port}/")
    page.get_by_role("button", name="Predict").click()  # with the usual values, but now
    usual = r"(2013-\d\d-\d\d \d\d:\d\d)"
    drove = page.get_by_text(re.compile(rf"scheduled_departure 20.* instead of the usual {usual}: .* points"))
    typical = re.search(rf"usual {usual}", drove.inner_text())[1]
    page.get_by_label("scheduled_departure").fill(typical.replace(" ", "T"))
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("No single value sets it apart from the usual case.").wait_for()
    page.get_by_label("scheduled_departure").fill("2013-03-01T17:30")
    page.locator("[name=carrier]").select_option("B6")
    page.get_by_label("humidity").fill("")
    page.get_by_label("flight_id").fill("told on the page")
    page.get_by_role("button", name="Predict").press("Enter")
    answer = page.locator("#answer")
    answer.wait_for()
    assert "of 100 such cases (version 1)" in answer.inner_text()
    page.get_by_text("What drove it:").wait_for()
    assert "humidity unknown instead of the usual" in answer.inner_text()
    page.get_by_label("Comment").fill("it rained")
    page.get_by_role("button", name="That was wrong").click()
    page.get_by_text("Thank you.").wait_for()
    page.get_by_text("The model's card").click()
    page.get_by_role("heading", name="Intended use").wait_for()
    page.get_by_label("humidity").fill("300")
    page.get_by_role("button", name="Predict").click()
    assert page.evaluate("document.querySelector('[name=humidity]').validity.rangeOverflow")


def test_a_wrong_key_is_refused_and_limits_hold(repository):
    known, old = (hashlib.sha256(key).hexdigest() for key in (b"open sesame", b"worn out"))
    keys = f"{known} {old}:2020-12-31"
    with serving(repository, SERVE_KEYS=keys, SERVE_MOST_BYTES="2000", SERVE_REQUESTS_PER_MINUTE="9") as service:
        assert service.ask("/predict", [ROW])[0] == 401
        assert service.ask("/predict", [ROW], **{"X-API-Key": "open"})[0] == 401
        assert service.ask("/predict", [ROW], **{"X-API-Key": "worn out"})[0] == 401
        key = {"X-API-Key": "open sesame"}
        assert service.ask("/metrics", Authorization="Bearer open sesame")[0] == 200
        assert service.ask("/metrics", Authorization="Bearer open")[0] == 401
        assert service.ask("/predict", [ROW], **key)[0] == 200
        assert service.ask("/predict", [ROW] * 50, **key)[0] == 413
        assert {service.ask("/predict", [ROW], **key)[0] for _ in range(12)} == {200, 429}
        assert service.ask("/health")[0] == 200


def test_a_refusal_before_the_body_is_read_ends_the_connection(repository):
    """A proxy that used it for the next request would send that as the body of the one that was refused."""
    known = hashlib.sha256(b"open sesame").hexdigest()
    with (
        serving(repository, SERVE_KEYS=known) as service,
        socket.create_connection(("127.0.0.1", service.port)) as line,
    ):
        line.settimeout(5)
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        said = b""
        while part := line.recv(1000):
            said += part
        assert said.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nconnection: close\r\n" in said
        client = http.client.HTTPConnection("127.0.0.1", service.port)
        for _ in range(2):  # what was read whole leaves the connection to the next request
            client.request("POST", "/predict", "[]", {"X-API-Key": "open sesame"})
            response = client.getresponse()
            assert (response.status, response.headers["connection"]) == (422, None)
            response.read()


KEYS_CHANGE = """
from modelcycle.serving.middleware import AccessMiddleware
from modelcycle.core.settings import Settings
settings = Settings()
middleware = AccessMiddleware(None, settings, None)
def ask():
    middleware.minute = 0  # a minute has gone by
    refusal = middleware.check_access({"path": "/predict", "headers": [(b"x-api-key", b"open sesame")]})
    print(refusal.status_code if refusal else 200)
ask()
settings.keys_file.write_text("# Zoë's key", encoding="utf-8")
ask()
settings.keys_file.write_bytes(b"\\xff")
ask()
settings.keys_file.unlink()
ask()
settings.keys_file.write_text("")
ask()
"""


def test_a_file_that_is_emptied_lets_nobody_in_and_one_that_is_gone_or_broken_changes_nothing(repository, tmp_path):
    (tmp_path / "keys").write_text(hashlib.sha256(b"open sesame").hexdigest())
    settings = {"SERVE_KEYS_FILE": str(tmp_path / "keys"), "SERVE_HOST": "0.0.0.0"}
    reasons, statuses = [], []
    for line in repository.run("python", "-c", KEYS_CHANGE, **settings).splitlines():
        (reasons if line.startswith("{") else statuses).append(line)
    assert statuses == ["200", "200", "200", "200", "401"]
    said = [json.loads(line)["message"] for line in reasons]
    assert "holds #...; expected SHA-256 digests" in said[0]
    assert ["it is not UTF-8" in said[1], "No such file" in said[2]] == [True, True]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SERVE_HOST": "0.0.0.0", "SERVE_OPEN": "true"}, "There are no API keys and SERVE_HOST is 0.0.0.0"),
        ({}, "or, on 127.0.0.1 only, SERVE_OPEN=true to do without"),
        ({"SERVE_KEYS": "open sesame"}, "SERVE_KEYS holds open...; expected SHA-256 digests"),
        ({"SERVE_KEYS": "0" * 64 + ":2027-99-99"}, "SERVE_KEYS holds 000000000000...; expected SHA-256 digests"),
        ({"SERVE_KEYS_FILE": "/nowhere"}, "SERVE_KEYS_FILE is /nowhere, which can't be read: No such file"),
        ({"SERVE_OPEN": "true", "MLFLOW_TRACKING_URI": "nonsense"}, "MLFLOW_TRACKING_URI is nonsense; expected"),
        ({"SERVE_MODEL": "data", "SERVE_OPEN": "true"}, "data holds no exported version"),
        ({"SERVE_OPEN": "true", "DATABASE_URL": "nonsense"}, "DATABASE_URL is no address that can be used"),
        ({"SERVE_PORT": "high"}, "SERVE_PORT is 'high'; expected a valid integer"),
    ],
)
def test_an_unsafe_or_wrong_setting_is_named(repository, environment, sentence):
    assert sentence in repository.run(TOOL, "serve", fails=True, **environment)


def stop_under_load(service, how):
    """Ask from four threads, stop the service in the midst; gives the ids of all answers that came."""
    answered = []

    def ask_on():
        while service.process.poll() is None:
            try:
                answered.extend(answer["id"] for answer in service.ask("/predict", [ROW, ROW])[1])
            except (OSError, ValueError, http.client.HTTPException):
                return

    threads = [threading.Thread(target=ask_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    service.stop(how)
    for thread in threads:
        thread.join()
    return answered


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_answer_is_lost_when_the_service_is_killed_under_load(repository, tmp_path, kind, request):
    """Killed twenty times in all."""
    database = f"sqlite:///{tmp_path}/log.db" if kind == "sqlite" else request.getfixturevalue("postgres")[0]
    folder = tmp_path / "version"
    repository.run(TOOL, "export", str(folder))
    answered = []
    for _ in range(10):
        service = Service(repository, DATABASE_URL=database, SERVE_MODEL=str(folder))
        answered += stop_under_load(service, signal.SIGKILL)
    assert len(answered) > 100
    with serving(repository, DATABASE_URL=database) as service:
        missing = [found for found in answered if service.ask(f"/predictions/{found}")[0] != 200]
    assert missing == []


def test_a_service_that_is_told_to_stop_sends_every_answer_that_it_has_logged(repository, tmp_path):
    answered = stop_under_load(Service(repository, DATABASE_URL=f"sqlite:///{tmp_path}/log.db"), signal.SIGTERM)
    assert len(answered) > 20
    logged = sqlite3.connect(tmp_path / "log.db").execute("select id from predictions").fetchall()
    assert sorted(answered) == sorted(found for (found,) in logged)


def test_nothing_is_answered_that_can_not_be_logged(repository, tmp_path):
    with serving(repository, DATABASE_URL=f"sqlite:///{tmp_path}/log.db") as service:
        assert service.ask("/predict", [ROW])[0] == 200
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("begin immediate")
        status, answer = service.ask("/predict", [ROW])
        assert (status, service.ask("/ready")[0]) == (503, 503)
        assert "The prediction log is out of use, so nothing is answered" in answer["detail"]
        other.execute("rollback")
        other.close()
        assert service.ask("/predict", [ROW])[0] == 200


def test_a_full_disk_is_named_and_forgotten_once_there_is_space(repository, tmp_path):
    database = f"sqlite:///{tmp_path}/log.db"
    with serving(repository, DATABASE_URL=database, TESTS_FORKS="") as service:  # the limit is for this process
        assert service.ask("/predict", [ROW])[0] == 200
        size = max(path.stat().st_size for path in tmp_path.iterdir())
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        statuses = [service.ask("/predict", [ROW] * 900)[0] for _ in range(3)]
        assert statuses[-1] == 503
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert service.ask("/predict", [ROW])[0] == 200


def test_slow_and_endless_requests_are_cut_off(repository):
    with serving(repository, SERVE_MOST_SECONDS="1", SERVE_MOST_BYTES="5000") as service:

        def send(*parts):
            """Send parts of a request with pauses between them; gives what comes back before the connection ends."""
            with socket.create_connection(("127.0.0.1", service.port), timeout=15) as client:
                try:
                    for part in parts:
                        client.sendall(part)
                        time.sleep(0.5)
                    return client.recv(10_000)
                except OSError:
                    return b""

        head = b"POST /predict HTTP/1.1\r\nHost: here\r\n"
        assert send(head, *[b"X: y\r\n"] * 20) == b""
        assert send(head + b"Content-Length: 100\r\n\r\n", *[b"["] * 20) == b""
        chunk = b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b" " * 4096 + b"\r\n" * 1
        assert b"413" in send(head + chunk, b"1000\r\n" + b" " * 4096 + b"\r\n").splitlines()[0]
        assert service.ask("/predict", [ROW])[0] == 200


def test_an_exported_version_is_served_without_mlflow_dvc_and_git(repository, tmp_path):
    folder = tmp_path / "version"
    repository.run(TOOL, "export", str(folder))
    assert "is not empty; expected a new folder" in repository.run(TOOL, "export", str(folder), fails=True)
    elsewhere = Repository(tmp_path / "elsewhere")
    elsewhere.path.mkdir()
    for name in ("pyproject.toml", "uv.lock", "README.md"):
        shutil.copy(repository.path / name, elsewhere.path)
    shutil.copytree(repository.path / "src", elsewhere.path / "src")
    groups = ["--no-default-groups", "--group", "model", "--group", "service"]
    elsewhere.run("uv", "sync", "--quiet", "--frozen", "--no-compile-bytecode", *groups)
    installed = {path.name for path in elsewhere.path.glob(".venv/lib/*/site-packages/*")}
    assert "fastapi" in installed
    assert not {"mlflow", "dvc"} & installed
    settings = {"SERVE_MODEL": str(folder), "DATABASE_URL": "sqlite:///log.db"}
    with serving(elsewhere, **settings) as service:
        status, (answer,) = service.ask("/predict", [ROW])
        assert (status, answer["version"]) == (200, "1")
        assert len(service.ask("/model")[1]["md5.train"]) == 32
        assert "Intended use" in service.ask("/")[1]
    with (folder / "features.py").open("a") as features:
        features.write("# changed\n")
    assert "features.py has been changed since" in elsewhere.run(
        TOOL, "serve", fails=True, **settings, SERVE_OPEN="true"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rows[name].dt.hour + rows[name].dt.minute / 60", "rows[name].dt.hour * 1.0"),
        (
            "    return pd.DataFrame",
            '    features["far"] = (rows["distance"] > 1000).astype("float64")\n    return pd.DataFrame',
        ),
    ],
    ids=["another meaning", "another feature"],
)
def test_features_of_a_teams_own_take_the_pipeline(released, tmp_path, old, new):
    repository = fork(released, tmp_path)
    commit_change(repository, old, new, "src/flight_delays/features.py")
    repository.run(TOOL, "release")
    with serving(repository) as service:
        assert "every row takes the pipeline: there is no equal fast path" in service.said()
        assert service.ask("/predict", [ROW])[1][0]["version"] == "2"


def test_the_log_of_the_service_is_json_without_what_people_sent(service):
    service.ask("/predict", [ROW | {"dest": "SECRET"}])
    service.ask("/predict", [ROW | {"pilot": "SECRET"}])
    lines = [json.loads(line) for line in service.said().splitlines() if not line.startswith("serve")]
    assert {"at", "path", "status", "milliseconds", "caller"} <= set(lines[-1])
    assert "SECRET" not in service.said()


def test_a_restart_of_postgresql_is_survived(repository, postgres):
    url, control, start = postgres
    with serving(repository, DATABASE_URL=url) as service:
        assert service.ask("/predict", [ROW])[0] == 200
        control("stop", "-m", "fast")
        assert service.ask("/predict", [ROW])[0] == 503
        assert service.ask("/ready")[0] == 503
        assert service.ask("/health")[0] == 200
        control(*start)
        status, (answer,) = service.ask("/predict", [ROW])
        assert status == 200
        assert service.ask("/feedback", {"id": answer["id"], "outcome": False})[0] == 200
        assert service.ask(f"/predictions/{answer['id']}")[1]["feedback"][0]["outcome"] is False
        assert "version 1" in repository.run(TOOL, "trace", answer["id"], DATABASE_URL=url)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_ten_thousand_odd_requests_cause_no_fault(repository, tmp_path, kind, request):
    database = f"sqlite:///{tmp_path}/log.db" if kind == "sqlite" else request.getfixturevalue("postgres")[0]
    statuses = Counter()
    with serving(repository, DATABASE_URL=database) as service:
        client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        for path, body in odd_bodies(5000, kind):
            client.request("POST", path, body, {"Content-Type": "application/json"})
            response = client.getresponse()
            response.read()
            statuses[response.status] += 1
        client.close()
    print(dict(statuses))
    assert statuses[200] > 100
    assert set(statuses) <= {200, 404, 422}


def test_the_interface_behaves_as_it_is_described(service, tmp_path):
    address = f"http://127.0.0.1:{service.port}/openapi.json"
    checks = "not_a_server_error,content_type_conformance,response_schema_conformance"
    command = ["schemathesis", "run", address, "--checks", checks, "--max-examples", "100", "--seed", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout[-5000:]


def test_a_new_champion_takes_over_without_a_failed_request(retrained, tmp_path):
    repository = fork(retrained, tmp_path)
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
