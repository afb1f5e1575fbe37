"""A running service, ports that nobody else takes, and a way to ask over HTTP."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.repository import Repository

ROW = {
    "scheduled_departure": "2013-03-01T17:30:00",
    "carrier": "B6",
    "origin": "JFK",
    "dest": "BOS",
    "distance": 187,
    "temperature": 5.5,
    "visibility": 10,
}
GIVEN: set[int] = set()


def free_port() -> int:
    """Find a port of this machine that nobody listens on, and that no other test has been given to listen on later."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        if port not in GIVEN and port // 2 % workers == worker:  # Linux gives odd ports as long as there are some
            GIVEN.add(port)
            return port


def system_program(name: str, package: str) -> str:
    """Give the path of a program of this environment or the system; what needs it is skipped where there is none."""
    folders = [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"]
    if (found := shutil.which(name, path=os.pathsep.join(folders))) is None:
        pytest.skip(f"There is no {name}; install it with `apt install {package}`.")
    return found


def wait(is_there: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until something answers; it may raise OSError until then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if is_there():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{what} did not answer within {seconds} s")


class Service:
    """`modelcycle serve` in a repository."""

    def __init__(self, repository: Repository, **environment: str) -> None:
        self.port = free_port()
        settings = {"SERVE_PORT": str(self.port), "SERVE_POLL_SECONDS": "1", "SERVE_OPEN": "true"}
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  a pipe that nobody reads would fill up and stop the service
        self.process = subprocess.Popen(
            ["modelcycle", "serve"],
            cwd=repository.path,
            env=repository.environment() | settings | environment,
            stdout=self.log,
            stderr=self.log,
        )
        try:
            wait(self.is_healthy, "the service")
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}: {self.said()}") from None

    def is_healthy(self) -> bool:
        """Say whether it answers; raises AssertionError when it has ended."""
        assert self.process.poll() is None, "it has ended"
        return self.ask("/health")[0] == 200

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, object]:
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

    def said(self) -> str:
        """Give all that the service has printed."""
        self.log.seek(0)
        return self.log.read().decode()

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it and wait until it has ended."""
        self.process.send_signal(how)
        self.process.wait(40)


@contextmanager
def serving(repository: Repository, **environment: str) -> Iterator[Service]:
    """Run the service until the block ends."""
    service = Service(repository, **environment)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()
