"""The model in production, watched: what the service logs is what `monitor` reads, and the shell learns of an alert."""

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from support.service import ROW, serving


def test_what_the_service_logs_is_what_monitor_reads(released, tmp_path):
    repository = released.copy_to(tmp_path)
    since, until = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    with serving(repository) as service:
        for hour in range(24):
            rows = [ROW | {"scheduled_departure": f"2013-03-01T{hour:02}:30:00"}] * 10
            answers = service.ask("/predict", rows)[1]
            service.ask("/feedback", {"id": answers[0]["id"], "outcome": hour > 17})
        assert "drift{" not in service.ask("/metrics")[1]
        span = ("--since", since.isoformat(), "--until", until.isoformat())
        command, pipe = ["modelcycle", "monitor", *span], subprocess.PIPE
        options = {"cwd": repository.path, "env": repository.environment(), "encoding": "utf-8", "check": False}
        told = subprocess.run(command, stdout=pipe, stderr=subprocess.STDOUT, **options)
        figures = dict(line.rsplit(" ", 1) for line in service.ask("/metrics")[1].splitlines())
    assert told.returncode == 2
    found = json.loads(repository.read("reports/monitoring.json"))
    assert found["answers"] == 240
    assert found["quality"]["labels"] == 24
    assert float(figures["monitor_alerts"]) == len(found["alerts"])
    assert float(figures["monitor_time_seconds"]) == pytest.approx(until.timestamp(), abs=1)
    assert float(figures['drift{column="carrier",what="values"}']) > 1
    assert float(figures['drift_alert{column="carrier",what="values"}']) == 1
    assert float(figures['drift_alert{column="carrier",what="missing"}']) == 0
    assert float(figures['quality{where="test"}']) == found["quality"]["then"]["value"]
    assert found["speed"]["answers"] == 240
    assert found["speed"]["milliseconds_50"] > 0
    assert "alert: carrier has other shares than in training: B6 in 100.0% of the cases instead of" in told.stdout
    assert "alert: carrier has" in repository.run("make", "monitor", f"SINCE={since:%Y-%m-%d}", fails=True)
