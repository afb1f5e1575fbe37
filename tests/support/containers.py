"""Images and containers without a daemon: a base by debootstrap, builds, a registry, a running service.

No registry can be asked here for python:3.11-slim, so debootstrap makes a base of the same name. All lies in one folder
of the temporary directory, with a storage of its own, and is made once for all workers and runs.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from support.repository import Repository
from support.service import free_port, wait

FOLDER = Path(tempfile.gettempdir()) / "cookiecutter-mlops-containers"
BASE = "docker.io/library/python:3.11-slim"
KEY = "a key of the tests"
NEEDED = "buildah podman runc debootstrap skopeo docker-registry catatonit".split()
# As OpenShift runs a container: no capability, any user of group 0, a root file system that can't be written to.
HARDENED = "--read-only --cap-drop all --security-opt no-new-privileges --user 1000680000:0 --tmpfs /tmp".split()
CONFIGURATION = {
    "containers.conf": """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
""",
    "storage.conf": f"""[storage]
driver = "overlay"
graphroot = "{FOLDER}/storage"
runroot = "{FOLDER}/run"
""",
}


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


def make_image(name: str, suite: str, packages: str, change: Callable[[Path], None] = lambda root: None) -> str:
    """Make an image of Debian with some packages, unless it is there. change: what else to do with its files."""
    for path, text in ((FOLDER / file, text) for file, text in CONFIGURATION.items()):
        with FileLock(f"{path}.lock"):
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
    with FileLock(FOLDER / f"{suite}.lock"):
        if not has_image(name):
            with tempfile.TemporaryDirectory() as scratch:
                root = Path(scratch) / "root"
                tool("debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root))
                for left in "var/cache/apt var/lib/apt/lists usr/share/doc usr/share/man usr/share/locale".split():
                    shutil.rmtree(root / left)
                (root / "var/cache/apt/archives/partial").mkdir(parents=True)
                change(root)
                tool("tar", "-C", str(root), "-cf", f"{root}.tar", ".")
                tool("podman", "import", f"{root}.tar", name)
    return name


def add_python(root: Path) -> None:
    """Let Debian's Python be there as in python:3.11-slim, with pip as a package of its own."""
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
    (root / "usr/local/bin/pip").write_text('#!/bin/sh\nexec python -m pip "$@"\n')
    (root / "usr/local/bin/pip").chmod(0o755)
    (wheel,) = (root / "usr/share/python-wheels").glob("pip-*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(root / "usr/local/lib/python3.11/dist-packages")
    for mark in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()


def build(released: Repository, target: str, *paths: Path | str) -> str:
    """Build an image of a released version, once for the same content of these files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update((released.path / path).read_bytes())
    name = f"localhost/tests-{digest.hexdigest()[:12]}/flight-delays"
    image, words = (f"{name}:1", []) if target == "service" else (f"{name}-{target}:1", [f"--{target}"])
    with FileLock(FOLDER / f"{target}.lock"):
        if not has_image(image):
            print(released.run("modelcycle", "image", *words, **environment(), IMAGE=name))
    return image


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
