"""The deployment to a server: its files before their checkers, then `make deploy` for real, but MLflow and Grafana."""

import copy
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.containers import KEY
from support.engine import Engine, make_stand_ins, need_engine
from support.registry import ask, history
from support.repository import TREE, Repository
from support.service import ROW, system_program

LOAD = Path(__file__).parents[1] / "support/load.py"
FILES = TREE / "deploy/server"
COMPOSE = YAML(typ="safe").load(FILES / "compose.yaml")
OPENSSL = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
HOOK = """
import http.server, sys
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(200), self.end_headers()
http.server.HTTPServer(("172.17.0.1", 9999), Hook).serve_forever()
"""  # 172.17.0.1 is the engine's side of its first bridge, in a network that nothing leaves
ALL_ROWS = "select md5(string_agg(r::text, '|' order by r::text)) || '|' || count(*) from {} r"


@pytest.fixture(scope="module")
def baked(bake) -> Repository:
    return bake()


def certificate(folder: Path) -> None:
    """Make a key and a certificate for localhost."""
    folder.mkdir(parents=True, exist_ok=True)
    system_program("openssl", "openssl")
    made = [*OPENSSL.split(), "-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
    subprocess.run(made, capture_output=True, check=True)


def check(program: str, *arguments: object, package: str = "") -> str:
    """Run a checker; gives what it says against the files, which is nothing where they are right."""
    command = [system_program(program, package), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False)
    return done.stdout if done.returncode else ""


def changed(path: Path, folder: Path, old: str, new: str) -> Path:
    """Copy a file into a folder, with a text in it replaced."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).write_text(text.replace(old, new), encoding="utf-8")
    return folder / path.name


SCHEMA = ["--builtin-schema", "vendor.compose-spec"]


def test_the_compose_file_keeps_to_the_schema(tmp_path):
    assert check("check-jsonschema", *SCHEMA, FILES / "compose.yaml") == ""
    wrong = changed(FILES / "compose.yaml", tmp_path, "restart: unless-stopped", "restrat: unless-stopped")
    assert "'restrat' was unexpected" in check("check-jsonschema", *SCHEMA, wrong)


def policy(compose: dict) -> list[str]:
    """Say what is against the rules for containers: few rights, limits, known images, secrets in files only."""
    found = []
    for name, part in compose["services"].items():
        wanted = {
            "a restart policy": part.get("restart") == "unless-stopped",
            "a user that is not root": re.fullmatch(r"[1-9]\d*:0", part.get("user", "")),
            "a read-only root": part.get("read_only") is True,
            "no capability": part.get("cap_drop") == ["ALL"] and not part.get("cap_add"),
            "no new privileges": part.get("security_opt") == ["no-new-privileges:true"],
            "no privileged mode": not part.get("privileged"),
            "limits": all(part.get(limit) for limit in ("mem_limit", "cpus", "pids_limit")),
            "an image with a version": re.search(r":v?\d+\.\d+[\w.-]*$|@sha256:|^\$\{IMAGE\}$", part.get("image", "")),
            "logs that are rotated": part.get("logging", {}).get("options", {}).get("max-size"),
            "ports on this machine only": name == "proxy"
            or all(port.startswith("${LOCAL:-127.0.0.1}:") for port in part.get("ports", [])),
            "no secret in its environment": not [
                variable
                for variable, value in part.get("environment", {}).items()
                if (re.search("PASSWORD|KEY|SECRET|TOKEN", variable) and not value.startswith("/run/secrets/"))
                or re.search("//[^/]*:[^/]*@", value)
            ],
            "secrets that exist": set(part.get("secrets", [])) <= set(compose["secrets"]),
            "volumes that exist": {
                source for source, _, _ in (v.partition(":") for v in part.get("volumes", [])) if source[0] != "."
            }
            <= set(compose["volumes"]),
        }
        found += [f"{name} has to have {what}" for what, there in wanted.items() if not there]
    return found


FAULTS = [
    ({"user": "0:0"}, "a user that is not root"),
    ({"read_only": False}, "a read-only root"),
    ({"cap_add": ["NET_ADMIN"]}, "no capability"),
    ({"security_opt": []}, "no new privileges"),
    ({"privileged": True}, "no privileged mode"),
    ({"mem_limit": None}, "limits"),
    ({"image": "postgres:latest"}, "an image with a version"),
    ({"image": "postgres"}, "an image with a version"),
    ({"logging": {}}, "logs that are rotated"),
    ({"ports": ["5432:5432"]}, "ports on this machine only"),
    ({"environment": {"POSTGRES_PASSWORD": "hunter2"}}, "no secret in its environment"),
    ({"environment": {"DATABASE_URL": "postgresql://me:hunter2@postgres/x"}}, "no secret in its environment"),
    ({"secrets": ["other"]}, "secrets that exist"),
    ({"restart": "no"}, "a restart policy"),
]


def test_no_container_has_more_rights_than_it_needs():
    assert policy(COMPOSE) == []
    assert len(COMPOSE["services"]) == 8


@pytest.mark.parametrize(("fault", "complaint"), FAULTS)
def test_a_container_with_more_rights_is_found(fault, complaint):
    compose = copy.deepcopy(COMPOSE)
    compose["services"]["postgres"].update(fault)
    assert policy(compose) == [f"postgres has to have {complaint}"]


def test_the_proxy_has_nothing_against_its_file(tmp_path):
    certificate(tmp_path)
    place = ["/run/secrets/tls.crt", str(tmp_path / "tls.crt")]
    right = changed(FILES / "haproxy.cfg", tmp_path / "right", *place)
    assert check("haproxy", "-c", "-f", right, package="haproxy") == ""
    for old, new, complaint in [
        ("option redispatch", "option redispath", "unknown option 'redispath'"),
        ("default_backend service", "default_backend servce", "unable to find required default_backend: 'servce'"),
        ("resolvers docker r", "resolvers dokcer r", "unable to find required resolvers 'dokcer'"),
        ("hold valid 1s", "hold valid soon", "unexpected"),
    ]:
        assert complaint in check("haproxy", "-c", "-f", changed(right, tmp_path / "wrong", old, new))


def test_prometheus_and_alertmanager_have_nothing_against_their_files(tmp_path):
    shutil.copytree(TREE / "deploy", tmp_path / "deploy")
    config, alerts = tmp_path / "deploy/server/prometheus.yml", tmp_path / "deploy/monitoring/alertmanager.yml"
    changed(config, config.parent, "/run/secrets/metrics_key", str(tmp_path / "key"))
    (tmp_path / "key").write_text("key")
    assert check("promtool", "check", "config", config, package="prometheus") == ""
    assert check("amtool", "check-config", alerts, package="prometheus-alertmanager") == ""
    routes = ["config", "routes", "test", "--config.file", alerts, "--verify.receivers=team"]
    for severity in ("critical", "warning"):
        assert check("amtool", *routes, f"severity={severity}", package="prometheus-alertmanager") == ""
    wrong = changed(config, tmp_path / "deploy/wrong", "monitoring/alerts.yml", "monitoring/alrets.yml")
    assert 'alrets.yml" does not point to an existing file' in check("promtool", "check", "config", wrong)
    wrong = changed(config, tmp_path / "deploy/wrong", "static_configs", "static_config")
    assert "field static_config not found" in check("promtool", "check", "config", wrong)
    wrong = changed(alerts, tmp_path / "deploy/wrong", "- name: team", "- name: taem")
    assert 'undefined receiver "team"' in check("amtool", "check-config", wrong)


def test_grafana_is_told_where_prometheus_and_the_dashboard_are():
    provision = YAML(typ="safe").load(TREE / "deploy/monitoring/grafana.yml")
    assert provision["apiVersion"] == 1
    (source,), (provider,) = provision["datasources"], provision["providers"]
    assert source["url"].split("/")[2].split(":")[0] in COMPOSE["services"]
    mounted = COMPOSE["services"]["grafana"]["volumes"]
    assert "..:/deploy:ro" in mounted
    assert list((TREE / provider["options"]["path"][1:]).glob("*.json")) == [TREE / "deploy/monitoring/dashboard.json"]
    for part in ("dashboards", "datasources"):
        assert f"../monitoring/grafana.yml:/etc/grafana/provisioning/{part}/all.yml:ro" in mounted


def test_systemd_has_nothing_against_the_unit(baked, tmp_path):
    def verify(path: Path) -> str:
        command = [system_program("systemd-analyze", "systemd"), "verify", "--recursive-errors=no", path]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False)
        return done.stdout  # an unknown key is a warning only, and the exit status 0

    unit = baked.path / "deploy/server/flight-delays@.service"
    right = changed(unit, tmp_path, "/usr/bin/docker", "/bin/true").rename(
        tmp_path / "flight-delays@production.service"
    )
    assert verify(right) == ""
    for old, new, complaint in [
        ("ProtectHome=", "ProtectHomes=", "'ProtectHomes' in section"),
        ("/bin/true", "/usr/bin/dcoker", "Command /usr/bin/dcoker is not executable"),
    ]:
        assert complaint in verify(changed(right, tmp_path / "wrong", old, new))
    security = ["security", "--offline=true", "--threshold=15"]  # in tenths
    assert check("systemd-analyze", *security, right) == ""
    open_unit = tmp_path / "open.service"
    open_unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert "UNSAFE" in check("systemd-analyze", *security, open_unit)


def test_the_scripts_are_sound(baked, tmp_path):
    scripts = sorted((baked.path / "deploy/server").glob("*.sh"))
    assert [script.name for script in scripts] == ["apply.sh", "backup.sh", "remove.sh"]
    assert all(os.access(script, os.X_OK) for script in scripts)
    assert check("shellcheck", *scripts) == ""
    wrong = changed(scripts[0], tmp_path, 'cd "$root"', "cd $root")
    assert "SC2086" in check("shellcheck", wrong)


IMAGE = "registry.example.com/team/flight-delays@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("arguments", "spoil", "complaint"),
    [
        (["production"], "true", "Type: apply.sh staging|production IMAGE@DIGEST"),
        (["prod", IMAGE], "true", "The environment is prod; expected staging or production."),
        (["staging", "flight-delays:1"], "true", "expected one by digest"),
        (["staging", IMAGE], "rm secrets/tls.key", "staging/secrets/tls.key is missing; deploy/server/README.md"),
        (["staging", IMAGE], "chmod 644 secrets/tls.key", "sudo chmod 640"),
        (["staging", IMAGE], "chmod 600 secrets/tls.key", "Group 0 alone has to read the secrets."),
    ],
)
def test_a_deployment_that_would_not_work_is_refused_before_it_starts(baked, tmp_path, arguments, spoil, complaint):
    prepare(tmp_path / "staging")
    subprocess.run(["sh", "-c", spoil], cwd=tmp_path / "staging", check=True)
    docker = tmp_path / "bin/docker"  # it has Compose, and nothing is asked of it before the complaint
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\n[ "$*" = "compose version" ]\n')
    docker.chmod(0o755)
    path = f"{docker.parent}{os.pathsep}{os.environ['PATH']}"
    said = baked.run("deploy/server/apply.sh", *arguments, fails=True, SERVER_ROOT=str(tmp_path), PATH=path)
    assert complaint in said
    assert not (tmp_path / "staging/.env").exists()


def prepare(root: Path) -> None:
    """Do what README.md says comes before the first deployment."""
    secrets = root / "secrets"
    certificate(secrets)
    (secrets / "alert_webhook").write_text("http://172.17.0.1:9999/hook\n")
    (secrets / "api_keys").write_text(hashlib.sha256(KEY.encode()).hexdigest() + "\n")
    for path in (secrets, *secrets.iterdir()):
        os.chown(path, -1, 0)
        path.chmod(0o2750 if path.is_dir() else 0o640)


@pytest.fixture(scope="module")
def engine(base_image) -> Iterator[Engine]:
    """A Docker engine that has stand-ins for the public images that compose.yaml names."""
    need_engine()
    memory = Path("/dev/shm")  # several times as fast as most disks
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 6e9
    running = Engine(Path(tempfile.mkdtemp(prefix="engine", dir=memory if roomy else None)))
    try:
        names = {name: part["image"] for name, part in COMPOSE["services"].items()}
        make_stand_ins(running, {name: image for name, image in names.items() if name not in ("blue", "green")})
        yield running
    finally:
        running.stop()


class Server:
    """An environment on a server, the repository that deploys to it, and a way to ask it."""

    def __init__(self, engine: Engine, repository: Repository, root: Path):
        self.engine, self.repository, self.root = engine, repository, root / "staging"
        self.scripts = repository.path / "deploy/server"
        engine.environment["SERVER_ROOT"] = str(root)
        prepare(self.root)
        (self.root / ".env").write_text("HTTPS_PORT=8443\n")

    def make(self, *arguments: str, fails: bool = False, **variables: str) -> str:
        names = ("DOCKER_HOST", "DOCKER_CONFIG", "SERVER_ROOT", "PATH")
        there = {name: self.engine.environment[name] for name in names}
        return self.repository.run("make", *arguments, fails=fails, **there, **variables)

    def deploy(self, image: str, fails: bool = False, **variables: str) -> str:
        return self.make("deploy", "ENV=staging", f"DIGEST={image.partition('@')[2]}", fails=fails, **variables)

    def compose(self, *arguments: str) -> str:
        """Run docker compose as the README says: in the environment's folder, with no further word."""
        return self.engine.run("docker", "compose", *arguments, cwd=self.root)

    def sql(self, database: str, query: str) -> str:
        return self.compose("exec", "-T", "postgres", "psql", "-U", "postgres", "-tA", "-c", query, database).strip()

    def curl(self, path: str, *options: str) -> tuple[int, str]:
        """Ask the proxy; gives the status, 0 where the connection broke, and the text."""
        words = ["curl", "-s", "--cacert", self.root / "secrets/tls.crt", "-w", "\n%{http_code}", *options]
        command = self.engine.inside(*map(str, words), f"https://localhost:8443{path}")
        said = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False).stdout
        text, _, status = said.rpartition("\n")
        return int(status), text

    def predict(self) -> tuple[int, str]:
        header = ["-H", f"X-API-Key: {KEY}", "-H", "Content-Type: application/json"]
        return self.curl("/predict", *header, "-d", json.dumps([ROW]))

    def running(self) -> dict[str, str]:
        """Give the image of each slot that runs."""
        slots = {}
        for line in self.compose("ps", "--format", "{{.Service}} {{.Image}}").splitlines():
            name, _, image = line.partition(" ")
            if name in ("blue", "green"):
                slots[name] = image
        return slots

    def load(self) -> subprocess.Popen:
        """Start asking without a pause."""
        words = [
            sys.executable,
            LOAD,
            "localhost",
            "8443",
            self.root / "secrets/tls.crt",
            KEY,
            json.dumps(ROW),
        ]
        return subprocess.Popen(self.engine.inside(*map(str, words)), stdout=subprocess.PIPE, encoding="utf-8")

    def loaded(self, load: subprocess.Popen) -> dict:
        """Stop asking, and give what became of the requests."""
        load.send_signal(signal.SIGTERM)
        return json.loads(load.communicate(timeout=40)[0])


@pytest.fixture(scope="module")
def images(engine, service_image) -> dict[str, str]:
    """The service's image by digest, the same built again, and one that does not start."""
    engine.take(service_image, "service:1")
    engine.build("service:2", "service:1", "LABEL made=anew")
    engine.build("service:3", "service:1", 'CMD ["python", "-c", "raise SystemExit(\'no model\')"]')
    return {number: engine.push(f"service:{number}", f"flight-delays:{number}") for number in "123"}


@pytest.fixture(scope="module")
def server(engine, images, released, tmp_path_factory) -> Server:
    """The first deployment, as the README says, with clocks that run faster. The ledger knows the images as pushed."""
    repository = released.copy_to(tmp_path_factory.mktemp("deploys"))
    for image in images.values():
        ask(repository, f"record_decision(client, 'pushed', '1', commit='0', image={image!r}, target='service')")
    config, alerts = (repository.path / "deploy" / name for name in ("server/prometheus.yml", "monitoring/alerts.yml"))
    changed(config, config.parent, "interval: 15s", "interval: 3s")
    changed(alerts, alerts.parent, "for: 2m", "for: 1s")
    made = Server(engine, repository, tmp_path_factory.mktemp("srv"))
    said = made.deploy(images["1"])
    assert f"staging runs {images['1']}" in said
    assert "version 1 runs in staging" in said
    return made


def test_a_server_from_its_first_day_to_its_last(server, images, released, engine, tmp_path):
    """One test, since all of it happens to one server; each step says what it is about."""
    started = time.monotonic()
    for step in (
        lambda: the_first_deployment_answers_and_is_hardened(server, images),
        lambda: updates_lose_no_request(server, images, tmp_path),
        lambda: an_image_that_does_not_start_changes_nothing(server, images),
        lambda: a_killed_service_comes_back(server),
        lambda: an_alert_reaches_the_webhook(server, tmp_path),
        lambda: the_unit_stops_and_starts_what_was_in_use(server, images),
        lambda: a_backup_brings_all_rows_back_on_an_empty_server(server, images, released, tmp_path),
        lambda: the_ledger_knows_what_ran_when(server),
    ):
        step()
        print(step.__code__.co_names[0], round(time.monotonic() - started))


def the_first_deployment_answers_and_is_hardened(server, images):
    assert server.running() == {"blue": images["1"]}
    assert server.curl("/ready")[0] == 200
    assert server.curl("/predict", "-d", "[]")[0] == 401
    status, text = server.predict()
    assert status == 200, text
    (answer,) = json.loads(text)
    assert (
        server.sql("predictions", f"select version from predictions where id = '{answer['id']}'") == answer["version"]
    )
    assert server.curl("/metrics")[0] == 404  # its key is Prometheus's, and so is its door
    for service in ("blue", "proxy", "postgres", "prometheus"):
        words = ["exec", "-T", service, "sh", "-c", "id -u; touch /x || true; cat /proc/1/status; wc -c /run/secrets/*"]
        said = server.compose(*words)
        assert "Read-only file system" in said
        assert not said.startswith("0\n")
        assert "CapEff:\t0000000000000000" in said
        assert "NoNewPrivs:\t1" in said
    inspected = server.engine.docker("inspect", server.compose("ps", "--quiet", "blue").strip())
    password = re.search("password=(.*)", (server.root / "secrets/predictions_database").read_text())[1]
    assert password not in inspected
    assert re.fullmatch("[0-9a-f]{48}", password)
    assert server.sql("mlflow", "select has_database_privilege('predictions', 'mlflow', 'connect')") == "f"


def updates_lose_no_request(server, images, tmp_path):
    load = server.load()
    try:
        time.sleep(1)
        for number, slot in [("2", "green"), ("1", "blue")]:
            server.deploy(images[number], **(over_ssh(server.engine, tmp_path) if slot == "blue" else {}))
            assert server.running() == {slot: images[number]}
            time.sleep(1)
    finally:
        result = server.loaded(load)
    assert result["failed"] == []
    assert sum(result["answered"].values()) > 1000
    print(f"{sum(result['answered'].values())} requests during two updates, none failed")
    logged = server.sql("predictions", "select id from predictions").split()
    assert set(result["ids"]) <= set(logged)


def over_ssh(engine: Engine, folder: Path) -> dict[str, str]:
    """Start an SSH server on the engine's side; gives what makes apply.sh work through it."""
    for name in ("host", "user"):
        engine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    there = " ".join(f'"{name}={engine.environment[name]}"' for name in ("DOCKER_HOST", "DOCKER_CONFIG", "PATH"))
    (folder / "sshd").write_text(
        f"Port 2222\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nSetEnv {there}\n"
    )
    known = "127.0.0.1 " + (folder / "host.pub").read_text()
    (folder / "known").write_text(known.replace("127.0.0.1", "[127.0.0.1]:2222"))
    (folder / "client").write_text(f"IdentityFile {folder}/user\nUserKnownHostsFile {folder}/known\nBatchMode yes\n")
    client = engine.folder / "bin/ssh"
    client.write_text(f'#!/bin/sh\nexec {" ".join(engine.inside("/usr/bin/ssh"))} -F {folder}/client "$@"\n')
    client.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    engine.start(*engine.inside("/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd")))
    there = "ssh://root@127.0.0.1:2222"
    engine.wait(lambda: subprocess.run([client, there, "true"], capture_output=True, check=False).returncode == 0)
    return {"DEPLOY_HOST": there}


def an_image_that_does_not_start_changes_nothing(server, images):
    load = server.load()
    try:
        said = server.deploy(images["3"], fails=True)
    finally:
        result = server.loaded(load)
    assert "no model" in said
    assert f"{images['3']} does not get ready: its log is above. What ran before goes on." in said
    assert server.running() == {"blue": images["1"]}
    assert result["failed"] == []


def a_killed_service_comes_back(server):
    def pid() -> int:
        container = server.compose("ps", "--all", "--quiet", "blue").strip()
        return int(server.engine.docker("inspect", "--format", "{{.State.Pid}}", container))

    before = pid()
    os.kill(before, signal.SIGKILL)
    server.engine.wait(lambda: server.predict()[0] == 200)
    assert pid() not in (0, before)


def an_alert_reaches_the_webhook(server, folder):
    with (folder / "hook").open("w") as heard:
        hook = subprocess.Popen(server.engine.inside(sys.executable, "-c", HOOK), stdout=heard, stderr=heard)
    try:
        server.compose("stop", "postgres")
        server.engine.wait(lambda: server.predict()[0] == 503 and "LogOutOfUse" in (folder / "hook").read_text())
    finally:
        server.compose("up", "--detach", "--wait", "postgres")
        hook.terminate()
    (line, *_) = [line for line in (folder / "hook").read_text().splitlines() if "LogOutOfUse" in line]
    (alert, *_) = json.loads(line)["alerts"]
    assert alert["status"] == "firing"
    assert alert["labels"] | {"severity": "critical", "instance": "proxy:8001"} == alert["labels"]
    assert "proxy:8001 answers 503: the prediction log can't be written to" in alert["annotations"]["summary"]
    server.engine.wait(lambda: server.predict()[0] == 200)


def the_unit_stops_and_starts_what_was_in_use(server, images):
    unit = (server.root / "deploy/server/flight-delays@.service").read_text()
    stop, start = (
        re.search(f"^{name}=/usr/bin/docker (.*)", unit, re.MULTILINE)[1] for name in ("ExecStop", "ExecStart")
    )
    server.engine.run("docker", *stop.split(), cwd=server.root)
    assert server.running() == {}
    server.engine.run("docker", *start.split(), cwd=server.root)
    assert server.running() == {"blue": images["1"]}
    server.engine.wait(lambda: server.predict()[0] == 200)


def a_backup_brings_all_rows_back_on_an_empty_server(server, images, released, folder):
    (answer,) = json.loads(server.predict()[1])
    said = json.dumps({"id": answer["id"], "outcome": True, "comment": "stood in line"})
    feedback = ["/feedback", "-H", f"X-API-Key: {KEY}", "-H", "Content-Type: application/json", "-d", said]
    assert server.curl(*feedback)[0] == 200
    use_mlflow(server, released, folder)
    before, backups = rows(server), folder / "backups"
    assert before["predictions.predictions"].endswith(server.sql("predictions", "select count(*) from predictions"))
    assert before["predictions.feedback"].endswith("|1")
    assert before["mlflow.params"].endswith("|1")
    backups.mkdir()
    backup = Path(server.engine.run(server.scripts / "backup.sh", "staging", "save", backups).splitlines()[-1])
    assert (
        sorted(path.name for path in backup.iterdir())
        == "SHA256SUMS artifacts.tar.gz mlflow.dump predictions.dump".split()
    )

    spoilt = shutil.copytree(backup, folder / "spoilt")
    (spoilt / "mlflow.dump").write_bytes((backup / "mlflow.dump").read_bytes()[:-1])
    said = server.engine.run(server.scripts / "backup.sh", "staging", "restore", spoilt, fails=True)
    assert "mlflow.dump: FAILED" in said
    assert server.predict()[0] == 200

    server.make("undeploy", "ENV=staging")
    assert server.running() == {}
    server.compose("down", "--volumes")
    server.deploy(images["2"])
    assert rows(server).get("predictions.predictions", "|0").endswith("|0")
    server.engine.run(server.scripts / "backup.sh", "staging", "restore", backup)
    assert rows(server) == before
    server.engine.wait(lambda: server.predict()[0] == 200)
    assert server.curl(*feedback)[0] == 200  # the numbers go on where they were
    kept = server.compose(
        "run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "mlflow", "-c", "cat $(find /artifacts -type f)"
    )
    assert "what was tracked" in kept


def the_ledger_knows_what_ran_when(server):
    deployed, pushed = ["1 deployed in staging"], ["1 pushed"]
    happened = ["1 promoted", *pushed * 3, *deployed * 3, "1 undeployed in staging", *deployed]
    known = history(server.repository)
    assert [event for event in known if event != "1 deploying in staging"] == happened
    places = [i for i, event in enumerate(known) if event in deployed]
    assert {known[i - 1] for i in places} == {"1 deploying in staging"}


def rows(server) -> dict[str, str]:
    """Give a digest and the number of rows of every table."""
    found = {}
    for database in ("predictions", "mlflow"):
        tables = server.sql(database, "select tablename from pg_tables where schemaname = 'public' order by 1").split()
        union = " union all ".join(f"select '{table}', coalesce(({ALL_ROWS.format(table)}), '|0')" for table in tables)
        for line in server.sql(database, union).splitlines() if tables else ():
            table, _, digest = line.partition("|")
            found[f"{database}.{table}"] = digest
    return found


def use_mlflow(server, released, folder):
    """Track a run with MLflow started as compose.yaml does, but from the project's environment."""
    place = server.engine.docker("volume", "inspect", "--format", "{{.Mountpoint}}", "flight-delays-staging_artifacts")
    service = (server.root / "secrets/mlflow_database").read_text().replace("host=postgres", "host=127.0.0.1")
    (folder / "service").write_text(service)
    command = COMPOSE["services"]["mlflow"]["command"].replace("/artifacts", place.strip()).replace(" 5000", " 5002")
    programs = released.path / ".venv/bin"
    variables = COMPOSE["services"]["mlflow"]["environment"] | {"PGSERVICEFILE": str(folder / "service")}
    words = server.engine.inside(*[str(programs / "mlflow"), *command.split()[1:]])
    with (folder / "mlflow.log").open("w") as log:
        running = subprocess.Popen(words, env=os.environ | variables, stdout=log, stderr=log)
    code = """
import mlflow
mlflow.set_tracking_uri("http://127.0.0.1:5002")
with mlflow.start_run():
    mlflow.log_param("depth", 3)
    mlflow.log_text("what was tracked", "note.txt")
"""
    try:
        health = server.engine.inside("curl", "-sf", "http://127.0.0.1:5002/health")
        server.engine.wait(lambda: subprocess.run(health, capture_output=True, check=False).returncode == 0)
        server.engine.run(*server.engine.inside(str(programs / "python"), "-c", code))
    finally:
        running.terminate()
        running.wait(40)
    server.engine.run("chown", "-R", "10001:0", place.strip())  # as the container would have written it
