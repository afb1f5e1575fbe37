"""Build the image of a version and push it to the container registry.

An image follows from its version: the Dockerfile, uv.lock and the source in it are those of the version's commit, so
that nothing uncommitted gets in. The digest that a registry gives it goes into the ledger.
"""

import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelcycle.core.errors import InputError
from modelcycle.core.output import report_line, write_atomically
from modelcycle.core.paths import REPORT
from modelcycle.core.project import read_project
from modelcycle.tracking import registry
from modelcycle.tracking.bundle import features_source, write_version
from modelcycle.tracking.git import git
from modelcycle.tracking.ledger import pushed_images, read_ledger
from modelcycle.tracking.registry import Version

BUILDERS = ("docker", "podman", "buildah")
# HEALTHCHECK is of Docker's format only; buildah keeps layers only if told; older Dockers know no secrets otherwise.
BUILDER_VARIABLES = {"BUILDAH_FORMAT": "docker", "BUILDAH_LAYERS": "true", "DOCKER_BUILDKIT": "1"}
log = logging.getLogger(__name__)
OCI = "org.opencontainers.image"


def get_image_name(target: str) -> str:
    """Say what the images of a stage of the Dockerfile are called. Raises InputError where nobody has said it."""
    if not (name := os.environ.get("IMAGE")):
        raise InputError("IMAGE is not set; expected a name such as registry.example.com/ml/flights. `make` sets it.")
    return name if target == "service" else f"{name}-{target}"


def find_builder() -> str:
    """Find the first of the builders that works, or take BUILDER. Raises InputError that says how to get one."""
    names = [os.environ["BUILDER"]] if os.environ.get("BUILDER") else BUILDERS
    there = [name for name in names if shutil.which(name)]
    for name in there:
        if subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    state = f"{' and '.join(there)} does not answer" if there else "there is none here"
    raise InputError(
        f"Images are made with {' or '.join(names)}, but {state}. Start the Docker service, or install one that needs "
        "none: `apt install buildah`, `dnf install buildah`, `brew install podman`."
    )


def run_builder(*command: str) -> str:
    """Run a builder, show what it says and give it back. Raises InputError when it fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, encoding="utf-8", env=os.environ | BUILDER_VARIABLES, check=False
    )
    log.info(done.stdout.rstrip())
    if done.returncode:
        raise InputError(f"`{' '.join(command[:2])}` ended with exit status {done.returncode}; it says above why.")
    return done.stdout


def write_build_context(client: Any, version: Version, context: Path) -> None:
    """Put into a folder what an image is built from: the files of the version's commit, and the version in model/."""
    revision = version.commit
    features_source(version, read_project())  # says so where the commit is not here
    archive = subprocess.run(["git", "archive", revision], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-xf", "-", "-C", str(context)], input=archive, check=True)
    for name in ("Dockerfile", "uv.lock"):
        if not (context / name).exists():
            raise InputError(f"Version {version.number} has no {name} in its commit: commit it, then release again.")
    write_version(client, version, context / "model")


def make_labels(version: Version) -> dict[str, str]:
    """Say where an image comes from. The same version has the same labels."""
    return {
        f"{OCI}.version": version.number,
        f"{OCI}.revision": version.commit,
        f"{OCI}.created": git("show", "--no-patch", "--format=%cI", version.commit),
        **{name: version.tags[name] for name in ("md5.raw", "md5.train", "md5.test", "md5.model")},
    }


def make_bill_of_materials(packages: list[str], name: str, noted: dict[str, str]) -> dict[str, Any]:
    """List what an image holds in the form of CycloneDX 1.6. packages: (n,) URLs; noted: the image's labels."""
    parts = []
    for package in packages:
        head, _, version = package.lower().replace("_", "-").rpartition("@")
        url = f"{head}@{quote(version, safe='')}"
        part = {"type": "library", "name": head.rpartition("/")[2], "version": version, "purl": url, "bom-ref": url}
        parts.append(part)
    image = {"type": "container", "name": name, "version": noted[f"{OCI}.version"]}
    properties = [{"name": label, "value": value} for label, value in noted.items()]
    metadata = {"timestamp": noted[f"{OCI}.created"], "component": image, "properties": properties}
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": metadata, "components": parts}


def parse_sizes(measured: str) -> tuple[int, str]:
    """Read the output of du, first of all: the megabytes of an image, and what they are made of in words."""
    (total, _), *rows = [line.split("\t") for line in measured.splitlines()]
    parts: dict[str, int] = {}
    for size, path in rows:
        name = Path(path).name.removesuffix(".libs")
        parts[name] = parts.get(name, 0) + int(size)
    largest = dict(sorted(parts.items(), key=lambda part: -part[1])[:6])
    inside, named = sum(parts.values()), sum(largest.values())
    shown = {"base": int(total) - inside, **largest, "other packages": inside - named}
    return int(total) // 1024, ", ".join(f"{name} {size // 1024}" for name, size in shown.items())


def write_ci_output(name: str, text: str) -> None:
    """Leave a file in reports/, where CI takes it from: as an artefact, and for the deployment."""
    with write_atomically(REPORT.parent / name) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def image(name: str, target: str) -> None:
    """Build the image of a version, given by number or alias, and keep the list of what it holds with the version."""
    place, builder, client = get_image_name(target), find_builder(), registry.connect()
    version = registry.find_version(client, name)
    noted, tag = make_labels(version), f"{place}:{version.number}"
    build = [builder, "build", *os.environ.get("BUILD_OPTIONS", "").split()]
    marks = [word for label, value in noted.items() for word in ("--label", f"{label}={value}")]
    with tempfile.TemporaryDirectory() as context, tempfile.TemporaryDirectory() as parts:
        write_build_context(client, version, Path(context))
        run_builder(*build, "--target", target, "--tag", tag, *marks, context)
        output = ["--output", f"type=local,dest={parts}"]
        run_builder(*build, "--target", "parts", "--build-arg", f"TARGET={target}", *output, context)
        packages = (Path(parts) / "packages").read_text(encoding="utf-8").splitlines()
        megabytes, in_words = parse_sizes((Path(parts) / "sizes").read_text(encoding="utf-8"))
    bill, listed = f"images/version-{version.number}-{target}.cdx.json", make_bill_of_materials(packages, place, noted)
    client.log_dict(version.run_id, listed, bill)
    write_ci_output(f"{target}.cdx.json", json.dumps(listed, indent=1))
    report_line("image", f"version {version.number}, {megabytes} MB", tag)
    report_line("", f"{len(packages)} packages, listed among the version's artifacts", bill)
    report_line("", f"MB: {in_words}")


def find_revision(builder: str, tag: str) -> str:
    """Say which commit a local image was built from; empty where there is no such image."""
    how, config = (["inspect", "--type=image"], "Docker.") if builder == "buildah" else (["image", "inspect"], "")
    form = f'{{{{index .{config}Config.Labels "{OCI}.revision"}}}}'
    command = [builder, *how, "--format", form, tag]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout.strip()


def push_image(builder: str, tag: str) -> str:
    """Push an image and give the digest that the registry has for it."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as note:
        own = [] if builder == "docker" else ["--digestfile", note.name]
        if own and tag.startswith(("localhost:", "127.")):  # Docker needs no TLS there either
            own.append("--tls-verify=false")
        said = run_builder(builder, "push", *own, *os.environ.get("PUSH_OPTIONS", "").split(), tag)
        if not (found := re.findall("sha256:[0-9a-f]{64}", note.read() if own else said)):
            raise InputError(f"{builder} has pushed {tag} without naming its digest; PUSH_OPTIONS may be why.")
        return str(found[-1])


def push(name: str, target: str) -> None:
    """Push the image of a version and enter its digest into the ledger; the version's tag follows."""
    place, builder, client = get_image_name(target), find_builder(), registry.connect()
    version = registry.find_version(client, name)
    tag, commit = f"{place}:{version.number}", version.commit
    if (found := find_revision(builder, tag)) != commit:
        state = f"is of commit {found[:7]}" if found else f"is not among the images of {builder}"
        raise InputError(f"{tag} {state}; expected version {version.number} of {commit[:7]}: `make image` builds it.")
    reference = f"{place}@{push_image(builder, tag)}"
    with registry.one_at_a_time():
        if pushed_images(read_ledger(client), version.number).get(target) != reference:
            registry.record_decision(client, "pushed", version.number, commit=commit, image=reference, target=target)
        client.set_model_version_tag(read_project().registered_name, version.number, f"image.{target}", reference)
    write_ci_output(f"{target}.digest", reference)
    report_line("push", f"version {version.number}", reference)
