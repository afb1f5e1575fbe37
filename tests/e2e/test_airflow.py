"""Airflow for real: scheduler, API server and DAG processor of `make airflow`, on SQLite and on PostgreSQL."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.manifests import VERSIONS, complaints, faults
from support.repository import Repository
from support.service import free_port

PIPELINE, WATCH = "flight-delays-pipeline", "flight-delays-monitor-retrain"
STAGES = ["ingest", "prepare", "train", "evaluate"]
DAGS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("deploy/airflow")
told = {name: {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks} for name, dag in bag.dags.items()}
known = {"flight_delays", "modelcycle", "dvc", "pandas"} & sys.modules.keys()
print("BAG" + json.dumps([bag.import_errors, told, sorted(known)]))
"""
ANSWERS = """
import sys
import pandas as pd
from modelcycle.tracking import store
from modelcycle.versions import prediction_log
from modelcycle.serving.answer import Job, answer_jobs
from modelcycle.versions.bundle import load_champion
served = load_champion(store.connect())
rows = pd.read_parquet("data/test.parquet").sample(int(sys.argv[1]), random_state=0)[served.contract.inputs]
rows["temperature"] += float(sys.argv[2])
job = Job(rows.astype(object).where(rows.notna(), None).to_dict("records"), "test", served, None)
answer_jobs([job])
with prediction_log.connect_writer(prediction_log.open_log()) as connection:
    prediction_log.write_answers(connection, job.lines)
"""


@pytest.fixture(scope="session")
def airflow_environment(bake) -> Path:
    """What `make airflow` installs, and beside it what PostgreSQL and pods need."""
    repository = bake(deployment="kubernetes")
    drivers = ["psycopg2-binary", "asyncpg"]
    repository.run("make", ".venv-airflow/ready")
    repository.run("uv", "pip", "install", "--quiet", "--python", ".venv-airflow", *drivers)
    return repository.path / ".venv-airflow"


def with_airflow(repository: Repository, environment: Path) -> Repository:
    """Let a repository use an environment of Airflow that is there, and retry at once."""
    (repository.path / ".venv-airflow").symlink_to(environment)
    os.utime(environment / "ready")
    repository.replace("deploy/airflow/dags.py", "RETRY_AFTER = timedelta(minutes=5)", "RETRY_AFTER = timedelta(0)")
    repository.commit("retry at once")
    return repository


class Airflow:
    """A running `make airflow`, and a way to ask it."""

    def __init__(self, repository: Repository, **environment: str):
        self.repository, self.port = repository, free_port()
        settings = {
            "AIRFLOW_PORT": str(self.port),
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        }
        self.printed = repository.path.parent / "airflow.log"
        with self.printed.open("w") as log:
            self.process = subprocess.Popen(
                ["make", "airflow"],
                cwd=repository.path,
                env=repository.environment() | settings | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # as in a terminal, where Ctrl-C reaches all of them,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also where pytest ignores it
            )
        for _ in range(240):
            if f"Airflow is at http://127.0.0.1:{self.port}" in self.printed.read_text():
                break
            assert self.process.poll() is None, self.printed.read_text() + self.logs()
            time.sleep(0.5)
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/auth/token")
        self.token = json.load(urllib.request.urlopen(request, timeout=20))["access_token"]
        for name in (PIPELINE, WATCH):  # the processor may not have read them yet
            for _ in range(60):
                if name in [dag["dag_id"] for dag in self.ask("/dags")["dags"]]:
                    break
                time.sleep(0.5)

    def logs(self) -> str:
        """Give the ends of all logs."""
        return "\n".join(
            f"{path}:\n{path.read_text()[-3000:]}" for path in (self.repository.path / ".airflow").glob("*.log")
        )

    def ask(self, path: str, body: dict | None = None, method: str | None = None) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v2{path}", json.dumps(body).encode() if body else None, method=method
        )
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def run(self, dag: str, **asked: object) -> tuple[str, dict[str, str], str]:
        """Trigger a DAG and wait for its end: gives the state, that of each task, and the run's name."""
        self.ask(f"/dags/{dag}", {"is_paused": False}, "PATCH")
        name = self.ask(f"/dags/{dag}/dagRuns", {"logical_date": None, **asked})["dag_run_id"]
        for _ in range(600):
            state = self.ask(f"/dags/{dag}/dagRuns/{name}")["state"]
            if state in ("success", "failed"):
                break
            time.sleep(0.3)
        tasks = self.ask(f"/dags/{dag}/dagRuns/{name}/taskInstances")["task_instances"]
        return state, {task["task_id"]: task["state"] for task in tasks}, name

    def said(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        """Give the log of a task as the pages show it."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}?full_content=true"
        return "\n".join(str(line.get("event")) for line in self.ask(path)["content"])

    def processes(self) -> list[str]:
        """List what `make airflow` has started and what runs still."""
        command = ["ps", "--sid", str(self.process.pid), "-o", "pid=,stat="]
        lines = subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout.splitlines()
        return [line.split()[0] for line in lines if "Z" not in line]  # ended, whoever has to take note of it

    def interrupt(self) -> None:
        """Type Ctrl-C; afterwards nothing of it is left."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(60)
        assert self.processes() == []


@contextmanager
def running(repository: Repository, **environment: str):
    airflow = Airflow(repository, **environment)
    try:
        yield airflow
    finally:
        if airflow.process.poll() is None:
            airflow.interrupt()


@pytest.fixture(scope="module")
def airflow(released, airflow_environment, tmp_path_factory, webhook):
    repository = with_airflow(released.copy_to(tmp_path_factory.mktemp("scheduled")), airflow_environment)
    with running(repository, ALERT_WEBHOOK=webhook[0]) as started:
        yield started


@pytest.fixture(scope="module")
def webhook():
    """A chat's address, and what arrives there."""
    told = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", told
    server.shutdown()
    server.server_close()


def dags(repository: Repository, environment: Path, **variables: str) -> tuple[dict, dict]:
    """Import the DAGs as Airflow does: gives the errors, and for each DAG its tasks with those before them."""
    home = {"AIRFLOW_HOME": str(environment.parent / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "false"}
    printed = repository.run(str(environment / "bin/python"), "-c", DAGS, **home, **variables)
    errors, told, imported = json.loads(re.search("^BAG(.*)", printed, re.MULTILINE)[1])
    assert imported == [], "the DAGs import what they should leave alone"
    return errors, told


def edges_of_dvc(repository: Repository) -> dict[str, list[str]]:
    """Give each stage with those that DVC runs before it."""
    printed = repository.run("dvc", "dag", "--dot")
    stages = YAML(typ="safe").load(repository.read("dvc.yaml"))["stages"]
    edges = re.findall(r'"(.+?)" -> "(.+?)";?', printed)
    return {name: sorted({a for a, b in edges if b == name and a in stages}) for name in stages}


def forget_results(repository: Repository) -> None:
    """Leave nothing that a stage could be spared by."""
    for path in ("data", "models", "reports", ".dvc/cache", ".dvc/tmp", "dvc.lock"):
        target = repository.path / path
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    repository.run("git", "checkout", "--quiet", "data", fails=True)  # git holds nothing there
    repository.commit("forget")


def results(repository: Repository) -> tuple[dict, bytes]:
    locked = YAML(typ="safe").load(repository.read("dvc.lock"))["stages"]
    return locked, (repository.path / "reports/predictions.parquet").read_bytes()


# The DAG is dvc.yaml --------------------------------------------------------------------------------------------------

ODD = """
stages:
  on:
    cmd: touch made.yaml && mkdir -p parts && touch parts/a
    outs: [made.yaml, parts]
  inside:
    wdir: sub
    cmd: touch b && touch c.json
    deps: [../parts/a, "${names.missing}"]
    outs: [{b: {cache: false}}]
    metrics: [{c.json: {cache: false}}]
  whole:
    cmd: touch d e.csv
    params: [{made.yaml: null}]
    deps: ["${names.folder}"]
    outs: [d]
    plots: [e.csv]
  alone:
    cmd: touch f
    outs: [f]
  last:
    cmd: cat d e.csv
    deps: [d, e.csv, sub/c.json, beside]
"""


@pytest.mark.parametrize("image", ["", "registry.example.com/pipeline@sha256:0"])
def test_the_dags_import_without_errors_and_are_what_dvc_says(installed, airflow_environment, image):
    repository = installed(deployment="kubernetes")
    errors, told = dags(repository, airflow_environment, PIPELINE_IMAGE=image)
    assert errors == {}
    assert told[PIPELINE] == edges_of_dvc(repository) | {"release": ["evaluate"]}
    assert told[PIPELINE]["evaluate"] == ["prepare", "train"]
    assert told[WATCH] == {"monitor": [], "retrain": ["monitor"]}


def test_a_stage_that_is_added_is_a_task(copy, airflow_environment):
    text = copy.read("dvc.yaml").replace(
        "stages:\n",
        "stages:\n  explain:\n    cmd: echo\n    deps: [models/model.skops, data/test.parquet]\n    outs: [why.csv]\n",
    )
    (copy.path / "dvc.yaml").write_text(text, encoding="utf-8")
    errors, told = dags(copy, airflow_environment)
    assert errors == {}
    assert told[PIPELINE]["explain"] == ["prepare", "train"]
    assert told[PIPELINE]["release"] == ["evaluate", "explain"]


def test_folders_options_working_directories_and_names_make_the_edges_that_dvc_sees(copy, airflow_environment):
    text = ODD.replace('"${names.missing}"', "../contract.yaml").replace(", beside", "")
    (copy.path / "dvc.yaml").write_text(text, encoding="utf-8")
    with (copy.path / "params.yaml").open("a", encoding="utf-8") as params:
        params.write("names: {folder: parts/}\n")
    (copy.path / "sub").mkdir()
    errors, told = dags(copy, airflow_environment)
    assert errors == {}
    seen = edges_of_dvc(copy)
    assert seen["whole"] == ["on"]
    assert told[PIPELINE] == seen | {"release": ["alone", "last"]}


def test_a_stage_that_stands_for_several_is_refused_in_a_sentence(copy, airflow_environment):
    (copy.path / "dvc.yaml").write_text("stages:\n  fit:\n    matrix: {a: [1]}\n    cmd: echo ${item.a}\n")
    errors, told = dags(copy, airflow_environment)
    assert told == {}
    assert "dvc.yaml: fit uses matrix, which the DAG does not read; list its stages." in "".join(errors.values())


# A scheduler runs it --------------------------------------------------------------------------------------------------


@pytest.fixture
def scheduled(postgres, released, airflow_environment, tmp_path):
    """Airflow on PostgreSQL; on SQLite is the one that other tests ask."""
    database = postgres[0].replace("+psycopg", "+psycopg2")
    repository = with_airflow(released.copy_to(tmp_path), airflow_environment)
    with running(repository, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=database) as started:
        yield started
    assert not (repository.path / ".airflow/airflow.db").exists()


def test_a_run_makes_what_reproduce_made_and_releases_it(scheduled, default):
    repository = scheduled.repository
    forget_results(repository)
    state, tasks, run = scheduled.run(PIPELINE)
    assert tasks == dict.fromkeys([*STAGES, "release"], "success"), scheduled.logs()
    assert state == "success"
    assert "Running stage 'train'" in scheduled.said(PIPELINE, run, "train")
    assert results(repository) == results(default)
    assert repository.run("git", "log", "-1", "--format=%s") == f"Reproduce: {run}\n"
    assert "is the champion" in scheduled.said(PIPELINE, run, "release")
    assert repository.run("git", "status", "--porcelain", "--", ".", ":!docs") == ""

    state, _, again = scheduled.run(PIPELINE)
    assert state == "success"
    assert "Stage 'train' didn't change, skipping" in scheduled.said(PIPELINE, again, "train")
    assert "is the champion already" in scheduled.said(PIPELINE, again, "release")


def test_a_gate_that_says_no_fails_the_run_there_and_tells_the_chat(airflow, webhook):
    repository = airflow.repository
    repository.replace("params.yaml", "bound: 0.62", "bound: 0.96")
    repository.commit("ask for too much")
    state, tasks, run = airflow.run(PIPELINE)
    assert state == "failed"
    assert tasks == dict.fromkeys(STAGES, "success") | {"release": "failed"}
    assert "The gate rejects version" in airflow.said(PIPELINE, run, "release")
    assert webhook[1] == [f"{PIPELINE}: the task release failed in the run {run}."]
    webhook[1].clear()
    repository.run("git", "revert", "--no-edit", "HEAD", GIT_AUTHOR_NAME="T", GIT_AUTHOR_EMAIL="t@example.com")


def test_retraining_follows_an_alert_and_nothing_else(released, airflow, webhook, tmp_path):
    repository = airflow.repository
    repository.run("python", "-c", ANSWERS, "600", "0")
    # A run for an earlier day sees what was there by then: nothing.
    state, tasks, run = airflow.run(WATCH, run_after="2020-01-01T05:00:00Z")
    assert (state, tasks) == ("failed", {"monitor": "failed", "retrain": "upstream_failed"})
    assert "2020-01-01" in airflow.said(WATCH, run, "monitor", 2)  # a retry came before

    state, tasks, run = airflow.run(WATCH)
    assert (state, tasks) == ("success", {"monitor": "success", "retrain": "skipped"})
    assert "no alert" in airflow.said(WATCH, run, "monitor")

    repository.run("python", "-c", ANSWERS, "600", "15")
    state, tasks, run = airflow.run(WATCH, conf={"until": "2013-10-01"})
    assert (state, tasks) == ("success", {"monitor": "success", "retrain": "success"})
    assert "alert: temperature is higher than in training" in airflow.said(WATCH, run, "monitor")
    assert "data before 2013-10-01" in airflow.said(WATCH, run, "retrain")
    assert repository.run("git", "log", "-1", "--format=%s") == "Write the cards of the new champion\n"


def test_the_daily_run_is_planned_and_the_pipeline_waits_to_be_triggered(airflow):
    airflow.ask(f"/dags/{WATCH}", {"is_paused": False}, "PATCH")
    assert airflow.ask(f"/dags/{WATCH}")["next_dagrun_run_after"].endswith("T05:00:00Z")
    assert airflow.ask(f"/dags/{PIPELINE}")["next_dagrun_run_after"] is None


def test_a_parameter_that_is_no_time_is_refused(airflow):
    with pytest.raises(urllib.error.HTTPError) as refused:
        airflow.run(WATCH, conf={"until": '"; touch /tmp/x; "'})
    assert refused.value.code in (400, 422)


def test_airflow_listens_to_this_machine_alone(airflow):
    sockets = {
        str(entry.readlink())
        for pid in airflow.processes()
        for entry in Path(f"/proc/{pid}/fd").glob("*")
        if entry.is_symlink()
    }
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in sockets
    ]
    assert listening == [f"0100007F:{airflow.port:04X}"]


# In pods --------------------------------------------------------------------------------------------------------------

PODS = """
import json
from airflow.dag_processing.dagbag import DagBag
from kubernetes.client import ApiClient
tasks = [task for dag in DagBag("deploy/airflow").dags.values() for task in dag.tasks]
pods = {task.task_id: ApiClient().sanitize_for_serialization(task.build_pod_request_obj()) for task in tasks}
print("PODS" + json.dumps(pods))
"""
KUBECONFIG = """
current-context: here
contexts: [{name: here, context: {cluster: here, user: here}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: here, user: {}}]
"""


@pytest.mark.parametrize("target", ["kubernetes", "openshift"])
def test_the_pods_are_those_of_the_cronjobs_and_break_no_rule(bake, airflow_environment, tmp_path, target):
    repository = bake(deployment=target)
    (tmp_path / "config").write_text(KUBECONFIG)
    variables = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "KUBECONFIG": str(tmp_path / "config"),
        "PIPELINE_IMAGE": f"registry.corp.test/flight-delays@sha256:{'0' * 64}",
    }
    printed = repository.run(str(airflow_environment / "bin/python"), "-c", PODS, **variables)
    pods = json.loads(re.search("^PODS(.*)", printed, re.MULTILINE)[1])
    assert pods.keys() == {*STAGES, "release", "monitor", "retrain"}
    job = YAML(typ="safe").load(repository.read("deploy/kubernetes/base/pipeline_pod.yaml"))
    template = job["spec"]["jobTemplate"]["spec"]["template"]
    names = {"app.kubernetes.io/name": "flight-delays", "app.kubernetes.io/component": "pipeline"}
    for pod in pods.values():
        pod["spec"] = {name: value for name, value in pod["spec"].items() if value != []}  # left out, in other words
        (container,) = pod["spec"]["containers"]
        assert names.items() <= pod["metadata"]["labels"].items()
        assert container["env"][:-1] == template["spec"]["containers"][0]["env"]
        assert container["volumeMounts"] == template["spec"]["containers"][0]["volumeMounts"]
        assert pod["spec"]["serviceAccountName"] == template["spec"]["serviceAccountName"]
    jobs = [{"kind": "Job", "metadata": {"name": name}, "spec": {"template": pod}} for name, pod in pods.items()]
    assert faults(jobs) == []
    assert complaints(list(pods.values()), VERSIONS[-1]) == []


def test_stages_in_pods_hand_on_through_dvcs_remote_what_reproduce_makes(released, default, tmp_path):
    """All is real here but the pods' containers: git, DVC's remote, MLflow's store, the pipeline and the gate."""
    repository = released.copy_to(tmp_path)
    origin, app, tmp = tmp_path / "origin.git", tmp_path / "app", tmp_path / "tmp"
    repository.run("dvc", "remote", "modify", "team", "url", str(tmp_path / "dvc"))
    forget_results(repository)
    repository.run("git", "clone", "--quiet", "--bare", ".", str(origin))
    app.mkdir()
    shutil.copy(repository.path / "uv.lock", app)  # the image's
    script = repository.read("deploy/pipeline.sh").replace("/tmp", str(tmp)).replace("/app", str(app))
    (tmp_path / "pipeline.sh").write_text(script)

    def pod(*words: str, fails: bool = False) -> str:
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()
        variables = {
            "GIT_REPOSITORY": str(origin),
            "HOME": str(tmp),
            "GIT_CONFIG_GLOBAL": str(tmp / ".gitconfig"),
            "NOTHING_DONE": "99",
            "MLFLOW_TRACKING_URI": f"sqlite:///{repository.path}/.mlflow/mlflow.db",
            "DATABASE_URL": f"sqlite:///{repository.path}/.mlflow/predictions.db",
        }
        return repository.run("sh", str(tmp_path / "pipeline.sh"), *words, fails=fails, **variables)

    def last() -> str:
        return repository.run("git", "-C", str(origin), "log", "-1", "--format=%s").strip()

    for stage in STAGES:
        assert re.findall("Running stage '(.+?)'", pod("stage", stage, "")) == [stage]
    assert "Running stage" not in pod("stage", "train", "")
    assert re.findall("Running stage '(.+?)'", pod("stage", "train", "--force")) == ["train"]
    assert last() == "forget"
    printed = pod("release", "manual__1")
    assert "Running stage" not in printed
    assert "is the champion, 1 was before" in printed
    assert last() == "Reproduce: manual__1"
    assert results(Repository(tmp / "project")) == results(default)
    assert "is the champion already" in pod("release", "manual__2")
    assert last() == "Reproduce: manual__1"
    assert "nothing new" in pod("retrain", "--propose", fails=True)  # exit status 99 skips the task


# What can go wrong before it starts -----------------------------------------------------------------------------------


def test_a_port_that_is_taken_or_none_is_said_in_a_sentence(released, airflow_environment, tmp_path):
    repository = with_airflow(released.copy_to(tmp_path), airflow_environment)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        printed = repository.run("make", "airflow", f"AIRFLOW_PORT={port}", fails=True)
    assert f"error: port {port} can't be had; take another one: make airflow AIRFLOW_PORT=8090" in printed
    for wrong in ("http", "808080"):
        printed = repository.run("make", "airflow", f"AIRFLOW_PORT={wrong}", fails=True)
        assert f"error: AIRFLOW_PORT is {wrong}; expected the number of a port" in printed
    assert not (repository.path / ".airflow").exists()


def test_a_checkout_without_its_environment_says_what_to_type(bake):
    repository = bake()
    printed = repository.run("sh", "deploy/airflow/task.sh", "stage", "ingest", fails=True)
    assert printed == f"error: {repository.path} has no environment; type there: make setup\n"


def test_git_knows_nothing_of_airflows_own_files(bake):
    repository = bake()
    for path in (".airflow/airflow.db", ".venv-airflow/ready"):
        (repository.path / path).parent.mkdir()
        (repository.path / path).write_text("x")
    repository.commit()
    assert not [path for path in repository.run("git", "ls-files").split() if path.startswith((".airflow", ".venv"))]
