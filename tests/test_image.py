"""The image of a version: built, run as on OpenShift, pushed, deployed, and followed back to the data."""

import json
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from conftest import fork
from containers import HARDENED, attempt, environment, running, system_program, tool
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from engine import Engine
from test_release import ask
from test_serve import ROW

TOOL = "modelcycle"
# What a platform's apply.sh and remove.sh are here: they note how they were called, and fail where the test says so.
SCRIPT = '#!/bin/sh\nset -eu\necho "$0 $*${PIPELINE_IMAGE:+ $PIPELINE_IMAGE}" >> calls\n[ ! -e fail ]\n'
OTHER = "sha256:" + "1" * 64


@pytest.fixture(scope="session")
def service(service_image):
    with running(service_image) as container:
        yield container


@pytest.fixture(scope="session")
def delivered(released, service_image, registry_host, tmp_path_factory):
    """A repository whose champion was built and pushed to a registry here, with variables, digest and what was said."""
    repository = fork(released, tmp_path_factory.mktemp("delivered"))
    variables = environment() | {"IMAGE": f"{registry_host}/team/flight-delays"}
    built = repository.run("make", "image", **variables)
    digest = re.findall("sha256:[0-9a-f]{64}", repository.run("make", "push", **variables))[-1]
    return repository, variables, digest, built


@pytest.fixture
def deliver(delivered, tmp_path):
    """A copy of that repository with a platform of the test's own, and its digest."""
    first, _, digest, _ = delivered
    return with_platform(fork(first, tmp_path)), digest


def with_platform(repository):
    """Put scripts that only note how they were called in the place of the platform's."""
    shutil.rmtree(repository.path / "deploy/server", ignore_errors=True)
    for name in ("apply.sh", "remove.sh"):
        script = repository.path / "deploy/server" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(SCRIPT, encoding="utf-8")
        script.chmod(0o755)
    return repository


def history(repository):
    """List the ledger as `1 promoted`, `1 deployed in staging` and so on."""
    return re.findall(r"version (\d+ [a-z]+(?: in \w+)?)", repository.run(TOOL, "release", "--history"))


def test_the_image_answers_without_any_right_and_logs_what_it_answers(service):
    status, (answer,) = service.ask("/predict", [ROW])
    assert status == 200
    assert service.ask(f"/predictions/{answer['id']}")[1]["inputs"]["carrier"] == "B6"
    assert service.ask("/model")[1]["git_commit"] == service.labels()["org.opencontainers.image.revision"]
    assert service.run("id", "-u").strip() == "1000680000"
    assert "Read-only file system" in service.run("touch", "/app/new")
    tool("podman", "healthcheck", "run", service.id)


def test_the_image_answers_like_the_pipeline_though_it_has_no_pyarrow(service, released):
    code = f"""
import json
from modelcycle.serving.answer import predict_rows
from modelcycle.tracking.bundle import load_champion
bundle = load_champion(client)
row = dict.fromkeys(bundle.contract.inputs) | {ROW!r}
(shares,) = predict_rows(bundle, None, [row])[1].tolist()
print(json.dumps(dict(zip(map(str, bundle.model.classes_), shares, strict=True))))
"""
    here = json.loads(ask(released, code).splitlines()[-1])
    (there,) = service.ask("/predict", [ROW])[1]
    assert there["probabilities"] == pytest.approx(here, abs=1e-12)
    assert "rows take the fast path" in service.said()


def test_the_image_holds_nothing_that_serving_does_not_need(service):
    for name in ("mlflow", "dvc", "pip", "setuptools", "pyarrow", "pandera", "matplotlib", "pytest", "jupyterlab"):
        assert f"No module named '{name}'" in service.run("python", "-c", f"import {name}"), name
    for name in ("gcc", "cc", "make", "git", "pip", "uv"):
        assert service.run("sh", "-c", f"command -v {name} || echo none") == "none", name
    assert service.run("ls", "/app") == "src"


def test_a_container_that_nobody_told_its_keys_says_so(service_image):
    status, _, printed = attempt("podman", "run", "--rm", *HARDENED, service_image)
    assert status == 1
    assert printed.startswith("error: There are no API keys and SERVE_HOST is 0.0.0.0; set SERVE_KEYS")
    assert len(printed.splitlines()) == 1


def test_the_labels_lead_to_the_commit_and_the_data(service, released):
    facts = json.loads(ask(released, "import json; print(json.dumps(find_version(client, '1').tags))").splitlines()[-1])
    labels = service.labels()
    for name in ("md5.raw", "md5.train", "md5.test", "md5.model"):
        assert labels[name] == facts[name]
    assert labels["org.opencontainers.image.version"] == "1"


def test_the_bill_of_materials_is_valid_and_names_what_the_image_holds(delivered, service):
    repository, _, _, built = delivered
    assert re.search(r"MB: base \d+, scipy \d+, numpy \d+", built)
    (bill,) = (repository.path / ".mlflow").rglob("version-1-service.cdx.json")
    text = bill.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"library"', '"book"')) is not None
    listed = {(part["name"], part["version"]) for part in json.loads(text)["components"]}
    code = "from importlib.metadata import distributions as all\nfor one in all(): print(one.name, one.version)"
    inside = [line.split() for line in service.run("python", "-c", code).splitlines()]
    inside += [line.split() for line in service.run("dpkg-query", "-W", "-f", "${Package} ${Version}\\n").splitlines()]
    assert {(name.lower().replace("_", "-"), version.lower()) for name, version in inside} <= listed
    assert len(listed) == len(inside) + 1  # Python itself


def test_a_pushed_image_runs_by_its_digest_and_is_traced(delivered):
    repository, variables, digest, _ = delivered
    reference = f"{variables['IMAGE']}@{digest}"
    assert history(repository) == ["1 promoted", "1 pushed"]
    found = json.loads(tool("skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"))
    assert found["Digest"] == digest
    tool("podman", "pull", "--quiet", "--tls-verify=false", reference)
    with running(reference) as container:
        (answer,) = container.ask("/predict", [ROW])[1]
        assert answer["version"] == "1"
    for name in (digest, reference):
        printed = repository.run(TOOL, "trace", name)
        assert "version 1 (champion)" in printed
        assert re.search(f"ledger pushed .* {reference}", printed)
        assert re.search("data/train.parquet md5 [0-9a-f]{32}, cache ok", printed)
    printed = repository.run(TOOL, "trace", OTHER, fails=True)
    assert f"error: The ledger knows no image with {OTHER}" in printed


@contextmanager
def docker_engine(base):
    """A Docker engine in this machine's network that has the base image; gives the variables for it."""
    system_program("dockerd", "docker.io")
    memory = Path("/dev/shm")  # Docker's layers can't lie on layers
    engine = Engine(Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None)), alone=False)
    try:
        archive = engine.folder / "base.tar"
        tool("podman", "save", "--output", str(archive), base)
        engine.docker("load", "--quiet", "--input", archive)
        secrets = environment()["BUILD_OPTIONS"].removeprefix("--pull=never")
        variables = {name: engine.environment[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG", "PATH")}
        yield variables | {"BUILD_OPTIONS": f"--network=host {secrets}"}
    finally:
        engine.stop()


@pytest.mark.parametrize("builder", ["docker", "podman"])
def test_the_other_builders_build_and_push_as_well(delivered, base_image, registry_host, tmp_path, builder):
    repository = fork(delivered[0], tmp_path)
    with docker_engine(base_image) if builder == "docker" else nullcontext({}) as more:
        path = f"{repository.path / '.venv/bin'}:{more['PATH']}" if more else repository.environment()["PATH"]
        variables = environment() | {"IMAGE": f"{registry_host}/{builder}/flight-delays", "BUILDER": builder} | more
        printed = repository.run("make", "image", "push", **variables | {"PATH": path})
    reference = re.search(rf"{variables['IMAGE']}@sha256:[0-9a-f]{{64}}", printed)[0]
    inspect = ["skopeo", "inspect", "--config", "--raw", "--tls-verify=false", f"docker://{reference}"]
    found = json.loads(tool(*inspect))["config"]
    commit = repository.run("git", "rev-parse", "HEAD").strip()
    assert found["Labels"]["org.opencontainers.image.revision"] == commit
    assert found["Healthcheck"]["Test"]
    assert "version 1 (champion)" in repository.run(TOOL, "trace", reference)


def test_pushing_again_changes_nothing_and_another_commits_image_is_not_pushed(delivered):
    repository, variables, _, _ = delivered
    repository.run("make", "push", **variables)
    assert history(repository) == ["1 promoted", "1 pushed"]
    other = variables | {"IMAGE": "localhost/other"}
    assert "localhost/other:1 is not among the images of buildah" in repository.run("make", "push", fails=True, **other)
    tool("podman", "tag", "docker.io/library/python:3.11-slim", "localhost/other:1")
    assert "`make image` builds it" in repository.run("make", "push", fails=True, **other)


@pytest.mark.parametrize("value", ["r/x@sha256:" + "2" * 64, None])
def test_a_changed_tag_is_named(delivered, tmp_path, value):
    repository = fork(delivered[0], tmp_path)
    arguments = "EXPERIMENT, 1, 'image.service'"
    ask(repository, f"client.set_model_version_tag({arguments}, {value!r})" if value else
        f"client.delete_model_version_tag({arguments})")  # fmt: skip
    printed = repository.run(TOOL, "trace", fails=True)
    assert f"the version's tag image.service says {value or 'nothing'}, the ledger says" in printed


def test_a_deployment_calls_the_platform_and_is_in_the_ledger(deliver):
    repository, digest = deliver
    pushed = re.search(rf"\S+@{digest}", repository.run(TOOL, "release", "--history"))[0]
    assert f"{pushed}\n" in repository.run("make", "deploy", "ENV=staging")
    assert "version 1 runs in production" in repository.run("make", "deploy", "ENV=production", f"DIGEST={digest}")
    other = f"record_decision(client, 'pushed', '1', commit='0', image='host/x@{OTHER}', target='service')"
    ask(repository, other)
    printed = repository.run("make", "deploy", "ENV=production")
    assert f"back to it: make deploy ENV=production DIGEST={digest}" in printed
    assert "version 1 ran in production" in repository.run("make", "undeploy", "ENV=production")
    assert repository.read("calls").splitlines() == [
        f"deploy/server/apply.sh staging {pushed}",
        f"deploy/server/apply.sh production {pushed}",
        f"deploy/server/apply.sh production host/x@{OTHER}",
        "deploy/server/remove.sh production",
    ]
    events = "promoted, pushed, deployed in staging, deployed in production, pushed, deployed in production"
    assert history(repository) == [f"1 {event}" for event in f"{events}, undeployed in production".split(", ")]


def test_the_image_for_schedules_is_pushed_beside_the_services_and_deployed_with_it(
    pipeline_image, delivered, tmp_path
):
    repository = with_platform(fork(delivered[0], tmp_path))
    repository.commit("a platform")
    repository.run(TOOL, "release")  # with the libraries of version 1, whose image the builder remembers
    repository.run("make", "image", "push", PIPELINE="1", **delivered[1])
    service, pipeline = [repository.read(f"reports/{name}.digest").strip() for name in ("service", "pipeline")]
    asked = [tool("skopeo", "inspect", "--tls-verify=false", f"docker://{image}") for image in (service, pipeline)]
    labels = [json.loads(text)["Labels"] for text in asked]
    assert labels[0] == labels[1]
    assert labels[0]["org.opencontainers.image.version"] == "2"
    repository.run("make", "deploy", "ENV=staging")
    assert repository.read("calls") == f"deploy/server/apply.sh staging {service} {pipeline}\n"


def test_what_may_not_be_deployed_is_refused_and_the_platform_is_not_called(deliver):
    repository, _ = deliver
    for words, sentence in [
        (["ENV=production", f"DIGEST={OTHER}"], f"The ledger knows no image with digest {OTHER}"),
        (["ENV=moon"], "The environment is 'moon'; expected ENV=staging or ENV=production."),
        ([], "The environment is ''; expected"),
    ]:
        assert f"error: {sentence}" in repository.run("make", "deploy", *words, fails=True)
    ask(repository, f"record_decision(client, 'pushed', '2', commit='0', image='host/x@{OTHER}', target='service')")
    printed = repository.run("make", "deploy", "ENV=production", f"DIGEST={OTHER}", fails=True)
    assert "error: Version 2 was never the champion: it can't go into production." in printed
    assert not (repository.path / "calls").exists()
    assert "version 2 runs in staging" in repository.run("make", "deploy", "ENV=staging", f"DIGEST={OTHER}")


def test_a_deployment_that_fails_is_not_in_the_ledger(deliver):
    repository, _ = deliver
    (repository.path / "fail").touch()
    printed = repository.run("make", "deploy", "ENV=staging", fails=True)
    assert "error: deploy/server/apply.sh ended with exit status 1" in printed
    assert history(repository) == ["1 promoted", "1 pushed"]
    (repository.path / "fail").unlink()
    assert "version unknown ran in staging" in repository.run("make", "undeploy", "ENV=staging")


def test_a_champion_without_an_image_is_not_deployed(released, tmp_path):
    printed = with_platform(fork(released, tmp_path)).run("make", "deploy", "ENV=staging", fails=True)
    assert "error: No image of the champion, version 1, was pushed; `make image push`" in printed


def test_a_missing_builder_is_named_with_how_to_get_one(released, tmp_path):
    for name in ("make", "git", "sh", "bash"):
        (tmp_path / name).symlink_to(shutil.which(name))
    path = f"{released.path / '.venv/bin'}:{tmp_path}"
    printed = released.run("make", "image", fails=True, PATH=path)
    assert "error: Images are made with docker or podman or buildah, but there is none here." in printed
    assert "`apt install buildah`" in printed
    printed = released.run(TOOL, "image", fails=True, IMAGE="")
    assert "error: IMAGE is not set" in printed


def test_hadolint_has_nothing_against_the_dockerfile(bake, tmp_path):
    dockerfile = bake().path / "Dockerfile"
    done = subprocess.run(["hadolint", "--no-color", dockerfile], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (0, "")
    faulty = tmp_path / "Dockerfile"
    faulty.write_text(dockerfile.read_text().replace('"uv==${UV}"', "uv"), encoding="utf-8")
    done = subprocess.run(["hadolint", "--no-color", faulty], capture_output=True, encoding="utf-8", check=False)
    assert "DL3013" in done.stdout
