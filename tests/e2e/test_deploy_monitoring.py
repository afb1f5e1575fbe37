"""Prometheus with the repository's own files beside a running service: what it alerts for, what the dashboard shows."""

import json
import math
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.repository import TREE, Repository
from support.service import ROW, free_port, serving, system_program, wait

FILES = TREE / "deploy/monitoring"
RULES = [rule for group in YAML(typ="safe").load(FILES / "alerts.yml")["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
OF_AMOUNTS = "Predicted amounts"  # the only panel that is empty where classes are predicted
ANSWERS_AMOUNTS = """
import sys, time, prometheus_client
from modelcycle.serving.telemetry import Telemetry
telemetry = Telemetry([10, 20, 30])
prometheus_client.start_http_server(int(sys.argv[1]), "127.0.0.1", telemetry.registry)
while True:
    telemetry.count_answers([{"unusual": [], "probabilities": {}, "prediction": 12.5}])
    time.sleep(0.1)
"""


def promtool(*arguments: str | Path) -> str:
    """Run promtool; empty when it has nothing to say against the files."""
    command = [system_program("promtool", "prometheus"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.stdout + done.stderr if done.returncode else ""


@dataclass
class Prometheus:
    """A running Prometheus and the names of the figures that the service shows it."""

    port: int
    names: set[str]

    def get(self, path: str, **parameters: str) -> dict | list:
        """Ask the interface. Raises ValueError with what Prometheus has against the question."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def values(self, expression: str) -> list[float]:
        """Give the numbers that an expression has now."""
        found = [float(row["value"][1]) for row in self.get("query", query=expression)["result"]]
        return [value for value in found if math.isfinite(value)]

    def is_up(self, job: str = "service") -> bool:
        """Say whether a service has been asked often enough for rates."""
        try:
            return self.values(f"sum_over_time(up{{job='{job}'}}[1m]) > 3") != []
        except OSError:
            return False


@contextmanager
def prometheus(repository: Repository, port: int, other: int) -> Iterator[int]:
    """Run Prometheus as the README says, for a service on a port and one for amounts on another; gives its own port."""
    system_program("prometheus", "prometheus")
    own, config = free_port(), repository.path / "deploy/monitoring/prometheus.yml"
    text = changed(config.read_text("utf-8"), {"127.0.0.1:8000": f"127.0.0.1:{port}", "interval: 15s": "interval: 1s"})
    text += f'  - job_name: amounts\n    static_configs: [{{targets: ["127.0.0.1:{other}"]}}]\n'
    config.write_text(text, encoding="utf-8")
    command = re.search(r"^prometheus (\\\n|.)*", repository.read("README.md"), re.MULTILINE)[0]
    command = ["sh", "-c", f"exec {changed(command, {':9090': f':{own}'})}"]
    process = subprocess.Popen(command, cwd=repository.path)
    try:
        yield own
    finally:
        process.terminate()
        process.wait(20)


def changed(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def watched(released: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A service that has answered, refused and been monitored, and the Prometheus that has watched it."""
    repository = released.copy_to(tmp_path_factory.mktemp("watched"))
    other = free_port()
    command = [repository.path / ".venv/bin/python", "-c", ANSWERS_AMOUNTS, str(other)]
    amounts = subprocess.Popen(command, env=repository.environment())
    try:
        with serving(repository) as service, prometheus(repository, service.port, other) as port:
            found = Prometheus(port, set())

            def use() -> None:
                for hour in range(24):
                    row = ROW | {"scheduled_departure": f"2013-03-01T{hour:02}:30:00", "temperature": 54}
                    for answer in service.ask("/predict", [row] * 5)[1]:
                        service.ask("/feedback", {"id": answer["id"], "outcome": hour > 17})
                    assert service.ask("/predict", [row | {"humidity": 300}])[0] == 422

            use()
            wait(found.is_up, "Prometheus")  # the figures of the first requests are known: what comes now is a change
            use()
            since, until = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
            printed = repository.run(
                "modelcycle", "monitor", "--since", since.isoformat(), "--until", until.isoformat(), fails=True
            )
            assert "alert: carrier has other shares" in printed
            wait(lambda: found.is_up("amounts"), "the service for amounts")
            wait(lambda: found.values("monitor_alerts{job='service'}") > [0], "the monitor's result")
            shown = service.ask("/metrics")[1]
            assert repository.run("git", "status", "--porcelain").split() == ["M", "deploy/monitoring/prometheus.yml"]
            found.names = {"up", *re.findall(r"^\w+", shown, re.MULTILINE)}
            yield found
    finally:
        amounts.terminate()
        amounts.wait(20)


def expressions(dashboard: dict, job: str = "service") -> list[tuple[str, str]]:
    """List each panel's title and expressions, with Grafana's variables replaced."""
    return [
        (panel["title"], target["expr"].replace("$job", job).replace("$__rate_interval", "1m"))
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


def faults(asked: list[tuple[str, str]], running: Prometheus, empty: tuple[str, ...] = ()) -> list[str]:
    """Say which expressions are wrong, have no value, or name a figure that the service does not show."""
    found = []
    for where, expression in asked:
        names = set(re.findall(r"(\w+)\{", expression))
        found += [f"{where}: {name} is no figure of the service" for name in sorted(names - running.names)]
        try:
            if not running.values(expression) and where not in empty:
                found.append(f"{where}: no value")
        except ValueError as error:
            found.append(f"{where}: {error}")
    return found


def test_promtool_has_nothing_against_the_files():
    assert promtool("check", "config", FILES / "prometheus.yml") == ""
    assert promtool("check", "rules", FILES / "alerts.yml") == ""
    assert promtool("test", "rules", FILES / "alerts_test.yml") == ""


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [("vector(1)", r"exp: ?(?:nil|\[\]).*\n(.*)"), ("vector(0) > 1", ".*")],
    ids=["always", "never"],
)
def test_rules_that_fire_always_or_never_fail_the_rules_own_tests(tmp_path, expression, complaint):
    """All at once, since each is told by its name: an alert where none is expected, none where it is."""
    yaml, said = YAML(typ="safe"), ""
    for weekly in (True, False):  # apart, or all rules would be judged through a week
        rules, tests = yaml.load(FILES / "alerts.yml"), yaml.load(FILES / "alerts_test.yml")
        for group in rules["groups"]:
            chosen = [rule for rule in group["rules"] if ("offset 1w" in rule["expr"]) == weekly]
            group["rules"] = [rule | {"expr": expression} for rule in chosen]
        tests["tests"] = [test for test in tests["tests"] if (test["interval"] == "10m") == weekly]
        yaml.dump(rules, tmp_path / "alerts.yml")
        yaml.dump(tests, tmp_path / "alerts_test.yml")
        said += "\n".join(re.findall(complaint, promtool("test", "rules", tmp_path / "alerts_test.yml")))
    assert {rule["alert"] for rule in RULES if rule["alert"] not in said} == set()


def test_every_rule_is_named_has_a_severity_and_says_what_to_do():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert len(rule["annotations"]["summary"]) > 80
        assert 'job="service"' in rule["expr"]


def test_every_panel_has_a_value_in_a_running_prometheus(watched):
    assert faults(expressions(DASHBOARD), watched, empty=(OF_AMOUNTS,)) == []
    assert watched.get("label/job/values", **{"match[]": "model_version"}) == ["amounts", "service"]
    assert watched.values("count(quality)") == [2]


def test_the_panel_of_amounts_has_a_value_where_amounts_are_predicted(watched):
    asked = [expression for name, expression in expressions(DASHBOARD, "amounts") if name == OF_AMOUNTS]
    found = [watched.values(expression) for expression in asked]
    assert found == [[pytest.approx(value)] for value in (12.5, 11, 15, 19)]  # between 10 and 20 Prometheus guesses
    assert [watched.values(expression.replace("amounts", "service")) for expression in asked] == [[]] * 4


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("refused_requests_total", "refused_request_total", "refused_request_total is no figure of the service"),
        ("refused_requests_total", "refused_request_total", "per second: no value"),
        ("path='/predict'", "path='/predicted'", "Time to answer /predict: no value"),
        ("sum by (status) (", "sum by status (", "by status: invalid parameter"),
    ],
)
def test_a_planted_fault_in_the_dashboard_is_found(watched, right, wrong, fault):
    text = json.dumps(DASHBOARD)
    assert right in text
    assert fault in "\n".join(faults(expressions(json.loads(text.replace(right, wrong))), watched))


def test_the_rules_name_figures_that_the_service_shows_and_are_evaluated(watched):
    for rule in RULES:
        names = set(re.findall(r"(\w+)\{", f"{rule['expr']}\n{rule['annotations']['summary']}"))
        assert names
        assert names <= watched.names, rule["alert"]
    wait(lambda: all(rule["health"] != "unknown" for rule in running_rules(watched)), "a rule")
    running = running_rules(watched)
    assert sorted(rule["name"] for rule in running) == sorted(rule["alert"] for rule in RULES)
    assert {rule["health"]: rule.get("lastError") for rule in running} == {"ok": None}


def running_rules(running: Prometheus) -> list[dict]:
    return [rule for group in running.get("rules")["groups"] for rule in group["rules"]]


def test_drift_is_an_alert_in_a_running_prometheus(watched):
    def drift() -> dict:
        (rule,) = (rule for rule in running_rules(watched) if rule["name"] == "Drift")
        return rule

    wait(lambda: drift()["state"] == "firing", "the alert")
    by_column = {(alert["labels"]["column"], alert["labels"]["what"]): alert for alert in drift()["alerts"]}
    summary = by_column["carrier", "values"]["annotations"]["summary"]
    assert summary.startswith("carrier is not what the model was trained or tested on (values).")
    assert "error" not in summary
    quiet = {rule["name"] for rule in running_rules(watched) if rule["state"] == "inactive"}
    assert {"ServiceDown", "ServerErrors", "LogOutOfUse", "NotMonitored"} <= quiet


def test_the_panels_lie_side_by_side_and_take_their_source_from_the_variable():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(place["x"] + x, place["y"] + y) for place in places for x in range(place["w"]) for y in range(place["h"])]
    assert len(cells) == len(set(cells)) == 24 * max(y + 1 for _, y in cells)
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all("job='$job'" in target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
