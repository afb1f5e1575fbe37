"""What tests with containers share: the base image, the service's image, a registry. Each is made once for all workers.

No registry can be asked here for python:3.11-slim, so debootstrap makes a base of the same name. All lies in one folder
of the temporary directory, with a storage of its own; builds need no daemon.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(tempfile.gettempdir()) / "cookiecutter-mlops-containers"
BASE = "docker.io/library/python:3.11-slim"
KEY = "a key of the tests"
NEEDED = "buildah podman runc debootstrap skopeo docker-registry catatonit".split()
# As OpenShift runs a container: no capability, any user of group 0, a root file system that can't be written to.
HARDENED = "--read-only --cap-drop all --security-opt no-new-privileges --user 1000680000:0 --tmpfs /tmp".split()
CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORAGE_CONF = f"""[storage]
driver = "overlay"
graphroot = "{FOLDER}/storage"
runroot = "{FOLDER}/run"
"""


def environment() -> dict[str, str]:
    """Give the variables that let buildah, podman and `make image` work on the tests' own storage."""
    ca = os.environ.get("SSL_CERT_FILE")
    return {
        "CONTAINERS_CONF": str(FOLDER / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(FOLDER / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "BUILDER": "buildah",
        "BUILD_OPTIONS": "--pull=never" + (f" --secret id=ca,src={ca}" if ca else ""),
    }


def attempt(*command: str) -> tuple[int, str, str]:
    """Run podman or another tool on the tests' storage; gives the exit status, its output and its errors."""
    variables = os.environ | environment()
    done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", check=False, timeout=900)
    # What podman complains about here: there is no systemd, and no network of its own.
    complaints = re.sub(r'(?m)^time="\S+" level=\w+ msg=.*\n?', "", done.stderr)
    return done.returncode, done.stdout.strip(), complaints.strip()


def tool(*command: str) -> str:
    """Run a tool that has to succeed, and give its output."""
    status, output, complaints = attempt(*command)
    assert status == 0, f"{' '.join(command)}: exit {status}\n{output}\n{complaints}"
    return output


def has_image(name: str) -> bool:
    """Say whether the storage has an image."""
    return attempt("podman", "image", "exists", name)[0] == 0


@contextmanager
def one_worker(name: str) -> Iterator[None]:
    """Let the workers wait for each other."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


def make_base(root: Path) -> None:
    """Make a root file system like that of python:3.11-slim: Debian, Python, and pip as a package of its own."""
    packages = "ca-certificates,python3.11-minimal,python3-venv"
    tool("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root))
    for name in "var/cache/apt var/lib/apt/lists usr/share/doc usr/share/man usr/share/locale usr/share/info".split():
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
    (root / "usr/local/bin/pip").write_text('#!/bin/sh\nexec python -m pip "$@"\n')
    (root / "usr/local/bin/pip").chmod(0o755)
    (wheel,) = (root / "usr/share/python-wheels").glob("pip-*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(root / "usr/local/lib/python3.11/dist-packages")
    for mark in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()


@pytest.fixture(scope="session")
def base_image() -> str:
    """The image that the Dockerfile begins with. Skips where a tool is missing."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip(f"Containers need root and {' '.join(NEEDED)}; apt install {' '.join(missing) or 'has them all'}.")
    with one_worker("base"):
        (FOLDER / "containers.conf").write_text(CONTAINERS_CONF)
        (FOLDER / "storage.conf").write_text(STORAGE_CONF)
        if not has_image(BASE):
            with tempfile.TemporaryDirectory() as scratch:
                make_base(Path(scratch) / "root")
                tool("tar", "-C", f"{scratch}/root", "-cf", f"{scratch}/root.tar", ".")
                tool("podman", "import", "--change", 'CMD ["python3"]', f"{scratch}/root.tar", BASE)
    return BASE


def build(released: Any, target: str, *paths: Path | str) -> str:
    """Build an image of a released version, once for the same content of these files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update((released.path / path).read_bytes())
    name = f"localhost/tests-{digest.hexdigest()[:12]}/flight-delays"
    image, words = (f"{name}:1", []) if target == "service" else (f"{name}-{target}:1", [f"--{target}"])
    with one_worker(target):
        if not has_image(image):
            print(released.run("modelcycle", "image", *words, **environment(), IMAGE=name))
    return image


@pytest.fixture(scope="session")
def service_image(base_image: str, released: Any) -> str:
    """The image of a released version, as `make image` builds it."""
    source = [path for path in sorted((released.path / "src").rglob("*.*")) if path.suffix != ".pyc"]
    return build(released, "service", "Dockerfile", "uv.lock", "contract.yaml", *source)


@pytest.fixture(scope="session")
def pipeline_image(base_image: str, released: Any) -> str:
    """The image that runs monitor and retrain, as `make image PIPELINE=1` builds it."""
    return build(released, "pipeline", "Dockerfile", "uv.lock", "pyproject.toml", "deploy/pipeline.sh")


@contextmanager
def registry(folder: Path, http: dict[str, object] | None = None, **more: object) -> Iterator[str]:
    """Run a registry on this machine, with more of its configuration; gives its host:port."""
    port = free_port()
    host = f"127.0.0.1:{port}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": host, **(http or {})},
        **more,
    }
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        wait(lambda: socket.create_connection(("127.0.0.1", port), 2).close() is None, "the registry")
        yield host
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="session")
def registry_host(base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on this machine, as host:port."""
    with registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


def wait(is_there: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until something answers; it may raise OSError until then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if is_there():
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{what} did not answer within {seconds} s")


class Container:
    """A running service and a way to ask it."""

    def __init__(self, image: str, *options: str, **variables: str):
        self.port = free_port()
        given = {
            "SERVE_PORT": str(self.port),
            "SERVE_KEYS": hashlib.sha256(KEY.encode()).hexdigest(),
            "DATABASE_URL": "sqlite:////tmp/predictions.db",
        } | variables
        words = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
        self.id = tool("podman", "run", "--detach", *HARDENED, *words, *options, image)

    def ask(self, path: str, body: object = None) -> tuple[int, object]:
        """Send a request; gives the status and what was answered."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        request.add_header("Content-Type", "application/json")
        request.add_header("X-API-Key", KEY)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def said(self) -> str:
        """Give all that the container has printed."""
        return "\n".join(attempt("podman", "logs", self.id)[1:])

    def run(self, *command: str) -> str:
        """Run a command in the container; gives what it printed, also where it failed."""
        return "".join(attempt("podman", "exec", self.id, *command)[1:])

    def labels(self) -> dict[str, str]:
        """Give the labels of the container's image."""
        return json.loads(tool("podman", "inspect", "--format", "{{json .Config.Labels}}", self.id))


@contextmanager
def running(image: str, *options: str, **variables: str) -> Iterator[Container]:
    """Run an image of the service, hardened, until the block ends; further options are podman's."""
    container = Container(image, *options, **variables)
    try:
        try:
            wait(lambda: container.ask("/ready")[0] == 200, "the container")
        except AssertionError as error:
            raise AssertionError(f"{error}: {container.said()}") from None
        yield container
    finally:
        tool("podman", "rm", "--force", "--time", "5", container.id)
