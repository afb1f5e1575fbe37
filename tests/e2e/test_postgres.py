"""The service with its log on PostgreSQL: killed under load, asked oddly, and with the database restarted."""

import signal
import subprocess

import pytest

from support.repository import Repository
from support.service import ROW, Service, serving
from support.stress import send_odd_bodies, stop_under_load


@pytest.fixture(scope="module")
def repository(released, tmp_path_factory) -> Repository:
    return released.copy_to(tmp_path_factory.mktemp("served"))


def test_no_answer_is_lost_when_the_service_is_killed_under_load(repository, postgres, tmp_path):
    repository.run("modelcycle", "export", str(tmp_path / "version"))
    settings = {"DATABASE_URL": postgres[0], "SERVE_MODEL": str(tmp_path / "version")}
    answered = []
    for _ in range(10):
        answered += stop_under_load(Service(repository, **settings), signal.SIGKILL)
    assert len(answered) > 100
    query = ["psql", "--quiet", "--tuples-only", "--command", "select id from predictions"]
    assert set(answered) <= set(repository.run(*query, postgres[0].replace("+psycopg", "")).split())


def test_first_uses_of_a_fresh_store_at_the_same_moment_all_succeed(repository, postgres):
    """Each makes MLflow's tables, the experiment and its ledger, unless another one has done so."""
    repository.run("psql", "--quiet", "--command", "create database fresh", postgres[0].replace("+psycopg", ""))
    address = postgres[0].replace("/postgres", "/fresh")
    environment = repository.environment() | {"MLFLOW_TRACKING_URI": address}
    command = ["modelcycle", "release", "--history"]
    started = [
        subprocess.Popen(
            command, cwd=repository.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(4)
    ]
    ended = [(process.communicate()[0].decode(), process.returncode) for process in started]
    assert [status for _, status in ended] == [0] * 4, ended
    repository.run("modelcycle", "train", MLFLOW_TRACKING_URI=address)


def test_a_restart_of_the_database_is_survived_and_odd_requests_cause_no_fault(repository, postgres):
    url, control, start = postgres
    with serving(repository, DATABASE_URL=url) as service:
        statuses = send_odd_bodies(service, 5000, "postgres")
        assert statuses[200] > 100
        assert set(statuses) <= {200, 404, 422}, statuses
        control("stop", "-m", "fast")
        assert service.ask("/predict", [ROW])[0] == 503
        assert service.ask("/ready")[0] == 503
        assert service.ask("/health")[0] == 200
        control(*start)
        status, (answer,) = service.ask("/predict", [ROW])
        assert status == 200
        assert service.ask("/feedback", {"id": answer["id"], "outcome": False})[0] == 200
        assert service.ask(f"/predictions/{answer['id']}")[1]["feedback"][0]["outcome"] is False
        assert "version 1" in repository.run("modelcycle", "trace", answer["id"], DATABASE_URL=url)
