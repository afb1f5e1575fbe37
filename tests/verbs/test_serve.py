"""The service in use: asked, overloaded, killed, and followed back from one answer to the training data."""

import hashlib
import http.client
import json
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from support.repository import Repository
from support.service import ROW, Service, serving, wait
from support.stress import send_odd_bodies, stop_under_load

TOOL = "modelcycle"
KEY = {"X-API-Key": "open sesame"}
KNOWN, OLD = (hashlib.sha256(key).hexdigest() for key in (b"open sesame", b"worn out"))


@pytest.fixture(scope="module")
def repository(released, tmp_path_factory) -> Repository:
    return released.copy_to(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def service(repository):
    """The service with the settings that it has on one's own machine."""
    with serving(repository) as running:
        yield running


@pytest.fixture(scope="module")
def exported(repository, tmp_path_factory) -> Path:
    """The folder of an exported version."""
    folder = tmp_path_factory.mktemp("exported") / "version"
    repository.run(TOOL, "export", str(folder))
    return folder


def test_a_row_is_answered_logged_and_traced_to_the_training_data(service, repository):
    status, (answer,) = service.ask("/predict", [ROW])
    assert (status, answer["version"]) == (200, "1")
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert service.ask("/feedback", {"id": answer["id"], "outcome": True, "comment": "stood in line"})[0] == 200
    status, logged = service.ask(f"/predictions/{answer['id']}")
    assert logged["answer"]["probabilities"] == answer["probabilities"]
    assert logged["inputs"]["carrier"] == "B6"
    assert [feedback["outcome"] for feedback in logged["feedback"]] == [True]
    printed = repository.run(TOOL, "trace", answer["id"])
    assert "version 1 (champion)" in printed
    assert "data/train.parquet md5" in printed


def test_a_row_that_breaks_the_contract_is_refused_and_counted(service):
    status, answer = service.ask("/predict", [ROW | {"humidity": 300}])
    assert status == 422
    fault = {"field": "0.humidity", "found": "300", "expected": "less than or equal to 100"}
    assert answer["detail"] == [fault]
    assert 'requests_total{path="/predict",status="422"}' in service.ask("/metrics")[1]
    assert service.ask("/ready") == (200, {"version": "1"})


def test_the_service_s_log_is_json_without_what_people_sent(service):
    service.ask("/predict", [ROW | {"dest": "SECRET"}])
    service.ask("/predict", [ROW | {"pilot": "SECRET"}])
    wait(lambda: '"status":422' in service.said().splitlines()[-1], "the log")
    started, *lines = service.said().splitlines()
    assert json.loads(started)["message"] == "version 1 is in use"
    lines = [json.loads(line) for line in lines if not line.startswith("serve ")]
    assert {"at", "path", "status", "milliseconds", "caller"} <= set(lines[-1])
    assert "SECRET" not in service.said()


def test_odd_requests_cause_no_fault(service):
    statuses = send_odd_bodies(service, 5000, "odd")
    assert statuses[200] > 50
    assert set(statuses) <= {200, 404, 422}, statuses


def test_the_interface_behaves_as_it_is_described(service, tmp_path):
    address = f"http://127.0.0.1:{service.port}/openapi.json"
    checks = "not_a_server_error,content_type_conformance,response_schema_conformance"
    program = Path(sys.executable).with_name("schemathesis")
    command = [program, "run", address, "--checks", checks, "--max-examples", "100", "--seed", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout[-5000:]


def test_nothing_is_answered_while_the_log_is_locked(service, repository):
    other = sqlite3.connect(repository.path / ".mlflow/predictions.db", isolation_level=None)
    other.execute("begin immediate")
    status, answer = service.ask("/predict", [ROW])
    assert (status, service.ask("/ready")[0]) == (503, 503)
    assert "The prediction log is out of use, so nothing is answered" in answer["detail"]
    other.execute("rollback")
    other.close()
    assert service.ask("/predict", [ROW])[0] == 200


def test_a_full_disk_is_named_and_forgotten_once_there_is_space(service, repository):
    assert service.ask("/predict", [ROW])[0] == 200  # there is a log
    size = max(path.stat().st_size for path in repository.path.glob(".mlflow/predictions.db*"))
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    assert any(service.ask("/predict", [ROW] * 900)[0] == 503 for _ in range(100))  # there is room in its files
    wait(lambda: "disk" in service.said(), "the reason")
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert service.ask("/predict", [ROW])[0] == 200


def test_keys_and_limits_hold_and_a_refusal_ends_the_connection(repository, exported, tmp_path):
    settings = {"SERVE_KEYS": f"{KNOWN} {OLD}:2020-12-31", "SERVE_MOST_BYTES": "2000", "SERVE_MOST_SECONDS": "1"}
    settings |= {"SERVE_REQUESTS_PER_MINUTE": "20", "SERVE_MODEL": str(exported)}
    with serving(repository, **settings, DATABASE_URL=f"sqlite:///{tmp_path}/log.db") as service:
        assert service.ask("/predict", [ROW])[0] == 401
        assert service.ask("/predict", [ROW], **{"X-API-Key": "worn out"})[0] == 401
        assert service.ask("/metrics", Authorization="Bearer open sesame")[0] == 200
        assert service.ask("/predict", [ROW], **KEY)[0] == 200
        assert service.ask("/predict", [ROW] * 50, **KEY)[0] == 413
        refused = talk(service, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nconnection: close\r\n" in refused
        client = http.client.HTTPConnection("127.0.0.1", service.port)
        for _ in range(2):  # what was read whole leaves the connection to the next request
            client.request("POST", "/predict", "[]", KEY)
            response = client.getresponse()
            assert (response.status, response.headers["connection"]) == (422, None)
            response.read()
        client.close()
        head = b"POST /predict HTTP/1.1\r\nHost: here\r\nX-API-Key: open sesame\r\n"
        assert talk(service, head, b"X: y\r\n") == b""  # a head without an end
        assert talk(service, head + b"Content-Length: 100\r\n\r\n", b"[") == b""
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        too_large = talk(service, head + b"Transfer-Encoding: chunked\r\n\r\n", chunk)
        assert too_large.startswith(b"HTTP/1.1 413 ")
        assert {service.ask("/predict", [ROW], **KEY)[0] for _ in range(50)} == {200, 429}
        assert service.ask("/health")[0] == 200


def talk(service: Service, start: bytes, part: bytes = b"") -> bytes:
    """Send the start of a request and then a part of it every tenth of a second; gives what comes until the end."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=0.1) as line:
        line.sendall(start)
        answer = b""
        for _ in range(300):
            try:
                if not (more := line.recv(10_000)):
                    return answer
                answer += more
            except TimeoutError:
                try:
                    line.sendall(part)
                except ConnectionError:
                    return answer
            except ConnectionError:
                return answer
    raise AssertionError(f"the connection is still open after {answer!r}")


def test_an_unsafe_setting_is_named_before_anything_is_served(repository):
    printed = repository.run(TOOL, "serve", fails=True, SERVE_HOST="0.0.0.0", SERVE_OPEN="true")
    assert printed.startswith("error: There are no API keys and SERVE_HOST is 0.0.0.0; set SERVE_KEYS")
    assert printed.count("\n") == 1


def test_no_answer_is_lost_when_the_service_is_killed_under_load(repository, exported, tmp_path):
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/log.db", "SERVE_MODEL": str(exported)}
    answered = []
    for _ in range(5):
        answered += stop_under_load(Service(repository, **settings), signal.SIGKILL)
    assert len(answered) > 50
    assert set(answered) <= logged_ids(tmp_path)


def logged_ids(folder: Path) -> set[str]:
    """Give the ids of the answers in the log of a folder."""
    with closing(sqlite3.connect(folder / "log.db")) as log:
        return {given for (given,) in log.execute("select id from predictions")}


def test_a_service_that_is_told_to_stop_sends_every_answer_that_it_has_logged(repository, exported, tmp_path):
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/log.db", "SERVE_MODEL": str(exported)}
    service = Service(repository, **settings)
    answered = stop_under_load(service, signal.SIGTERM)
    assert service.process.returncode in (0, -signal.SIGTERM)
    assert len(answered) > 20
    assert set(answered) == logged_ids(tmp_path)


def test_an_exported_version_is_served_without_mlflow_dvc_and_git_where_there_is_nothing_else(
    repository, exported, tmp_path
):
    assert "is not empty; expected a new folder" in repository.run(TOOL, "export", str(exported), fails=True)
    code = Repository(tmp_path / "code")
    code.path.mkdir()
    for name in ("pyproject.toml", "uv.lock", "README.md"):
        shutil.copy(repository.path / name, code.path)
    shutil.copytree(repository.path / "src", code.path / "src")
    groups = ["--no-default-groups", "--group", "model", "--group", "service"]
    code.run("uv", "sync", "--quiet", "--frozen", "--no-compile-bytecode", *groups)
    installed = {path.name for path in code.path.glob(".venv/lib/*/site-packages/*")}
    assert "fastapi" in installed
    assert not {"mlflow", "dvc"} & installed
    nowhere = Repository(tmp_path / "nowhere")
    nowhere.path.mkdir()
    (nowhere.path / ".venv").symlink_to(code.path / ".venv")
    with serving(nowhere, SERVE_MODEL=str(exported), DATABASE_URL="sqlite:///log.db") as service:
        status, (answer,) = service.ask("/predict", [ROW])
        assert (status, answer["version"]) == (200, "1")
        assert len(service.ask("/model")[1]["md5.train"]) == 32
        assert "Intended use" in service.ask("/")[1]


def test_a_new_champion_with_features_of_the_team_s_own_takes_over_without_a_failed_request(released, tmp_path):
    """It answers row for row what `evaluate` has predicted with the edited features.py; the one before did not."""
    repository = released.copy_to(tmp_path)
    before = pd.read_parquet(repository.path / "reports/predictions.parquet")["probability_True"]
    rows = pd.read_parquet(repository.path / "data/test.parquet").drop(columns=["flight_id", "late"])[:300]
    asked = json.loads(rows.to_json(orient="records", date_format="iso"))
    with serving(repository) as service:
        old, new = "times.dt.hour + times.dt.minute / 60", "times.dt.hour * 1.0"
        repository.commit_change(old, new, "src/flight_delays/features.py")
        statuses, versions, done = set(), [], threading.Event()

        def ask_on():
            while not done.is_set():
                status, answers = service.ask("/predict", [ROW])
                statuses.add(status)
                versions.append(answers[0]["version"])

        thread = threading.Thread(target=ask_on)
        thread.start()
        try:
            repository.run(TOOL, "release")
            wait(lambda: versions[-1] == "2", "version 2")
        finally:
            done.set()
            thread.join()
        status, answers = service.ask("/predict", asked)
    assert (status, {answer["version"] for answer in answers}) == (200, {"2"})
    assert statuses == {200}
    assert set(versions) == {"1", "2"}
    expected = pd.read_parquet(repository.path / "reports/predictions.parquet")["probability_True"]
    assert [answer["probabilities"]["True"] for answer in answers] == pytest.approx(expected[:300].tolist(), abs=1e-12)
    assert expected[:300].tolist() != pytest.approx(before[:300].tolist(), abs=1e-3)
