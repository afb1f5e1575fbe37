"""Build the image of a version and push it to the container registry.

An image is determined by its version: its Dockerfile, uv.lock and source are those of the version's commit, so that
nothing uncommitted gets in. The digest that a registry gives it goes into the ledger.
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
from modelcycle.core.output import report_line, write_text
from modelcycle.core.paths import REPORT
from modelcycle.core.team import read_project
from modelcycle.tracking import store
from modelcycle.tracking.git import git
from modelcycle.versions import registry
from modelcycle.versions.bundle import write_version
from modelcycle.versions.code import check_out
from modelcycle.versions.ledger import lock_decisions, pushed_images, read_ledger
from modelcycle.versions.registry import Version

BUILDERS = ("docker", "podman", "buildah")
# Only Docker's format has HEALTHCHECK; buildah caches layers only if told; older Dockers need BuildKit for secrets.
BUILDER_VARIABLES = {"BUILDAH_FORMAT": "docker", "BUILDAH_LAYERS": "true", "DOCKER_BUILDKIT": "1"}
log = logging.getLogger(__name__)
OCI = "org.opencontainers.image"


def get_image_name(target: str) -> str:
    """Get the name, without tag, of the images of a stage of the Dockerfile. Raises InputError without IMAGE."""
    if not (name := os.environ.get("IMAGE")):
        raise InputError("IMAGE is not set; expected a name such as registry.example.com/ml/flights. `make` sets it.")
    return name if target == "service" else f"{name}-{target}"


def find_builder() -> str:
    """Find the first builder that works, or take BUILDER. Raises InputError that says how to get one."""
    names = [os.environ["BUILDER"]] if os.environ.get("BUILDER") else BUILDERS
    installed = [name for name in names if shutil.which(name)]
    for name in installed:
        if subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    state = f"{' and '.join(installed)} does not answer" if installed else "there is none here"
    raise InputError(
        f"Images are made with {' or '.join(names)}, but {state}. Start the Docker service, or install one that needs "
        "none: `apt install buildah`, `dnf install buildah`, `brew install podman`."
    )


def run_builder(*command: str) -> str:
    """Run a builder, log its output and return it. Raises InputError when it fails."""
    environment = os.environ | BUILDER_VARIABLES
    process = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment, check=False)
    log.info(process.stdout.rstrip())
    if process.returncode:
        raise InputError(f"`{' '.join(command[:2])}` ended with exit status {process.returncode}; it says above why.")
    return process.stdout


def write_build_context(client: Any, version: Version, context: Path) -> None:
    """Write to a folder what an image is built from: the files of the version's commit, and the version in model/."""
    write_version(client, version, context / "model")  # raises where the commit is not in this clone
    check_out(version.commit, context)
    for name in ("Dockerfile", "uv.lock"):
        if not (context / name).exists():
            raise InputError(f"Version {version.number} has no {name} in its commit: commit it, then release again.")


def make_labels(version: Version) -> dict[str, str]:
    """Make the labels that name an image's origin. The same version has the same labels."""
    return {
        f"{OCI}.version": version.number,
        f"{OCI}.revision": version.commit,
        f"{OCI}.created": git("show", "--no-patch", "--format=%cI", version.commit),
        **{name: version.tags[name] for name in ("md5.raw", "md5.train", "md5.test", "md5.model")},
    }


def make_bill_of_materials(packages: list[str], image_name: str, labels: dict[str, str]) -> dict[str, Any]:
    """List an image's contents in the format CycloneDX 1.6. packages: (n,) package URLs; labels: the image's."""
    components = []
    for package in packages:
        place, _, qualifiers = package.partition("?")  # a Debian package has some: its release and its source
        head, _, version = place.lower().replace("_", "-").rpartition("@")
        pairs = [pair.partition("=") for pair in qualifiers.split("&") if pair]
        url = f"{head}@{quote(version, safe='')}" + "?" * bool(pairs)
        url += "&".join(f"{key}={quote(value, safe='')}" for key, _, value in pairs)
        name = head.rpartition("/")[2]
        components.append({"type": "library", "name": name, "version": version, "purl": url, "bom-ref": url})
    image = {"type": "container", "name": image_name, "version": labels[f"{OCI}.version"]}
    properties = [{"name": label, "value": value} for label, value in labels.items()]
    metadata = {"timestamp": labels[f"{OCI}.created"], "component": image, "properties": properties}
    header = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    return header | {"metadata": metadata, "components": components}


def parse_sizes(output: str) -> tuple[int, str]:
    """Parse the output of du, the total first: an image's megabytes, and the largest parts of them in words."""
    (total, _), *rows = [line.split("\t") for line in output.splitlines()]
    sizes: dict[str, int] = {}
    for size, path in rows:
        name = Path(path).name.removesuffix(".libs")
        sizes[name] = sizes.get(name, 0) + int(size)
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:6])
    measured = sum(sizes.values())
    shown = {"base": int(total) - measured, **largest, "other packages": measured - sum(largest.values())}
    return int(total) // 1024, ", ".join(f"{name} {size // 1024}" for name, size in shown.items())


def write_ci_output(name: str, text: str) -> None:
    """Write a file to reports/, where CI finds it: as an artefact, and for the deployment."""
    write_text(REPORT.parent / name, text + "\n")


def image(name: str, target: str) -> None:
    """Build the image of a version, named by number or alias, and store its bill of materials with the version."""
    repository, builder, client = get_image_name(target), find_builder(), store.connect()
    version = registry.find_version(client, name)
    labels, tag = make_labels(version), f"{repository}:{version.number}"
    build = [builder, "build", *os.environ.get("BUILD_OPTIONS", "").split()]
    label_options = [word for label, value in labels.items() for word in ("--label", f"{label}={value}")]
    with tempfile.TemporaryDirectory() as context, tempfile.TemporaryDirectory() as parts:
        write_build_context(client, version, Path(context))
        run_builder(*build, "--target", target, "--tag", tag, *label_options, context)
        output = ["--output", f"type=local,dest={parts}"]
        run_builder(*build, "--target", "parts", "--build-arg", f"TARGET={target}", *output, context)
        packages = (Path(parts) / "packages").read_text(encoding="utf-8").splitlines()
        megabytes, largest_parts = parse_sizes((Path(parts) / "sizes").read_text(encoding="utf-8"))
    bill = make_bill_of_materials(packages, repository, labels)
    bill_path = f"images/version-{version.number}-{target}.cdx.json"
    client.log_dict(version.run_id, bill, bill_path)
    write_ci_output(f"{target}.cdx.json", json.dumps(bill, indent=1))
    report_line("image", f"version {version.number}, {megabytes} MB", tag)
    report_line("", f"{len(packages)} packages, listed among the version's artifacts", bill_path)
    report_line("", f"MB: {largest_parts}")


def find_revision(builder: str, tag: str) -> str:
    """Find the commit that a local image was built from; empty where there is no such image."""
    inspect, config = (["inspect", "--type=image"], "Docker.") if builder == "buildah" else (["image", "inspect"], "")
    template = f'{{{{index .{config}Config.Labels "{OCI}.revision"}}}}'
    command = [builder, *inspect, "--format", template, tag]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout.strip()


def push_image(builder: str, tag: str) -> str:
    """Push an image and return the digest that the registry gives it."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as digest_file:
        options = [] if builder == "docker" else ["--digestfile", digest_file.name]
        if options and tag.startswith(("localhost:", "127.")):  # Docker needs no TLS there either
            options.append("--tls-verify=false")
        output = run_builder(builder, "push", *options, *os.environ.get("PUSH_OPTIONS", "").split(), tag)
        if not (digests := re.findall("sha256:[0-9a-f]{64}", digest_file.read() if options else output)):
            raise InputError(f"{builder} has pushed {tag} without naming its digest; PUSH_OPTIONS may be why.")
        return str(digests[-1])


def push(name: str, target: str) -> None:
    """Push the image of a version and enter its digest into the ledger; the version's tag follows."""
    repository, builder, client = get_image_name(target), find_builder(), store.connect()
    version = registry.find_version(client, name)
    tag, commit = f"{repository}:{version.number}", version.commit
    if (revision := find_revision(builder, tag)) != commit:
        state = f"is of commit {revision[:7]}" if revision else f"is not among the images of {builder}"
        raise InputError(f"{tag} {state}; expected version {version.number} of {commit[:7]}: `make image` builds it.")
    reference = f"{repository}@{push_image(builder, tag)}"
    with lock_decisions():
        if pushed_images(read_ledger(client), version.number).get(target) != reference:
            registry.record_decision(client, "pushed", version.number, commit=commit, image=reference, target=target)
        client.set_model_version_tag(read_project().registered_name, version.number, f"image.{target}", reference)
    write_ci_output(f"{target}.digest", reference)
    report_line("push", f"version {version.number}", reference)
