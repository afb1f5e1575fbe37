import json
import logging
import re
import shutil
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

import pandas as pd
import pytest
import uvicorn

from modelcycle.core.output import md5
from modelcycle.serving.logs import JsonLinesFormatter
from modelcycle.versions.prediction_log import open_log, read_answer, write_monitoring_result
from support.questions import change_an_answer
from support.service import ROW, wait

ORDER = {"at": "2024-03-01T10:00:00", "price": 60, "pieces": 4, "shop": "NO", "city": "Rome", "gift": False}


@pytest.fixture(scope="module")
def service(champion, serve_here, tmp_path_factory):
    """The service with the flights' champion."""
    with serve_here(lambda: champion, tmp_path_factory.mktemp("log")) as service:
        yield service


def read(service, path):
    """Give the text of a page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}", timeout=20) as response:
        return response.read().decode()


@pytest.mark.parametrize("size", [pytest.param(7, marks=pytest.mark.slow), 900])
def test_every_test_row_is_answered_as_by_the_pipeline(service, first_release, size):
    table = pd.read_parquet(first_release.path / "data/test.parquet").drop(columns="late")
    expected = pd.read_parquet(first_release.path / "reports/predictions.parquet")["probability_True"]
    rows, given = json.loads(table.to_json(orient="records", date_format="iso")), []
    for start in range(0, len(rows), size):
        status, answers = service.ask("/predict", rows[start : start + size])
        assert status == 200
        given += [answer["probabilities"]["True"] for answer in answers]
    assert given == expected.tolist()


def test_an_answer_is_logged_and_found_by_its_id_with_the_feedback(service):
    status, (answer,) = service.ask("/predict", [ROW])
    assert (status, answer["version"], answer["unusual"]) == (200, "1", [])
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    for outcome, comment in [(True, "stood in line"), (False, "")]:
        feedback = {"id": answer["id"], "outcome": outcome, "comment": comment}
        assert service.ask("/feedback", feedback) == (200, {"detail": "Thank you."})
    status, logged = service.ask(f"/predictions/{answer['id']}")
    assert logged["answer"]["probabilities"] == answer["probabilities"]
    assert (logged["inputs"]["carrier"], logged["inputs"]["humidity"], logged["caller"]) == ("B6", None, "local")
    told = [(feedback["outcome"], feedback["comment"]) for feedback in logged["feedback"]]
    assert told == [(True, "stood in line"), (False, "")]


def test_what_drove_an_answer_is_told_by_its_id(service):
    (answer,) = service.ask("/predict", [ROW])[1]
    status, drivers = service.ask(f"/predictions/{answer['id']}/drivers")
    assert status == 200
    assert 1 <= len(drivers) <= 3
    assert {driver["column"] for driver in drivers} <= {*ROW, "humidity", "pressure", "wind_speed", "precipitation"}
    assert all(driver["effect"] != 0 for driver in drivers)


@pytest.mark.parametrize(
    "path", ["/predictions/nothing", f"/predictions/{'0' * 32}", f"/predictions/{'0' * 32}/drivers"]
)
def test_an_unknown_id_is_named(service, path):
    assert service.ask(path) == (404, {"detail": f"There is no prediction {path.split('/')[2]}."})


def test_feedback_to_an_unknown_id_is_refused(service):
    unknown = service.ask("/feedback", {"id": "0" * 32, "outcome": True})
    assert unknown == (404, {"detail": f"There is no prediction {'0' * 32}."})
    status, answer = service.ask("/feedback", {"id": "0" * 32, "outcome": "late"})
    assert (status, answer["detail"][0]["field"]) == (422, "outcome")
    assert service.ask("/nowhere")[0] == 404
    assert service.ask("/predict")[0] == 405


@pytest.mark.parametrize(
    ("rows", "field", "found", "expected"),
    [
        ([ROW | {"humidity": 300}], "0.humidity", "300", "less than or equal to 100"),
        ([ROW | {"humidity": -1}], "0.humidity", "-1", "greater than or equal to 0"),
        ([ROW | {"origin": "Köln"}], "0.origin", "Köln", "'EWR', 'JFK' or 'LGA'"),
        ([{name: value for name, value in ROW.items() if name != "dest"}], "0.dest", None, "Field required"),
        ([ROW | {"pilot": "Ada"}], "0.pilot", "Ada", "not permitted"),
        ([ROW, ROW | {"distance": "far"}], "1.distance", "far", "a valid integer"),
        ([], "", "[]", "at least 1 item"),
        ([ROW] * 1001, "", ..., "at most 1000 items"),
        (b"[{", "", ..., "Invalid JSON"),
        (b"\xff\xfe", "", ..., "Invalid JSON"),
        ([ROW | {"scheduled_departure": "tomorrow"}], "0.scheduled_departure", "tomorrow", "a time in ISO 8601"),
        ([ROW | {"scheduled_departure": "1066-10-14T09:00"}], "0.scheduled_departure", "1066-10-14T09:00", "a time be"),
        ([ROW | {"distance": 10**19}], "0.distance", str(10**19), "less than or equal to"),
    ],
)
def test_rows_that_break_the_contract_are_refused_with_field_found_and_expected(service, rows, field, found, expected):
    status, answer = service.ask("/predict", rows)
    fault = answer["detail"][0]
    assert (status, fault["field"]) == (422, field)
    assert found in (fault["found"], ...)
    assert expected in fault["expected"]
    assert not fault["expected"].startswith(("Input should be", "Value error"))


def test_what_training_never_held_is_answered_with_a_flag_where_no_rule_forbids_it(champion, serve_here, tmp_path):
    contract = champion.contract.model_copy(deep=True)
    contract.columns["humidity"].max = contract.columns["origin"].values = None
    contract.columns["scheduled_departure"].format = "%d.%m.%Y %H:%M"
    with serve_here(lambda: replace(champion, contract=contract), tmp_path) as service:
        new = {"humidity": 300, "origin": "BER"}
        status, (declared, iso) = service.ask(
            "/predict",
            [ROW | new | {"scheduled_departure": time} for time in ("31.12.2013 07:30", "2013-12-31T07:30")],
        )
        assert status == 200
        assert set(declared["unusual"]) == {"origin BER was never seen in training", declared["unusual"][-1]}
        assert any(re.match(r"humidity 300 is outside \d+ to 100$", flag) for flag in declared["unusual"])
        assert declared["probabilities"] == iso["probabilities"]
        logged = service.ask(f"/predictions/{declared['id']}")[1]["inputs"]
        assert logged["scheduled_departure"] == "2013-12-31T07:30:00"
        assert service.ask(f"/predictions/{declared['id']}/drivers")[0] == 200
        assert "<option>EWR</option>" in re.sub(" selected", "", read(service, "/"))  # from the training data


def test_of_many_faults_twenty_are_named_and_of_a_long_value_the_beginning(service):
    status, answer = service.ask("/predict", [ROW | {"distance": 0}] * 30)
    assert (status, len(answer["detail"])) == (422, 20)
    _, answer = service.ask("/predict", [ROW | {"carrier": ["x"] * 100}])
    assert len(answer["detail"][0]["found"]) == 100  # characters at most


def test_a_character_that_the_log_can_not_hold_is_refused(service):
    status, answer = service.ask("/predict", [ROW | {"dest": "\0"}])
    assert (status, answer["detail"]) == (422, "The request holds the character \\u0000, which can't be logged.")
    assert service.ask("/feedback", {"id": "0" * 32, "outcome": True, "comment": "\0"})[0] == 422


def test_what_is_allowed_but_unusual_is_answered_and_flagged(service):
    status, (answer,) = service.ask("/predict", [ROW | {"carrier": "XX", "temperature": 54}])
    assert status == 200
    assert answer["unusual"][0] == "carrier XX was never seen in training"
    assert re.fullmatch(r"temperature 54.0 is outside -?\d\S* to \d\S*", answer["unusual"][1])


def test_the_interface_is_described_with_the_contracts_columns(service):
    document = service.ask("/openapi.json")[1]
    row = document["components"]["schemas"]["Row"]
    assert document["info"]["title"] == "flight delays: predictions"
    assert document["info"]["version"] == "1"
    assert document["info"]["description"].startswith("Flights from the airports of New York.")
    assert "temperature" in row["properties"]
    assert "carrier" in row["required"]
    assert "[°C]" in row["properties"]["temperature"]["description"]
    assert row["properties"]["origin"]["enum"] == ["EWR", "JFK", "LGA"]
    body = document["paths"]["/predict"]["post"]["requestBody"]
    assert body["required"]
    schema = body["content"]["application/json"]["schema"]
    assert (schema["items"]["$ref"], schema["minItems"], schema["maxItems"]) == ("#/components/schemas/Row", 1, 1000)
    feedback = document["paths"]["/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert feedback["properties"]["outcome"]["type"] == "boolean"


def test_the_pages_ask_nothing_of_other_machines(service):
    page = read(service, "/")
    assert "Airport of departure" in page
    assert "Intended use" in page  # the model's card
    assert "://" not in page
    documentation = read(service, "/docs")
    scripts = re.findall(r'(?:src|href)="([^"]+)"', documentation)
    assert [script for script in scripts if not script.startswith("/static")] == []
    assert "SwaggerUIBundle" in read(service, next(script for script in scripts if script.endswith(".js")))


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("two classes", '<button class="say" id="wrong">'),
        ("three classes", "<option>high</option><option>low</option><option>middle</option>"),
        ("an amount", '<input id="outcome" type="number" step="any"'),
    ],
)
def test_the_page_asks_for_the_outcome_as_the_target_is(train_version, serve_here, tmp_path, kind, asked):
    version = train_version(kind, max_iter=5)
    with serve_here(lambda: version, tmp_path) as service:
        page = read(service, "/")
        assert service.ask("/model")[1]["metrics"] == {}
    assert asked in page
    assert [text for text in ('id="wrong"', '<select id="outcome"', '<input id="outcome"') if text in page] == [
        {"two classes": 'id="wrong"', "three classes": '<select id="outcome"', "an amount": '<input id="outcome"'}[kind]
    ]
    assert "<option selected>" in page  # the usual city
    assert re.search(r'name="price" data-type="number" step="any"\s+min="0.0" max="100.0"\s+value="\d', page)


def test_the_model_and_the_metrics_are_shown(service):
    service.ask("/predict", [ROW])
    assert service.ask("/health") == (200, {"detail": "alive"})
    assert service.ask("/ready") == (200, {"version": "1"})
    model = service.ask("/model")[1]
    assert (model["version"], len(model["md5.train"]), len(model["git_commit"])) == ("1", 32, 40)
    assert 0.5 < model["metrics"]["roc_auc"] < 1
    metrics = service.ask("/metrics")[1]
    assert 'requests_total{path="/predict",status="200"}' in metrics
    assert re.search(r'^predictions_total\{prediction="(True|False)"\} \d', metrics, re.MULTILINE)
    assert "\nmodel_version 1.0\n" in metrics
    refused = float(re.search(r"^refused_requests_total (\S+)", metrics, re.MULTILINE)[1])
    service.ask("/predict", [])
    assert f"\nrefused_requests_total {refused + 1}\n" in service.ask("/metrics")[1]


def test_the_service_s_log_names_each_request_without_what_people_sent(service, caplog):
    caplog.set_level(logging.INFO)
    service.ask("/predict", [ROW | {"dest": "SECRET"}])
    service.ask("/predict", [ROW | {"pilot": "SECRET"}])
    answer = service.ask("/predict", [ROW])[1][0]
    service.ask(f"/predictions/{answer['id']}")
    wait(lambda: len([record for record in caplog.records if hasattr(record, "facts")]) == 4, "four lines")
    requests = [record.facts for record in caplog.records if hasattr(record, "facts")]
    assert [(facts["path"], facts["status"]) for facts in requests] == [
        ("/predict", 200),
        ("/predict", 422),
        ("/predict", 200),
        ("/predictions/{prediction_id}", 200),
    ]
    formatter = JsonLinesFormatter()
    assert "SECRET" not in "".join(formatter.format(record) for record in caplog.records)


def test_the_result_of_monitor_is_among_the_metrics(train_version, serve_here, tmp_path):
    version = train_version("an amount", max_iter=5)
    with serve_here(lambda: version, tmp_path) as service:
        assert "\nmonitor_alerts 0.0\n" in service.ask("/metrics")[1]
        result = {"until": "2024-03-01T00:00:00", "alerts": ["a"], "differences": [], "quality": {}}
        write_monitoring_result(open_log(f"sqlite:///{tmp_path}/log.db"), datetime(2024, 3, 1), result)
        assert "\nmonitor_alerts 1.0\n" in service.ask("/metrics")[1]
        service.ask("/predict", [ORDER])
        assert "\npredicted_amount_count 1.0\n" in service.ask("/metrics")[1]


# What goes wrong


def test_nothing_is_answered_that_can_not_be_logged(train_version, serve_here, tmp_path, caplog):
    version = train_version("two classes", max_iter=5)
    with serve_here(lambda: version, tmp_path / "away") as service:
        status, answer = service.ask("/predict", [ORDER])
        assert status == 503
        assert answer["detail"] == "The prediction log is out of use, so nothing is answered; try again."
        assert service.ask("/ready")[0] == 503
        assert service.ask("/health")[0] == 200
        assert 'requests_total{path="/predict",status="503"} 1.0' in service.ask("/metrics")[1]
        reasons = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
        assert reasons == {"the prediction log is out of use: OperationalError: unable to open database file"}
        (tmp_path / "away").mkdir()
        assert service.ask("/predict", [ORDER])[0] == 200
        assert service.ask("/ready")[0] == 200


@pytest.fixture
def slow(train_version):
    """A version whose features wait for an event, and the event."""
    usual = train_version("an amount", max_iter=5)
    event = threading.Event()
    event.set()

    def make_features(rows, contract):
        assert event.wait(20)
        return usual.predictor.make_features(rows, contract)

    return replace(usual, predictor=replace(usual.predictor, make_features=make_features)), event


@pytest.mark.slow
def test_an_answer_that_takes_too_long_is_refused_and_not_logged(slow, serve_here, tmp_path):
    version, event = slow
    with serve_here(lambda: version, tmp_path, most_seconds=0.5) as service:
        event.clear()
        refused = service.ask("/predict", [ORDER])
        event.set()
        assert refused == (503, {"detail": "The answer took too long; try again."})
        (answer,) = service.ask("/predict", [ORDER])[1]
    log = open_log(f"sqlite:///{tmp_path}/log.db")
    assert read_answer(log, answer["id"])["inputs"]["price"] == 60
    with log.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from predictions").scalar() == 1


def test_a_service_that_is_told_to_stop_first_answers_what_has_come_in(slow, serve_here, tmp_path):
    version, event = slow
    with ThreadPoolExecutor(5) as callers:
        with serve_here(lambda: version, tmp_path) as service:
            event.clear()
            answers = [callers.submit(service.ask, "/predict", [ORDER]) for _ in range(5)]
            wait(lambda: len(service.server.server_state.tasks) == 5, "five requests")
            service.server.should_exit = True
            event.set()
        answers = [answer.result() for answer in answers]
    assert [status for status, _ in answers] == [200] * 5
    log = open_log(f"sqlite:///{tmp_path}/log.db")
    assert all(read_answer(log, answer["id"]) for _, (answer,) in answers)


def test_a_fault_of_ours_is_told_without_what_people_sent(train_version, serve_here, tmp_path, caplog):
    version = train_version("two classes", max_iter=5)

    def fail(rows, contract):
        raise ZeroDivisionError("SECRET")

    broken = replace(version, predictor=replace(version.predictor, make_features=fail))
    with serve_here(lambda: broken, tmp_path) as service:
        answer = service.ask("/predict", [ORDER])
        assert answer == (500, {"detail": "Something went wrong here; the log of the service says what."})
        assert service.ask("/ready")[0] == 200
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "a request failed"
    assert record.exc_info[0] is ZeroDivisionError


def test_a_fault_behind_another_path_is_told_as_well(champion, serve_here, tmp_path, caplog):
    broken = replace(champion, facts={})  # of which the page shows the commit
    with serve_here(lambda: broken, tmp_path) as service:
        with pytest.raises(urllib.request.HTTPError) as refused:
            read(service, "/")
        assert refused.value.code == 500
        assert json.loads(refused.value.read())["detail"].startswith("Something went wrong here")
    assert "a request failed" in caplog.text


# A new champion


class Registry:
    """What the service asks for a champion: its number and, where that is another one, the version."""

    def __init__(self, version):
        self.number, self.version, self.fails = "1", version, False

    def read_number(self):
        return self.number

    def load(self):
        if self.fails:
            raise OSError("out of reach")
        return replace(self.version, version=self.number)


def test_a_new_champion_takes_over_without_a_failed_request(train_version, serve_here, tmp_path):
    registry = Registry(train_version("two classes", max_iter=5))
    with serve_here(registry.load, tmp_path, registry.read_number) as service:
        (old,) = service.ask("/predict", [ORDER])[1]
        assert service.ask("/openapi.json")[1]["info"]["version"] == "1"
        registry.number, versions = "2", []
        while not versions or versions[-1] != "2":
            status, (answer,) = service.ask("/predict", [ORDER])
            assert (status, answer["probabilities"]) == (200, old["probabilities"])
            versions.append(answer["version"])
        assert service.ask("/openapi.json")[1]["info"]["version"] == "2"
        assert "\nmodel_version 2.0\n" in service.ask("/metrics")[1]
        assert service.ask(f"/predictions/{answer['id']}/drivers")[0] == 200
        refused = service.ask(f"/predictions/{old['id']}/drivers")
        assert refused == (409, {"detail": "Version 1 has answered; 2 is in use now."})


@pytest.mark.slow
def test_a_champion_that_can_not_be_loaded_leaves_the_old_one_until_it_can(train_version, serve_here, tmp_path, caplog):
    registry = Registry(train_version("two classes", max_iter=5))
    with serve_here(registry.load, tmp_path, registry.read_number) as service:
        registry.fails, registry.number = True, "2"
        wait(lambda: "the new champion can't be loaded; version 1 goes on" in caplog.text, "a warning")
        assert service.ask("/ready") == (200, {"version": "1"})
        registry.fails = False
        wait(lambda: service.ask("/ready") == (200, {"version": "2"}), "version 2")


# What a version answered when it was released


def with_another_answer(bundle):
    """A version as if it had given another answer to one question when it was released."""
    asked = json.loads(json.dumps(bundle.questions))
    asked["answers"]["probability_True"][3] += 0.25
    return replace(bundle, questions=asked)


def test_a_start_with_other_answers_is_a_warning_and_a_metric(champion, serve_here, tmp_path, caplog):
    with serve_here(lambda: champion, tmp_path) as service:
        assert "\nanswers_changed 0.0\n" in service.ask("/metrics")[1]
    assert "does not answer here" not in caplog.text
    with serve_here(lambda: with_another_answer(champion), tmp_path) as service:
        assert "\nanswers_changed 1.0\n" in service.ask("/metrics")[1]
        assert service.ask("/ready")[0] == 200
    assert "Version 1 does not answer here as it did when it was released: 1 of " in caplog.text


def test_a_new_champion_with_other_answers_does_not_take_over(champion, serve_here, tmp_path, caplog):
    registry = Registry(champion)
    with serve_here(registry.load, tmp_path, registry.read_number) as service:
        registry.version, registry.number = with_another_answer(champion), "2"
        wait(lambda: "can't be loaded; version 1 goes on: Version 2 does not answer here" in caplog.text, "a warning")
        assert service.ask("/ready") == (200, {"version": "1"})


def test_an_image_s_build_asks_the_version_and_ends_where_its_answers_differ(exported, baked, tmp_path):
    folder = tmp_path / "version"
    shutil.copytree(exported, folder)
    told = "version 1 answers as when it was released"
    assert told in baked.verb("serve", "--check", SERVE_MODEL=str(folder))
    change_an_answer(folder / "questions.json")
    manifest = json.loads((folder / "version.json").read_text())
    manifest["files"]["questions.json"] = md5(folder / "questions.json")
    (folder / "version.json").write_text(json.dumps(manifest))
    printed = baked.verb("serve", "--check", SERVE_MODEL=str(folder), fails=True)
    assert printed.startswith("error: Version 1 does not answer here as it did when it was released: 1 of ")


# The verb


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SERVE_HOST": "0.0.0.0", "SERVE_OPEN": "true"}, "There are no API keys and SERVE_HOST is 0.0.0.0; set SERVE"),
        ({}, "or, on 127.0.0.1 only, SERVE_OPEN=true to do without."),
        ({"SERVE_KEYS": "open sesame"}, "SERVE_KEYS holds open...; expected SHA-256 digests"),
        ({"SERVE_KEYS": "0" * 64 + ":2027-99-99"}, "SERVE_KEYS holds 000000000000...; expected SHA-256 digests"),
        ({"SERVE_KEYS_FILE": "/nowhere"}, "SERVE_KEYS_FILE is /nowhere, which can't be read: No such file"),
        ({"SERVE_OPEN": "true", "MLFLOW_TRACKING_URI": "nonsense"}, "MLFLOW_TRACKING_URI is nonsense; expected"),
        ({"SERVE_MODEL": "data", "SERVE_OPEN": "true"}, "data holds no exported version"),
        ({"SERVE_OPEN": "true", "DATABASE_URL": "nonsense"}, "DATABASE_URL is no address that can be used"),
        ({"SERVE_PORT": "high"}, "SERVE_PORT is 'high'; expected a valid integer"),
    ],
)
def test_an_unsafe_or_wrong_setting_is_named(first_release, environment, sentence):
    status, printed = first_release.attempt("serve", **environment)
    assert status == 1
    assert printed.startswith("error: ")
    assert sentence in printed
    assert printed.count("\n") == 1


def test_without_a_champion_nothing_is_served(reproduced):
    printed = reproduced.verb("serve", fails=True, SERVE_OPEN="true")
    assert printed == "error: There is no champion yet; `make release` makes one.\n"


@pytest.fixture
def run(monkeypatch):
    """Note what uvicorn is told to run, instead of running it; the log's handlers stay as they are."""
    noted = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: noted.update(options, app=app))
    monkeypatch.setattr(logging, "basicConfig", lambda **options: noted.update(logging=options))
    return noted


def test_the_champion_is_served_where_the_settings_say(first_release, run, tmp_path):
    settings = {"SERVE_OPEN": "true", "SERVE_PORT": "8123", "DATABASE_URL": f"sqlite:///{tmp_path}/log.db"}
    printed = first_release.verb("serve", **settings)
    assert re.search(r"^serve +http://127.0.0.1:8123$", printed, re.MULTILINE)
    assert (run["host"], run["port"], run["timeout_graceful_shutdown"]) == ("127.0.0.1", 8123, 30)
    assert (run["log_config"], run["access_log"], run["logging"]["level"]) == (None, False, logging.INFO)
    assert run["app"].state.service.settings.is_open


def test_an_exported_version_that_was_changed_is_not_served(exported, baked, run, tmp_path):
    folder = tmp_path / "version"
    shutil.copytree(exported, folder)
    settings = {"SERVE_OPEN": "true", "SERVE_MODEL": str(folder), "DATABASE_URL": f"sqlite:///{tmp_path}/log.db"}
    baked.verb("serve", **settings)
    assert run["app"]
    with (folder / "src/flight_delays/features.py").open("a") as features:
        features.write("# changed\n")
    assert "features.py has been changed since the export." in baked.verb("serve", fails=True, **settings)
