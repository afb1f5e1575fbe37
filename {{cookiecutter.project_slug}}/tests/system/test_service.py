"""The whole: the pipeline runs, its model is served as an image serves it, programs and a browser ask it."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from modelcycle.core import paths
from modelcycle.core.contract import read_contract
from modelcycle.serving.schema import typical_value
from modelcycle.testing import ENVIRONMENT
from modelcycle.versions.bundle import FILES, write_export
from modelcycle.versions.code import read_code
from pydantic_core import to_jsonable_python

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def exported(reproduced, tmp_path_factory):
    """What the pipeline made, in the form that an image holds."""
    folder = tmp_path_factory.mktemp("system") / "model"
    files = {path.name: (reproduced / path).read_bytes() for path in FILES}
    write_export(folder, files, read_code(reproduced / "src"), "0", {"git_commit": "0" * 40})
    return folder


@pytest.fixture(scope="session")
def ask(exported):
    """Start the service; gives a function that sends it a request and returns the status and the answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "SERVE_MODEL": str(exported),
        "SERVE_PORT": address.partition(":")[2],
        "SERVE_OPEN": "true",
        "DATABASE_URL": f"sqlite:///{exported.parent}/predictions.db",
    }
    log = (exported.parent / "log").open("w+")
    service = subprocess.Popen(
        [sys.executable, "-m", "modelcycle", "serve"], env=ENVIRONMENT | settings, stdout=log, stderr=log
    )

    def send(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{address}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310  the service just started
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    send.address = f"http://{address}/"
    try:
        for _ in range(300):
            try:
                if send("/ready")[0] == 200:
                    break
            except OSError:
                assert service.poll() is None, (exported.parent / "log").read_text()
            time.sleep(0.2)
        yield send
    finally:
        service.terminate()
        service.wait(40)
        log.close()


@pytest.fixture
def row(exported, monkeypatch):
    """A usual case, as a request has it."""
    monkeypatch.chdir(exported)
    contract, profile = read_contract(), json.loads((exported / paths.PROFILE.name).read_text(encoding="utf-8"))
    columns = {name: contract.columns[name] for name in contract.inputs}
    usual = {name: typical_value(column, profile.get(name, {})) for name, column in columns.items()}
    return {name: to_jsonable_python(value) for name, value in usual.items() if value is not None}


def test_a_case_is_answered_logged_and_its_outcome_taken(ask, row):
    status, text = ask("/predict", [row, row])
    assert status == 200, text
    first, second = json.loads(text)
    assert first["prediction"] == second["prediction"]
    status, text = ask(f"/predictions/{first['id']}")
    assert status == 200
    assert json.loads(text)["answer"]["prediction"] == first["prediction"]
    contract = read_contract()
    is_integer = contract.columns[contract.target].type == "integer"  # the prediction is an amount between two of them
    outcome = round(first["prediction"]) if is_integer else first["prediction"]
    assert ask("/feedback", {"id": first["id"], "outcome": outcome})[0] == 200


def test_a_case_that_breaks_the_contract_is_refused_in_words(ask, row):
    status, text = ask("/predict", [row | {"no such column": 1}])
    assert status == 422
    assert "no such column" in text


def test_the_interface_is_described_and_the_figures_are_there(ask, row):
    described = json.loads(ask("/openapi.json")[1])
    assert set(row) <= set(described["components"]["schemas"]["Row"]["properties"])
    assert re.search(r"^[a-z_]*requests[a-z_]*\{.*/predict.*\} [1-9]", ask("/metrics")[1], re.MULTILINE)


def test_a_browser_shows_the_page_with_every_input(ask, row, tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("There is no chromium or chrome here; with one of them, the page is tried as well.")
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000", "--dump-dom", ask.address]
    page = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False).stdout
    assert "Ask the model" in page
    assert all(f'name="{name}"' in page for name in row)
