"""A Docker engine, and stand-ins for public images."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from support.containers import make_image, tool
from support.service import system_program

COMPOSE = ["/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec"]  # where Docker looks for docker-compose


def need_engine() -> None:
    """Skip what needs an engine where it can't run."""
    if os.geteuid():
        pytest.skip("A Docker engine needs root.")
    for program, package in [("dockerd", "docker.io"), ("nsenter", "util-linux"), ("docker-registry", "")]:
        system_program(program, package or program)
    if not any(Path(folder, "docker/cli-plugins/docker-compose").exists() for folder in COMPOSE):
        pytest.skip("There is no Compose 2; .ci/run says how to install it.")


class Engine:
    """A running engine and a way to ask it; in a network of its own it has a registry beside it."""

    def __init__(self, folder: Path, alone: bool = True) -> None:
        """Start it below a folder. alone: in a network of its own, instead of this machine's."""
        self.folder, self.started = folder, []
        (folder / "bin").mkdir()
        (folder / "bin/docker").symlink_to("/usr/bin/docker")  # Debian's own, where another one stands first
        socket = folder / "docker.sock"
        self.environment = os.environ | {
            "DOCKER_HOST": f"unix://{socket}",
            "DOCKER_CONFIG": str(folder / "config"),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        }
        daemon = [
            "dockerd", f"--host=unix://{socket}", f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}",
            f"--pidfile={folder / 'pid'}", "--default-ulimit=nofile=4096:4096", "--default-ulimit=nproc=4096:4096",
        ]  # fmt: skip
        if alone:
            self.start("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *daemon)
        else:
            self.start(*daemon, "--iptables=false", "--bridge=none")
        self.wait(lambda: (folder / "pid").exists() and self.docker("info", check=False))
        if not alone:
            return
        registry = folder / "registry.yml"
        registry.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
            "http: {addr: '127.0.0.1:5000'}\n"
        )
        self.start(*self.inside("docker-registry", "serve", str(registry)))

    def start(self, *command: str, **options: object) -> subprocess.Popen:
        """Start a process that ends with the engine."""
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, **options)
        self.started.append(process)
        return process

    def stop(self) -> None:
        """End all that was started, the engine last."""
        for process in reversed(self.started):
            if process.poll() is None:
                process.terminate()
                process.wait(90)
        shutil.rmtree(self.folder, ignore_errors=True)  # gigabytes, which pytest would keep for three more runs

    def wait(self, what: object, seconds: float = 60) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.3)

    def inside(self, *command: str) -> list[str]:
        """Give a command that runs in the engine's network, where the published ports are."""
        pid = (self.folder / "pid").read_text().strip()
        return ["nsenter", f"--net=/proc/{pid}/ns/net", *command]

    def run(self, *command: object, fails: bool = False, **options: object) -> str:
        """Run a command with this engine as Docker's and give what it printed."""
        given = {"encoding": "utf-8", "env": self.environment} | options
        done = subprocess.run(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **given
        )
        assert (done.returncode != 0) == fails, f"{command}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def docker(self, *arguments: object, check: bool = True) -> str:
        """Run docker and give what it printed; empty where it fails and that may be."""
        try:
            return self.run("docker", *arguments)
        except AssertionError:
            if check:
                raise
            return ""

    def push(self, image: str, name: str) -> str:
        """Bring an image of the engine into the registry; gives its name with its digest."""
        self.docker("tag", image, f"127.0.0.1:5000/{name}")
        pushed = self.docker("push", f"127.0.0.1:5000/{name}")
        return f"127.0.0.1:5000/{name.partition(':')[0]}@{re.search(r'sha256:[0-9a-f]{64}', pushed)[0]}"

    def build(self, name: str, base: str, *lines: str) -> None:
        """Make an image from another one and a few lines of a Dockerfile."""
        text = "\n".join([f"FROM {base}", *lines])
        self.run("docker", "build", "--quiet", "--tag", name, "-", input=text)

    def take(self, image: str, name: str) -> None:
        """Load an image that was made without a daemon, under a name."""
        daemon = f"--dest-daemon-host={self.environment['DOCKER_HOST']}"
        tool("skopeo", "copy", "--quiet", daemon, f"containers-storage:{image}", f"docker-daemon:{name}")


def make_stand_ins(engine: Engine, names: dict[str, str]) -> None:
    """Make images under the names of public ones. names: a stage of stand_ins/Dockerfile -> the name."""
    image = make_image("localhost/servers", "trixie", "postgresql,haproxy,prometheus,prometheus-alertmanager")
    engine.take(image, "servers:latest")
    for stage, name in names.items():
        folder = Path(__file__).with_name("stand_ins")
        engine.docker("build", "--quiet", "--target", stage, "--tag", name, folder)
