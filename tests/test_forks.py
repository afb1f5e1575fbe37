"""A program that starts as a fork (forks.py) is what it would be had it started by itself."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Programs start as forks on Linux alone.")
TELLS = """
import os, sys
print("mlflow" in sys.modules, sys.argv[1:], os.getcwd(), os.environ["WORD"], input())
sys.exit("no")
"""


@pytest.fixture(params=[True, False], ids=["fork", "program"])
def is_fork(request) -> bool:
    return request.param


def test_it_takes_and_gives_the_same(copy, is_fork):
    variables = copy.environment() | ({"TESTS_FORKS": "1"} if is_fork else {}) | {"WORD": "grün"}
    done = subprocess.run(
        ["python", "-c", TELLS, "a b"],
        cwd=copy.path / "docs",
        env=variables,
        input="line\n",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stdout == f"{is_fork} ['a b'] {copy.path}/docs grün line\n"
    assert (done.returncode, done.stderr) == (1, "no\n")


def test_it_runs_the_code_of_its_own_repository(copy):
    copy.replace("src/modelcycle/release/rollback.py", "There is no earlier champion", "Nobody was before")
    assert "error: Nobody was before" in copy.run("modelcycle", "rollback", fails=True)
    assert "error: Nobody was before" in copy.run("make", "rollback", fails=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(copy, is_fork, number):
    variables = copy.environment() | ({"TESTS_FORKS": "1"} if is_fork else {})
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen(["python", "-c", code], env=variables, stdout=subprocess.PIPE) as process:
        program = Path(f"/proc/{process.stdout.readline().decode().strip()}")
        assert program.exists()
        process.send_signal(number)
    assert process.returncode == -number
    end = time.monotonic() + 20
    while program.exists():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_server_ends_with_the_run_of_the_tests(default, tmp_path):
    python, code = default.path / ".venv/bin/python", Path(__file__).with_name("forks.py")
    with subprocess.Popen(["sleep", "60"]) as run:
        command = [python, code, tmp_path / "at", str(run.pid)]
        with subprocess.Popen(command, env=default.environment()) as server:
            end = time.monotonic() + 60
            while not (tmp_path / "at").exists():
                assert server.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
            run.kill()
            run.wait()
            assert server.wait(20) == 0
