"""A project moves from files on a laptop to servers as docs/scale.md says, and goes on there with what it had."""

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from support.registry import history
from support.repository import TEMPLATE, Repository, link_environment
from support.service import free_port, system_program, wait

TOOL = "modelcycle"
FILL = """
import sys
from datetime import timedelta
from modelcycle.versions.prediction_log import *
log = open_log(sys.argv[1])
check_log(log)
odd = {"text": 'ü "q" \\\\ \\n', "number": 1.5, "none": None, "yes": True, "list": [1, {}]}
answer = {"at": utc_now(), "version": "1", "caller": "test", "inputs": odd, "answer": odd, "unusual": []}
answers = [answer | {"id": f"{number:032x}", "at": utc_now() - timedelta(hours=number)} for number in range(300)]
with log.begin() as transaction:
    transaction.execute(insert(ANSWERS), answers)
for number, outcome in enumerate([True, False, None, 1.5, 2, "late"]):
    write_feedback(log, f"{number:032x}", outcome, "said 'so'\\n\\t")
write_monitoring_result(log, utc_now(), odd)
"""
READ = """
import sys
from modelcycle.versions.prediction_log import *
log = open_log(sys.argv[1])
with log.connect() as connection:
    for table in (ANSWERS, FEEDBACK, MONITORING):
        print(*connection.execute(select(table).order_by(table.c.id)), sep="\\n")
"""
GO_ON = """
import sys
from modelcycle.versions.prediction_log import *
print(write_feedback(open_log(sys.argv[1]), '0' * 32, False, ''))
"""


@contextmanager
def running(command: list[str], ready, **how):
    """Run a server until the block ends, from when `ready` says so."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how) as process:

        def is_ready() -> bool:
            assert process.poll() is None, process.stdout.read()
            return ready()

        try:
            wait(is_ready, command[0])
            yield process
        finally:
            process.terminate()


def answers(port: int, path: str = "/"):
    return lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).status == 200


def listens(port: int):
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=2).close() is None


def blocks(repository: Repository, heading: str) -> list[str]:
    """Give the commands of a section of docs/scale.md, block by block."""
    section = repository.read("docs/scale.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```\n(.*?)```", section, re.DOTALL)


def psql(repository: Repository, url: str, *statements: str) -> str:
    words = [word for statement in statements for word in ("--command", statement)]
    return repository.run("psql", "--quiet", "--tuples-only", url.replace("+psycopg", ""), *words).strip()


@pytest.fixture(scope="module")
def databases(postgres, released):
    """A PostgreSQL server with new databases and one role that needs a password."""
    url = postgres[0]
    host = url.removeprefix("postgresql+psycopg://").removesuffix("/postgres")
    for name in ("mlflow", "predictions", "watched", "locked"):
        psql(released, url, f"create database {name}")
    psql(released, url, "create role someone login password 'right'")
    rules = Path(psql(released, url, "show hba_file"))
    rules.write_text("host locked all 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    psql(released, url, "select pg_reload_conf()")
    return host


def test_tracking_and_log_move_to_postgresql_and_go_on(released, databases, tmp_path):
    """The commands of docs/scale.md; before and after them the same; then further versions, on both kinds of store."""
    repository = released.copy_to(tmp_path)
    repository.run("python", "-c", FILL, "sqlite:///.mlflow/predictions.db")
    logged = repository.run("python", "-c", READ, "sqlite:///.mlflow/predictions.db")
    chain, before = (repository.run(TOOL, *words) for words in (("trace", "--json"), ("release", "--history")))
    port = free_port()
    environment = {
        "POSTGRES": databases,
        "FILES": str(tmp_path / "files"),
        "TRACKING": f"http://127.0.0.1:{port}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "UV_NO_SYNC": "true",
        "UV_PROJECT_ENVIRONMENT": str(repository.path / ".venv"),
    }
    _, tables_and_rows, files, server, look = blocks(repository, "MLflow and the prediction log")
    repository.run("sh", "-euc", tables_and_rows, **environment)
    log = f"postgresql+psycopg://{databases}/predictions"
    assert repository.run("python", "-c", READ, log) == logged
    assert repository.run("python", "-c", GO_ON, log).strip() == "True"  # its number follows the last one
    printed = repository.run("sh", "-euc", tables_and_rows, fails=True, **environment)
    assert "error: The target's feedback holds other rows" in printed

    direct = {"MLFLOW_TRACKING_URI": f"postgresql+psycopg://{databases}/mlflow"}
    assert repository.run(TOOL, "trace", "--json", **direct) == chain
    assert repository.run(TOOL, "release", "--history", **direct) == before
    repository.commit_change("seed: 0", "seed: 3", **direct)
    assert "was not pushed, but MLFLOW_TRACKING_URI names a store" in repository.run(
        TOOL, "release", fails=True, **direct
    )
    repository.publish(tmp_path / "origin")
    assert "is in this machine's cache alone" in repository.run(TOOL, "release", fails=True, **direct)
    repository.run("dvc", "push")
    assert "version 2 is the champion, 1 was before" in repository.run(TOOL, "release", **direct)
    assert "version 1 is the champion, 2 was before" in repository.run(TOOL, "rollback", **direct)
    repository.commit("cards")
    chain = repository.run(TOOL, "trace", "--json", **direct)

    repository.run("sh", "-euc", files, **environment)
    shutil.move(repository.path / ".mlflow", tmp_path / "before")
    command = ["sh", "-euc", f"exec {server.replace('127.0.0.1', f'127.0.0.1 --port {port} --workers 1')}"]
    served = {"MLFLOW_TRACKING_URI": environment["TRACKING"], "DATABASE_URL": log}
    with running(command, answers(port, "/health"), cwd=tmp_path, env=repository.environment() | environment):
        printed = repository.run("sh", "-euc", look, **environment)
        assert "version 1 rolled back" in printed
        assert "version 1 (champion)" in printed
        assert repository.run(TOOL, "trace", "--json", **served) == chain
        repository.commit_change("seed: 3", "seed: 4", **served)
        repository.publish(tmp_path / "origin")
        repository.run("dvc", "push")
        assert "version 3 is the champion, 1 was before" in repository.run(TOOL, "release", **served)
        assert "version 2 is the champion, 3 was before" in repository.run(TOOL, "rollback", "2", **served)
        assert history(repository, **served)[-2:] == ["3 promoted", "2 rolled back"]
        assert "prediction 0000" in repository.run(TOOL, "trace", "0" * 32, **served)
        other = tmp_path / "other" / repository.path.name
        subprocess.run(["git", "clone", "--quiet", str(repository.path), str(other)], check=True)
        link_environment(repository, other)
        rows = str(repository.path / "data/test.parquet")
        assert "version 2" in Repository(other).run(TOOL, "predict", rows, "data/out.csv", **served)


def test_monitoring_finds_the_same_in_a_log_on_postgresql(released, databases, tmp_path):
    """Both databases draw the sample, count by hours and join the outcomes; quality has an order of equal times."""
    repository = released.copy_to(tmp_path)
    log = f"postgresql+psycopg://{databases}/watched"
    fill_log = str(TEMPLATE / "tests/support/fill_log.py")  # logs the same each time, identifiers and times as well
    repository.replace("params.yaml", "sample: 50000", "sample: 5000")
    found = []
    for environment in ({}, {"DATABASE_URL": log}):
        repository.run("python", fill_log, "2013-07-01", "2014-01-01", "0.33", **environment)
        repository.run(TOOL, "monitor", "--since", "2013-07-01", "--until", "2014-01-01", fails=True, **environment)
        found.append(json.loads(repository.read("reports/monitoring.json")))
    ours, theirs = found
    assert 4800 < ours["looked_at"] < 5200 < ours["answers"]
    for part in ("answers", "looked_at", "differences", "periods"):
        assert theirs[part] == ours[part], part
    assert theirs["quality"]["labels"] == ours["quality"]["labels"] > 1000


@pytest.fixture(scope="module")
def remote_project(released, tmp_path_factory) -> Repository:
    """The released repository with what S3 and SSH need, installed as docs/scale.md says."""
    repository = released.copy_to(tmp_path_factory.mktemp("remote"))
    add = blocks(repository, "Data and models")[0].splitlines()[0].replace("dvc[s3]", "dvc[s3,ssh]")
    repository.run("sh", "-euc", add)
    repository.run("git", "checkout", "--quiet", "uv.lock")
    (repository.path / ".venv/ready").touch()
    return repository


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    port = free_port()
    server = Path(shutil.which("moto_server") or "moto_server")
    with running([str(server), "-H", "127.0.0.1", "-p", str(port)], answers(port, "/moto-api/")):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        urllib.request.urlopen(request, timeout=5).close()
        local = [["endpointurl", f"http://127.0.0.1:{port}"], ["region", "eu-central-1"]]
        yield "s3://bucket/flight-delays", local, {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    sshd = system_program("sshd", "openssh-server")
    folder, port = tmp_path_factory.mktemp("ssh"), free_port()
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with running([sshd, "-D", "-e", "-f", str(folder / "config")], listens(port)):
        local = [["keyfile", str(folder / "user")], ["user", "root"]]
        yield f"ssh://127.0.0.1:{port}{folder}/remote", local, {}


def set_remote(repository: Repository, url: str, local: list[list[str]]) -> None:
    repository.run("dvc", "remote", "modify", "team", "url", url)
    for setting in local:
        repository.run("dvc", "remote", "modify", "--local", "team", *setting)


@pytest.mark.parametrize("kind", ["s3", "ssh"])
def test_data_and_models_are_pushed_traced_and_pulled(remote_project, tmp_path, kind, request):
    url, local, environment = request.getfixturevalue(kind)
    repository = remote_project.copy_to(tmp_path)
    set_remote(repository, url, local)
    _, _, push, _ = blocks(repository, "Data and models")[0].splitlines()
    repository.run("sh", "-euc", push.removeprefix("uv run "), **environment)
    printed = repository.run(TOOL, "trace", **environment)
    assert printed.count("cache ok, remote ok") >= 10
    shutil.rmtree(repository.path / ".dvc/cache")
    shutil.rmtree(repository.path / "data")
    assert "cache has none, remote ok" in repository.run(TOOL, "trace", **environment)
    repository.run("make", "fetch", **environment)
    assert (repository.path / "data/test.parquet").read_bytes() == (
        remote_project.path / "data/test.parquet"
    ).read_bytes()
    assert not re.search("secret|keyfile|endpoint", repository.read(".dvc/config"))
    assert ".dvc/config.local" not in repository.run("git", "status", "--porcelain", "--untracked-files=all")


@pytest.mark.parametrize(
    ("data_remote", "option"), [("gs", "projectname"), ("azure", "account_name"), ("s3", "region"), ("ssh", "user")]
)
def test_dvc_takes_a_remotes_configuration_and_no_misspelt_one(installed, data_remote, option):
    repository = installed(data_remote=data_remote)
    assert f"{data_remote}://" in repository.run("dvc", "remote", "list")
    repository.run("dvc", "remote", "modify", "--local", "team", option, "value")
    assert "ingest" in repository.run("dvc", "stage", "list")
    config = repository.path / ".dvc/config.local"
    config.write_text(config.read_text().replace(option, f"{option}s"), encoding="utf-8")
    printed = repository.run("dvc", "stage", "list", fails=True)
    assert f"extra keys not allowed @ data['remote']['team']['{option}s']" in printed


def fail(repository: Repository, *command: str, **environment: str) -> str:
    """Run a verb that has to fail with one sentence, and give it."""
    printed = repository.run(*command, fails=True, **environment)
    assert "Traceback" not in printed, printed
    (line,) = [line for line in printed.splitlines() if re.match("error: ", line, re.IGNORECASE)]
    return line


def test_a_database_that_refuses_is_named_without_its_password(released, databases, tmp_path):
    repository = released.copy_to(tmp_path)
    model = (repository.path / "models/model.skops").read_bytes()
    store = f"postgresql+psycopg://someone:secret@{databases.partition('@')[2]}/locked"
    for words, variable, sentence in [
        (["train"], "MLFLOW_TRACKING_URI", "The tracking store postgresql+psycopg://someone:***@127.0.0.1"),
        (["trace"], "MLFLOW_TRACKING_URI", "The tracking store postgresql+psycopg://someone:***@127.0.0.1"),
        (["trace", "0" * 32], "DATABASE_URL", "The prediction log (DATABASE_URL) can't be read"),
    ]:
        line = fail(repository, TOOL, *words, **{variable: store})
        assert line.startswith(f"error: {sentence}")
        assert "password authentication failed" in line
        assert "secret" not in line
    assert (repository.path / "models/model.skops").read_bytes() == model
    assert history(repository) == ["1 promoted"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> int:
    """The port of a proxy as it stands before a tracking server: it asks for a password."""
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    (folder / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        "userlist team\n user someone insecure-password right\n"
        f"listen tracking\n bind 127.0.0.1:{port}\n http-request auth unless {{ http_auth(team) }}\n"
    )
    haproxy = system_program("haproxy", "haproxy")
    with running([haproxy, "-db", "-f", str(folder / "haproxy.cfg")], listens(port)):
        yield port


def test_a_tracking_server_that_refuses_the_password_is_named_without_it(released, guarded, tmp_path):
    repository = released.copy_to(tmp_path)
    for verb in ("train", "release", "trace"):
        line = fail(repository, TOOL, verb, MLFLOW_TRACKING_URI=f"http://someone:secret@127.0.0.1:{guarded}")
        assert line.startswith(f"error: The tracking store http://someone:***@127.0.0.1:{guarded} does not answer: ")
        assert "401" in line
        assert "secret" not in line
    assert history(repository) == ["1 promoted"]


@pytest.mark.parametrize("fault", ["no bucket", "no server", "no key"])
def test_a_remote_that_refuses_is_named_and_loses_nothing(remote_project, tmp_path, fault, request):
    url, local, environment = request.getfixturevalue("ssh" if fault == "no key" else "s3")
    repository = remote_project.copy_to(tmp_path)
    set_remote(repository, url, local)
    wrong = {
        "no bucket": ["url", url.replace("bucket", "no-such-bucket")],
        "no server": ["endpointurl", "http://127.0.0.1:9"],
        "no key": ["keyfile", local[0][1].replace("user", "stranger")],
    }[fault]
    repository.run("dvc", "remote", "modify", "--local", "team", *wrong)
    said = {"no bucket": "not exist", "no server": "Could not connect", "no key": "Permission denied"}[fault]
    assert said in fail(repository, "dvc", "push", **environment)
    printed = repository.run(TOOL, "trace", **environment)  # here is all that there was
    assert printed.count("cache ok") >= 10
    assert printed.count("remote out of reach: ") == (fault != "no bucket")  # it is not waited for with each file again
    shutil.rmtree(repository.path / ".dvc/cache")
    assert "is broken" in fail(repository, TOOL, "trace", **environment)


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_space(released, small_disk, tmp_path):
    repository = released.copy_to(tmp_path)
    command = (TOOL, "predict", "data/test.parquet", "small/out.csv", "--chunk-rows", "500")
    with small_disk(repository.path / "small") as enlarge:
        assert "No space left on device" in fail(repository, *command)
        assert not list(repository.path.glob("small/out.csv*"))
        enlarge()
        assert "3,517 rows, 0 rejected" in repository.run(*command)


def test_the_cluster_on_kubernetes_is_what_its_operator_takes(bake, default, tmp_path):
    """By the definition of the resource that the operator itself installs; what it does not know is a fault."""
    default.run("uv", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), "dask-kubernetes==2026.3.0")
    (definition,) = tmp_path.rglob("crds/daskcluster.yaml")
    yaml = YAML(typ="safe")
    schema = yaml.load(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    (text,) = re.findall(r"```yaml\n(.*?)```", bake().read("docs/scale.md"), re.DOTALL)
    resource, *policies = yaml.load_all(text)
    assert [policy["metadata"]["name"] for policy in policies] == ["dask", "pipeline-to-dask"]
    for policy in policies:
        kubernetes_validate.validate(policy, "1.34", strict=True)
    assert (resource.pop("apiVersion"), resource.pop("kind")) == ("kubernetes.dask.org/v1", "DaskCluster")
    assert resource.pop("metadata") == {"name": "dask"}
    validator = jsonschema.Draft7Validator(strict(schema))
    assert not [error.message for error in validator.iter_errors(resource)]
    del resource["spec"]["worker"]["spec"]["containers"][0]["name"]
    resource["spec"]["scheduler"]["service"]["sort"] = "ClusterIP"
    faults = " ".join(error.message for error in validator.iter_errors(resource))
    assert "'name' is a required property" in faults
    assert "'sort' was unexpected" in faults


def strict(schema):
    """Refuse keys that a schema does not name: the API server would drop them without a word."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        made.setdefault("additionalProperties", False)
    return made
