import json
import logging
import re
import subprocess
import sys

import pandas as pd
import pytest

from modelcycle.serving.logs import JsonLinesFormatter


def make_record(level=logging.WARNING, message="new", error=None, **extra):
    record = logging.LogRecord("x", level, "", 0, message, (), error)
    record.__dict__.update(extra)
    return json.loads(JsonLinesFormatter().format(record))


def test_a_record_becomes_a_line_of_json_with_its_facts():
    line = make_record(facts={"status": 200, "caller": "key 1"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("at"))
    assert line == {"level": "warning", "message": "new", "status": 200, "caller": "key 1"}
    assert make_record().keys() == {"at", "level", "message"}


def make_features(rows):
    return rows["SECRET"]


def test_an_error_is_logged_by_its_type_and_the_code_that_led_to_it_without_its_text():
    try:
        make_features({})
    except KeyError:
        line = make_record(logging.ERROR, "a request failed", sys.exc_info())
    assert (line["level"], line["message"], line["error"]) == ("error", "a request failed", "KeyError")
    assert re.fullmatch(r"(test_logs\.py:\d+ \w+ > )test_logs.py:\d+ make_features", line["where"])


def test_of_an_error_in_a_library_the_team_s_own_line_is_named_as_well():
    try:
        make_features(pd.DataFrame())
    except KeyError:
        line = make_record(logging.ERROR, "a request failed", sys.exc_info())
    assert re.search(r"test_logs\.py:\d+ make_features > \w+\.py:\d+ \w+$", line["where"])
    assert "SECRET" not in line["where"]


LOUD = """
import logging, sys
from modelcycle.serving.logs import log_from_a_thread
with log_from_a_thread():
    for number in range(20_000):
        logging.info("x" * 100)
    print("done", file=sys.stderr, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("reads_at_last", [True, False])
def test_a_reader_that_stalls_delays_nobody(reads_at_last):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LOUD]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr.readline() == "done\n"  # though nobody has read a line
        process.stdin.close()
        if reads_at_last:
            lines = process.stdout.read().splitlines()
            assert 10_000 <= len(lines) < 20_000
            assert all(json.loads(line)["message"] == "x" * 100 for line in lines)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
