import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.delivery.image import (
    find_builder,
    find_revision,
    get_image_name,
    make_bill_of_materials,
    parse_sizes,
    push_image,
)

LABELS = {"org.opencontainers.image.version": "3", "org.opencontainers.image.created": "2024-01-01T00:00:00+00:00"}
IMAGE = {"IMAGE": "registry.example.com/ml/flights"}
DIGEST, OTHER = "sha256:" + "d" * 64, "sha256:" + "1" * 64
# Notes its arguments and what an image would be made of, and says what docker, podman and buildah say.
BUILDER = """#!/bin/sh
name=${0##*/}
echo "$name $*" >> "$NOTES/calls"
[ ! -e "$NOTES/$name-$1-fails" ] || exit 7
case "$1" in
info) ;;
build)
  echo "$BUILDAH_FORMAT $BUILDAH_LAYERS $DOCKER_BUILDKIT" > "$NOTES/variables"
  for word; do case $word in type=local,dest=*) parts=${word#*dest=} ;; esac; done
  rm -rf "$NOTES/context" && cp -r "$word" "$NOTES/context"
  [ -z "$parts" ] || cp "$NOTES/packages" "$NOTES/sizes" "$parts" ;;
push)
  for word; do case $before in --digestfile) file=$word ;; esac; before=$word; done
  if [ -n "$file" ]; then cat "$NOTES/digest" > "$file"; else echo "1: digest: $(cat "$NOTES/digest") size: 528"; fi ;;
*) cat "$NOTES/revision" ;;
esac
"""


@dataclass
class Builders:
    """Stand-ins for docker, podman and buildah in a folder, where they note how they are called."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("docker", "podman", "buildah"):
            program = self.folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(BUILDER, encoding="utf-8")
            program.chmod(0o755)
        self.write("packages", "pkg:pypi/Typing_Extensions@4.1\npkg:deb/debian/zlib1g@1:1.2+b1\n")
        self.write("sizes", "102400\t/\n20480\t/p/scipy\n5120\t/p/numpy\n")
        self.write("revision", "")
        self.write("digest", DIGEST)

    def write(self, name: str, text: str) -> None:
        """Write what they say; a file NAME-COMMAND-fails lets one of them fail."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def variables(self, **more: str) -> dict[str, str]:
        """Give the environment in which a verb finds them."""
        return {"NOTES": str(self.folder), "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"} | more

    def calls(self) -> list[str]:
        """List how they were called; a temporary file or folder is shown as TMP."""
        path = self.folder / "calls"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [re.sub(r"/\S*/tmp\w+", "TMP", line) for line in lines]


@pytest.fixture
def builders(tmp_path) -> Builders:
    (tmp_path / "builders").mkdir()
    return Builders(tmp_path / "builders")


def test_a_part_has_its_name_its_version_and_an_address_with_both():
    bill = make_bill_of_materials(
        ["pkg:pypi/Typing_Extensions@4.1", "pkg:deb/debian/zlib1g@1:1.2+b1"], "host/x", LABELS
    )
    assert bill["components"] == [
        {"type": "library", "name": name, "version": version, "purl": url, "bom-ref": url}
        for name, version, url in [
            ("typing-extensions", "4.1", "pkg:pypi/typing-extensions@4.1"),
            ("zlib1g", "1:1.2+b1", "pkg:deb/debian/zlib1g@1%3A1.2%2Bb1"),
        ]
    ]
    assert bill["metadata"]["component"] == {"type": "container", "name": "host/x", "version": "3"}
    assert bill["metadata"]["timestamp"] == "2024-01-01T00:00:00+00:00"
    assert bill["metadata"]["properties"][0] == {"name": "org.opencontainers.image.version", "value": "3"}
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)


def test_the_size_is_told_by_its_largest_parts():
    packages = "".join(f"{1024 * size}\t/p/{name}\n" for size, name in [(9, "a"), (20, "b"), (5, "b.libs")])
    small = "".join(f"1024\t/p/c{number}\n" for number in range(5))
    assert parse_sizes(f"102400\t/\n{packages}{small}") == (
        100,
        "base 61, b 25, a 9, c0 1, c1 1, c2 1, c3 1, other packages 1",
    )


def test_an_image_s_name_is_set_from_outside(monkeypatch):
    monkeypatch.setenv("IMAGE", "host/x")
    assert [get_image_name("service"), get_image_name("pipeline")] == ["host/x", "host/x-pipeline"]
    monkeypatch.delenv("IMAGE")
    with pytest.raises(InputError, match=r"^IMAGE is not set; expected a name such as registry.example.com/ml/flights"):
        get_image_name("service")


# Builders


@pytest.fixture
def build_with(builders, monkeypatch):
    """The stand-ins on the PATH of this process."""
    for name, value in builders.variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BUILDER", raising=False)
    return builders


@pytest.mark.parametrize(
    ("failing", "builder"), [([], "docker"), (["docker"], "podman"), (["docker", "podman"], "buildah")]
)
def test_the_first_builder_that_answers_is_taken(build_with, failing, builder):
    for name in failing:
        build_with.write(f"{name}-info-fails", "")
    assert find_builder() == builder
    assert build_with.calls() == [f"{name} info" for name in [*failing, builder]]


def test_a_builder_that_is_named_is_taken(build_with, monkeypatch):
    monkeypatch.setenv("BUILDER", "buildah")
    assert find_builder() == "buildah"
    build_with.write("buildah-info-fails", "")
    with pytest.raises(InputError, match=r"^Images are made with buildah, but buildah does not answer\. Start "):
        find_builder()


def test_a_missing_builder_is_named_with_how_to_get_one(build_with, monkeypatch, tmp_path):
    for name in ("docker", "podman", "buildah"):
        build_with.write(f"{name}-info-fails", "")
    with pytest.raises(InputError, match="but docker and podman and buildah does not answer"):
        find_builder()
    monkeypatch.setenv("PATH", str(tmp_path))
    sentence = r"^Images are made with docker or podman or buildah, but there is none here\. .*`apt install buildah`"
    with pytest.raises(InputError, match=sentence):
        find_builder()


@pytest.mark.parametrize(
    ("builder", "command", "where"),
    [
        ("docker", "image inspect", "Config"),
        ("podman", "image inspect", "Config"),
        ("buildah", "inspect --type=image", "Docker.Config"),
    ],
)
def test_an_image_s_commit_is_read_from_its_label(build_with, builder, command, where):
    build_with.write("revision", "abc\n")
    assert find_revision(builder, "host/x:1") == "abc"
    label = f'{{{{index .{where}.Labels "org.opencontainers.image.revision"}}}}'
    assert build_with.calls() == [f"{builder} {command} --format {label} host/x:1"]


@pytest.mark.parametrize(
    ("builder", "tag", "call"),
    [
        ("docker", "localhost:5000/x:1", "docker push --quick localhost:5000/x:1"),
        ("podman", "host/x:1", "podman push --digestfile TMP --quick host/x:1"),
        (
            "buildah",
            "localhost:5000/x:1",
            "buildah push --digestfile TMP --tls-verify=false --quick localhost:5000/x:1",
        ),
        ("podman", "127.0.0.1:5000/x:1", "podman push --digestfile TMP --tls-verify=false --quick 127.0.0.1:5000/x:1"),
    ],
)
def test_a_push_gives_the_digest_that_the_registry_names(build_with, monkeypatch, builder, tag, call):
    monkeypatch.setenv("PUSH_OPTIONS", "--quick")
    assert push_image(builder, tag) == DIGEST
    assert build_with.calls() == [call]


def test_a_push_without_a_digest_or_that_fails_is_named(build_with):
    build_with.write("digest", "none")
    with pytest.raises(InputError, match=r"^docker has pushed host/x:1 without naming its digest; PUSH_OPTIONS "):
        push_image("docker", "host/x:1")
    build_with.write("docker-push-fails", "")
    with pytest.raises(InputError, match=r"^`docker push` ended with exit status 7; it says above why"):
        push_image("docker", "host/x:1")


# The verbs


@pytest.fixture(scope="module")
def second(first_release, tmp_path_factory):
    """A second version of the same model, whose commit has a uv.lock as the first command of a user writes it."""
    second = first_release.copy_to(tmp_path_factory.mktemp("delivery"))
    (second.path / "uv.lock").write_text("version = 1\n", encoding="utf-8")
    second.commit("lock the libraries")
    second.verb("release")
    second.run("git", "checkout", "--quiet", "docs")
    return second


@pytest.fixture(scope="module")
def built(second, tmp_path_factory):
    """The stand-ins after `image` of the champion, with what it has printed. Files were changed and not committed."""
    builders = Builders(tmp_path_factory.mktemp("builders"))
    (second.path / "Dockerfile").write_text("FROM nothing\n", encoding="utf-8")
    (second.path / "new.txt").write_text("not committed\n", encoding="utf-8")
    variables = builders.variables(**IMAGE, BUILDER="podman", BUILD_OPTIONS="--pull=never --secret id=ca,src=/ca")
    printed = second.verb("image", **variables)
    second.run("git", "checkout", "--quiet", "Dockerfile")
    builders.write("revision", second.run("git", "rev-parse", "HEAD"))
    return builders, printed


def test_an_image_is_built_with_labels_that_name_its_origin(second, built):
    builders, _ = built
    service, parts = [call for call in builders.calls() if " build " in call]
    options = "podman build --pull=never --secret id=ca,src=/ca --target"
    assert service.startswith(f"{options} service --tag registry.example.com/ml/flights:2 --label ")
    assert service.endswith(" TMP")
    labels = dict(label.split("=", 1) for label in re.findall(r"--label (\S+)", service))
    commit = second.run("git", "rev-parse", "HEAD").strip()
    assert labels["org.opencontainers.image.version"] == "2"
    assert labels["org.opencontainers.image.revision"] == commit
    created = second.run("git", "show", "--no-patch", "--format=%cI", "HEAD").strip()
    assert labels["org.opencontainers.image.created"] == created
    manifest = json.loads((builders.folder / "context/model/version.json").read_text(encoding="utf-8"))
    digests = ("md5.raw", "md5.train", "md5.test", "md5.model")
    assert {name: labels[name] for name in digests} == {name: manifest["facts"][name] for name in digests}
    assert len(labels) == 7
    assert parts == f"{options} parts --build-arg TARGET=service --output type=local,dest=TMP TMP"
    assert (builders.folder / "variables").read_text() == "docker true 1\n"


def test_an_image_is_made_of_the_version_s_commit_and_its_files_alone(second, built):
    context = built[0].folder / "context"
    assert (context / "Dockerfile").read_text() == second.read("Dockerfile")
    assert not (context / "new.txt").exists()
    assert {path.name for path in (context / "model").iterdir()} >= {"model.skops", "src", "version.json"}
    assert (context / "src/modelcycle/serving/serve.py").exists()


def test_what_an_image_holds_is_printed_and_kept_with_the_version(second, built):
    _, printed = built
    lines = [line for line in printed.splitlines() if line.strip()][-3:]
    assert re.split(" {2,}", lines[0]) == ["image", "version 2, 100 MB", "registry.example.com/ml/flights:2"]
    bill_path = "images/version-2-service.cdx.json"
    assert re.split(" {2,}", lines[1])[1:] == ["2 packages, listed among the version's artifacts", bill_path]
    assert lines[2].strip() == "MB: base 75, scipy 20, numpy 5, other packages 0"
    (kept,) = (second.path / ".mlflow").rglob("version-2-service.cdx.json")
    bill = json.loads(kept.read_text(encoding="utf-8"))
    assert bill["metadata"]["component"]["name"] == "registry.example.com/ml/flights"
    assert [part["name"] for part in bill["components"]] == ["typing-extensions", "zlib1g"]
    assert json.loads(second.read("reports/service.cdx.json")) == bill


def test_the_image_for_schedules_has_a_name_and_a_target_of_its_own(second, builders):
    printed = second.verb("image", "2", "--pipeline", **builders.variables(**IMAGE))
    assert "registry.example.com/ml/flights-pipeline:2" in printed
    _, service, parts = builders.calls()
    assert service.startswith("docker build --target pipeline --tag registry.example.com/ml/flights-pipeline:2 ")
    assert "--build-arg TARGET=pipeline" in parts


def test_what_can_not_be_built_is_named(second, builders):
    variables = builders.variables(**IMAGE)
    printed = second.verb("image", "1", fails=True, **variables)
    assert printed == "error: Version 1 has no uv.lock in its commit: commit it, then release again.\n"
    assert builders.calls() == ["docker info"]
    builders.write("docker-build-fails", "")
    printed = second.verb("image", fails=True, **variables)
    assert printed.endswith("error: `docker build` ended with exit status 7; it says above why.\n")
    assert "error: IMAGE is not set" in second.verb("image", fails=True, **variables | {"IMAGE": ""})


def history(second):
    """List the ledger as `1 promoted`, `1 pushed` and so on."""
    return re.findall(r"version (\d+ [a-z]+)", second.verb("release", "--history"))


def test_a_pushed_image_is_in_the_ledger_once_and_is_traced_by_its_digest(second, built, tmp_path):
    builders, reference = built[0], f"registry.example.com/ml/flights@{DIGEST}"
    second = second.copy_to(tmp_path)
    for _ in range(2):
        printed = second.verb("push", **builders.variables(**IMAGE, BUILDER="buildah"))
        assert re.search(rf"^push +version 2 +{reference}$", printed, re.MULTILINE)
    assert history(second) == ["1 promoted", "2 promoted", "2 pushed"]
    assert second.read("reports/service.digest") == f"{reference}\n"
    printed = second.verb("trace", reference)
    assert "version 2 (champion)" in printed
    assert re.search(f"ledger pushed .* {reference}", printed)
    builders.write("digest", OTHER)
    second.verb("push", **builders.variables(**IMAGE, BUILDER="buildah"))
    assert history(second) == ["1 promoted", "2 promoted", "2 pushed", "2 pushed"]
    builders.write("digest", DIGEST)


def test_another_commit_s_image_is_not_pushed(second, builders):
    expected = f"expected version 2 of {second.run('git', 'rev-parse', 'HEAD')[:7]}: `make image` builds it."
    variables, tag = builders.variables(**IMAGE), "registry.example.com/ml/flights:2"
    printed = second.verb("push", fails=True, **variables)
    assert printed == f"error: {tag} is not among the images of docker; {expected}\n"
    builders.write("revision", "0123456789abcdef\n")
    printed = second.verb("push", fails=True, **variables)
    assert printed == f"error: {tag} is of commit 0123456; {expected}\n"
    assert not any(" push " in call for call in builders.calls())
    assert history(second) == ["1 promoted", "2 promoted"]
