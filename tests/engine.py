"""A Docker engine, and stand-ins for public images made of this machine's programs."""

import os
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

COMPOSE = ["/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec"]  # where Docker looks for docker-compose
WANTED = {  # what is called -> the Debian package that has it
    "debootstrap": "", "docker-registry": "", "dockerd": "docker.io", "haproxy": "", "nsenter": "util-linux",
    "prometheus": "", "prometheus-alertmanager": "", "skopeo": "",
}  # fmt: skip
SHELL = """awk bash cat chmod chown cp date echo env find grep gzip head id ls mkdir mv printf rm sed sh sha256sum sleep
sort tail tar touch true wc""".split()
SHARED = ["prometheus/alertmanager", "zoneinfo"]
POSTGRES = "initdb pg_dump pg_isready pg_restore postgres psql".split()
# As in PostgreSQL's own image: makes a database where there is none, with its superuser's password from a file.
MAKE_DATABASE = """#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256 \
    --encoding=UTF8 --no-locale
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
fi
exec "$@"
"""


def missing() -> str:
    """Say what keeps the engine from running here; empty when nothing does."""
    if os.geteuid() != 0:
        return "A Docker engine needs root."
    for program, package in WANTED.items():
        if program != "debootstrap" and shutil.which(program) is None:
            return f"There is no {program}; install it with `apt install {package or program}`."
    if not any(Path(folder, "docker/cli-plugins/docker-compose").exists() for folder in COMPOSE):
        return "There is no Compose 2; .ci/run says how to install it."
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        return "There is no postgres; install it with `apt install postgresql`."
    return ""


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


def make_stand_ins(engine: Engine, names: dict[str, str]) -> None:
    """Make images under the names of public ones. names: proxy, postgres, prometheus, alertmanager -> the name."""
    engine.folder.joinpath("root").mkdir()
    root = engine.folder / "root"
    for link in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / link).mkdir(parents=True)
        (root / link).symlink_to(f"usr/{link}")
    version = max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: float(path.name))
    programs = [Path(shutil.which(name)) for name in [*SHELL, "haproxy", "prometheus", "prometheus-alertmanager"]]
    programs += [version / "bin" / name for name in POSTGRES]
    for program in programs:
        copy_program(program, root)
    left_out = shutil.ignore_patterns("bitcode", "llvmjit*")
    for folder in (
        version / "lib",
        *(Path("/usr/share") / name for name in SHARED),
        f"/usr/share/postgresql/{version.name}",
    ):
        shutil.copytree(folder, f"{root}{folder}", ignore=left_out, dirs_exist_ok=True)
    users = {"root": 0, "haproxy": 99, "postgres": 999, "nobody": 65534, "other": 10001}
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("".join(f"{name}:x:{uid}:0::/tmp:/bin/sh\n" for name, uid in users.items()))
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    for folder, uid in [("var/lib/postgresql/data", 999), ("prometheus", 65534), ("alertmanager", 65534)]:
        (root / folder).mkdir(parents=True)
        os.chown(root / folder, uid, 0)
    for folder in ("tmp", "run/secrets", "var/run/postgresql", "dev", "proc", "sys"):
        (root / folder).mkdir(parents=True)
    for folder in ("tmp", "var/run/postgresql"):
        (root / folder).chmod(0o1777)
    (root / "usr/bin/make-database").write_text(MAKE_DATABASE)
    (root / "usr/bin/make-database").chmod(0o755)
    archive = engine.folder / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".")
    shutil.rmtree(root)
    engine.docker("import", archive, "parts")
    archive.unlink()
    path = f"ENV PATH={version}/bin:/usr/local/bin:/usr/bin:/usr/sbin"
    engine.build(names["proxy"], "parts", path)
    engine.build(names["prometheus"], "parts", path, 'ENTRYPOINT ["prometheus"]')
    engine.build(names["alertmanager"], "parts", path, 'ENTRYPOINT ["prometheus-alertmanager"]')
    server = '["postgres", "-c", "listen_addresses=*"]'
    engine.build(names["postgres"], "parts", path, 'ENTRYPOINT ["make-database"]', f"CMD {server}", "STOPSIGNAL SIGINT")


def copy_program(program: Path, root: Path) -> None:
    """Copy a program and the libraries that it is linked with."""
    linked = subprocess.run(["ldd", program], capture_output=True, encoding="utf-8", check=False).stdout
    for path in [program, *map(Path, re.findall(r"(/\S+) \(0x", linked))]:
        target = root / path.relative_to("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path.resolve(), target)
