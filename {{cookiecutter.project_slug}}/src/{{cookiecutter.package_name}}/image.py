"""Build the image of a version and push it to the container registry.

An image follows from its version: the Dockerfile, uv.lock and the source in it are those of the version's commit, so
that nothing uncommitted gets in. The digest that a registry gives it goes into the ledger.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import registry
from .bundle import write_version
from .files import InputError, say
from .lineage import git

TARGETS = ("service", "pipeline")  # stages of the Dockerfile that become images
REVISION = "org.opencontainers.image.revision"
COPIED = ("raw", "train", "test", "model")  # of a version's md5 tags, what its image's labels repeat
# HEALTHCHECK is of Docker's format only; buildah keeps no layers unless told; older Dockers know no secrets otherwise.
HABITS = {"BUILDAH_FORMAT": "docker", "BUILDAH_LAYERS": "true", "DOCKER_BUILDKIT": "1"}


def repository(target: str) -> str:
    """Say where the images of a target go. Raises InputError where nobody has said it."""
    if not (name := os.environ.get("IMAGE")):
        raise InputError(
            "IMAGE is not set; expected registry, folder and name, such as registry.example.com/ml/flights. make sets it."
        )
    return name if target == "service" else f"{name}-{target}"


def find_builder() -> str:
    """Find the first of docker, podman and buildah that works, or take BUILDER. Raises InputError with what to do."""
    names = [os.environ["BUILDER"]] if os.environ.get("BUILDER") else ["docker", "podman", "buildah"]
    found = [name for name in names if shutil.which(name)]
    for name in found:
        if subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    states = f"{' and '.join(found)} does not answer" if found else "there is none here"
    raise InputError(
        f"Images are made with {' or '.join(names)}; {states}. Start the Docker service, or install one that needs none: "
        "`apt install buildah`, `dnf install buildah`, `brew install podman`."
    )


def run(*command: str) -> str:
    """Run a builder, what it says of its progress goes to the terminal. Raises InputError when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", env=os.environ | HABITS, check=False)
    if done.returncode:
        raise InputError(f"`{' '.join(command[:2])}` ended with exit status {done.returncode}; it says above why.")
    return done.stdout


def options(variable: str) -> list[str]:
    """Split the further options of a builder that an environment variable holds."""
    return os.environ.get(variable, "").split()


def fill_context(client: Any, version: Any, context: Path) -> None:
    """Put into a folder what an image is built from: the files of the version's commit, and the version in model/."""
    write_version(client, version, context / "model")
    revision = version.tags["git_commit"]
    archive = subprocess.run(["git", "archive", revision], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(context, filter="data")
    for name in ("Dockerfile", "uv.lock"):
        if not (context / name).exists():
            raise InputError(
                f"Commit {revision[:7]} of version {version.version} has no {name}: commit it, then release again."
            )


def labels(version: Any) -> dict[str, str]:
    """Say where an image comes from: commit, version, and the md5 of data and model. The same version, the same labels."""
    return {
        "org.opencontainers.image.title": registry.EXPERIMENT,
        "org.opencontainers.image.version": str(version.version),
        "org.opencontainers.image.created": git("show", "--no-patch", "--format=%cI", version.tags["git_commit"]),
        REVISION: version.tags["git_commit"],
        **{f"md5.{name}": version.tags[f"md5.{name}"] for name in COPIED},
    }


def bill_of_materials(packages: list[str], name: str, noted: dict[str, str]) -> dict[str, Any]:
    """List an image's packages in CycloneDX 1.6. packages: (n,) package URLs, of which only the version may need quoting."""
    components = []
    for package in packages:
        head, _, version = package.lower().replace("_", "-").rpartition("@")
        url = f"{head}@{quote(version, safe='')}"
        library = {"type": "library", "name": head.rpartition("/")[2], "version": version, "purl": url, "bom-ref": url}
        components.append(library)
    properties = [{"name": label, "value": value} for label, value in noted.items()]
    image = {"type": "container", "name": name, "version": noted["org.opencontainers.image.version"]}
    metadata = {"timestamp": noted["org.opencontainers.image.created"], "component": image, "properties": properties}
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": metadata, "components": components}


def sizes(measured: str) -> tuple[int, str]:
    """Read what du says, first of all: the megabytes of the image, and what they are made of in words."""
    rows = [line.split("\t") for line in measured.splitlines()]
    total, parts = int(rows[0][0]), dict[str, int]()
    for size, path in rows[1:]:
        name = Path(path).name.removesuffix(".libs")
        parts[name] = parts.get(name, 0) + int(size)
    largest = sorted(parts, key=lambda name: -parts[name])[:6]
    rest = sum(parts.values()) - sum(parts[name] for name in largest)
    shown = {"base and model": total - sum(parts.values()), **{name: parts[name] for name in largest}, "others": rest}
    return total // 1024, ", ".join(f"{name} {size // 1024}" for name, size in shown.items())


def image(name: str, target: str) -> None:
    """Build the image of a version, given by number or alias, and keep its bill of materials with the version."""
    place, builder, client = repository(target), find_builder(), registry.connect()
    version = registry.find_version(client, name)
    noted, tag = labels(version), f"{place}:{version.version}"
    with tempfile.TemporaryDirectory() as scratch:
        context, parts = Path(scratch) / "context", Path(scratch) / "parts"
        context.mkdir()
        fill_context(client, version, context)
        build = [builder, "build", *options("BUILD_OPTIONS")]
        marks = [word for label, value in noted.items() for word in ("--label", f"{label}={value}")]
        print(run(*build, "--target", target, "--tag", tag, *marks, str(context)), end="", file=sys.stderr)
        measure = ["--target", "parts", "--build-arg", f"TARGET={target}", "--output", f"type=local,dest={parts}"]
        print(run(*build, *measure, str(context)), end="", file=sys.stderr)
        packages = (parts / "packages").read_text(encoding="utf-8").splitlines()
        megabytes, made_of = sizes((parts / "sizes").read_text(encoding="utf-8"))
    sbom = f"images/version-{version.version}-{target}.cdx.json"
    client.log_dict(version.run_id, bill_of_materials(packages, place, noted), sbom)
    say("image", f"version {version.version}, {megabytes} MB", tag)
    say("", f"{len(packages)} packages, listed with the version", sbom)
    print(f"          MB: {made_of}")


def revision_of(builder: str, tag: str) -> str:
    """Say which commit a local image was built from; empty where there is no such image."""
    kind, config = (["--type", "image"], ".Docker.Config") if builder == "buildah" else ([], ".Config")
    form = f'{{{{index {config}.Labels "{REVISION}"}}}}'
    command = [builder, *([] if kind else ["image"]), "inspect", *kind, "--format", form, tag]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout.strip()


def push_image(builder: str, tag: str) -> str:
    """Push an image and give the digest that the registry has for it."""
    with tempfile.TemporaryDirectory() as scratch:
        note = Path(scratch) / "digest"
        own = [] if builder == "docker" else ["--digestfile", str(note)]
        if own and tag.startswith(("localhost", "127.")):  # Docker takes these without TLS of itself
            own.append("--tls-verify=false")
        said = run(builder, "push", *own, *options("PUSH_OPTIONS"), tag)
        found = re.findall("sha256:[0-9a-f]{64}", note.read_text(encoding="utf-8") if own else said)
    return str(found[-1])


def push(name: str, target: str) -> None:
    """Push the image of a version and enter its digest into the ledger; the version's tag follows."""
    place, builder, client = repository(target), find_builder(), registry.connect()
    version = registry.find_version(client, name)
    tag, commit = f"{place}:{version.version}", version.tags["git_commit"]
    if (found := revision_of(builder, tag)) != commit:
        state = f"is of commit {found[:7]}" if found else f"is not among {builder}'s images"
        raise InputError(f"{tag} {state}, version {version.version} of {commit[:7]}: `make image` builds it.")
    reference = f"{place}@{push_image(builder, tag)}"
    with registry.one_at_a_time():
        if registry.pushed(registry.ledger(client), str(version.version)).get(target) != reference:
            registry.enter(client, "pushed", version.version, commit=commit, image=reference, target=target)
        client.set_model_version_tag(registry.EXPERIMENT, version.version, f"image.{target}", reference)
    say("push", f"version {version.version}", reference)
