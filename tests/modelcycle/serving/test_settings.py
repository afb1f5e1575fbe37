import hashlib
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.serving.settings import Settings, find_key_owner, read_settings, require_keys

KEY, OTHER = (hashlib.sha256(key).hexdigest() for key in (b"key", b"other"))


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch) -> None:
    for name in ("SERVE_KEYS", "SERVE_KEYS_FILE", "SERVE_OPEN", "SERVE_HOST", "SERVE_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_without_environment_variables_everything_stays_on_this_machine():
    settings = read_settings()
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 8000, None)
    assert settings.database_url == "sqlite:///.mlflow/predictions.db"
    assert settings.keys == ""
    assert not settings.is_open
    assert (settings.most_rows, settings.most_bytes, settings.most_seconds) == (1000, 2_000_000, 10)
    assert (settings.requests_per_minute, settings.poll_seconds) == (60_000, 5)


def test_environment_variables_are_read_by_their_names(monkeypatch):
    monkeypatch.setenv("SERVE_PORT", "8080")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///log.db")
    settings = read_settings()
    assert (settings.port, settings.database_url) == (8080, "sqlite:///log.db")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("SERVE_PORT", "0", "environment: SERVE_PORT is '0'; expected greater than or equal to 1."),
        ("SERVE_PORT", "65536", "environment: SERVE_PORT is '65536'; expected less than or equal to 65535."),
        ("SERVE_MOST_ROWS", "many", "environment: SERVE_MOST_ROWS is 'many'; expected a valid integer"),
        ("SERVE_POLL_SECONDS", "0", "environment: SERVE_POLL_SECONDS is '0'; expected greater than 0."),
        ("SERVE_KEYS", "secret", "SERVE_KEYS holds secret...; expected SHA-256 digests"),
        ("SERVE_KEYS", f"{KEY}:", f"SERVE_KEYS holds {KEY[:12]}...; expected"),
        ("SERVE_KEYS", f"{KEY}:2027-1-31", f"SERVE_KEYS holds {KEY[:12]}...; expected"),
        ("SERVE_KEYS", f"{KEY}:20270131", f"SERVE_KEYS holds {KEY[:12]}...; expected"),
        ("SERVE_KEYS", KEY.upper(), f"SERVE_KEYS holds {KEY[:12].upper()}...; expected"),
        ("SERVE_KEYS_FILE", "nowhere", "SERVE_KEYS_FILE is nowhere, which can't be read: No such file or directory."),
        ("SERVE_KEYS_FILE", "latin", "SERVE_KEYS_FILE is latin, which can't be read: it is not UTF-8."),
        ("SERVE_KEYS_FILE", "wrong", "SERVE_KEYS_FILE, wrong, holds secret...; expected SHA-256 digests"),
    ],
)
def test_a_mistake_is_named_by_its_variable(monkeypatch, tmp_path, name, value, complaint):
    monkeypatch.chdir(tmp_path)
    Path("latin").write_bytes(b"\xff")
    Path("wrong").write_text("secret")
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as error:
        read_settings()
    assert str(error.value).startswith(complaint)


def test_keys_come_from_the_variable_and_the_file(monkeypatch, tmp_path):
    (tmp_path / "keys").write_text(f"{OTHER}:2027-01-31\n")
    monkeypatch.setenv("SERVE_KEYS", KEY)
    monkeypatch.setenv("SERVE_KEYS_FILE", str(tmp_path / "keys"))
    assert read_settings().digests() == [KEY, f"{OTHER}:2027-01-31"]


def test_a_key_has_its_owner_until_the_end_of_its_last_day():
    digests = [KEY, f"{OTHER}:2027-01-31"]
    assert find_key_owner("key", digests, date(9998, 1, 1)) == f"key {KEY[:8]}"
    assert find_key_owner("other", digests, date(2027, 1, 31)) == f"key {OTHER[:8]}"
    assert find_key_owner("other", digests, date(2027, 2, 1)) is None
    assert find_key_owner("unknown", digests, date(2027, 1, 1)) is None
    assert find_key_owner("key", [], date(2027, 1, 1)) is None


@pytest.mark.parametrize(
    ("settings", "may_start"),
    [
        ({}, False),
        ({"keys": KEY}, True),
        ({"keys": KEY, "host": "0.0.0.0"}, True),
        ({"open": True}, True),
        ({"open": True, "host": "::1"}, True),
        ({"open": True, "host": "0.0.0.0"}, False),
    ],
)
def test_who_answers_without_keys_is_reached_from_this_machine_alone(settings, may_start):
    settings = Settings(**settings)
    if may_start:
        require_keys(settings)
    else:
        with pytest.raises(
            InputError, match=f"There are no API keys and SERVE_HOST is {settings.host}; set SERVE_KEYS"
        ):
            require_keys(settings)


# Stands for the service's module, which loads scikit-learn: how many threads does that use?
THREADS = """
import sys, types
def serve():
    import sklearn.ensemble
    from threadpoolctl import threadpool_info
    print({library["num_threads"] for library in threadpool_info() if library["user_api"] == "openmp"})
sys.modules["modelcycle.serving.serve"] = types.SimpleNamespace(serve=serve, check_answers=None)
from modelcycle.serving.verbs import serve as verb
verb(check=False)
"""


@pytest.mark.parametrize(("setting", "threads"), [({}, "{1}"), ({"OMP_NUM_THREADS": "3"}, "{3}")])
def test_the_model_answers_with_one_thread_unless_a_setting_says_more(setting, threads):
    """A call for a few rows is slower with more, and callers share the processor anyway."""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", THREADS], env=clean | setting, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == threads, done.stderr
