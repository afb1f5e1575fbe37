"""Bring an image that was pushed to where it runs, and take it away again.

What is particular to a platform is in its folder: `apply.sh ENVIRONMENT IMAGE@DIGEST` and `remove.sh ENVIRONMENT`.
"""

import os
import subprocess
from pathlib import Path

from . import registry
from .files import InputError, say

ENVIRONMENTS = ("staging", "production")
PLATFORMS = ("openshift", "server", "kubernetes")  # the first one here counts: OpenShift's builds upon kubernetes


def find_script(name: str) -> Path:
    """Find a script of the platform that this project has."""
    for platform in PLATFORMS:
        if (script := Path("deploy") / platform / name).exists():
            return script
    raise InputError(f"There is no {name} in deploy/{', deploy/'.join(PLATFORMS)}; run this in the repository's top folder.")


def need_environment(environment: str) -> None:
    """Raise InputError for what is no environment."""
    if environment not in ENVIRONMENTS:
        raise InputError(f"The environment is '{environment}'; expected ENV={' or ENV='.join(ENVIRONMENTS)}.")


def call(script: Path, *arguments: str, **environment: str) -> None:
    """Run a script of the platform; what it says goes to the terminal. Raises InputError when it fails."""
    done = subprocess.run([str(script), *arguments], env=os.environ | environment, check=False)
    if done.returncode:
        raise InputError(f"{script} ended with exit status {done.returncode}; it says above why. The ledger has no entry.")


def running(entries: list[dict[str, str]], environment: str) -> dict[str, str] | None:
    """Give the ledger's entry of what runs in an environment; None where nothing does."""
    moves = [entry for entry in entries if entry.get("environment") == environment]
    return moves[-1] if moves and moves[-1]["event"] == "deployed" else None


def choose(entries: list[dict[str, str]], digest: str) -> dict[str, str]:
    """Give the entry of the image to deploy: by its digest, or the last one of the champion."""
    services = [entry for entry in entries if entry["event"] == "pushed" and entry["target"] == "service"]
    if digest:
        wanted = [entry for entry in services if entry["image"].endswith("@" + digest.rpartition("@")[2])]
        missing = f"The ledger knows no pushed image with digest {digest}; `release --history` lists those that it knows."
    else:
        champion = registry.champion_number(entries) or "none"
        wanted = [entry for entry in services if entry["version"] == champion]
        missing = f"The champion, version {champion}, has no pushed image; type `make image push`, then deploy again."
    if not wanted:
        raise InputError(missing)
    return wanted[-1]


def deploy(environment: str, digest: str) -> None:
    """Deploy an image to an environment; into production only what the gate let become the champion."""
    need_environment(environment)
    script, client = find_script("apply.sh"), registry.connect()
    with registry.one_at_a_time():
        entries = registry.ledger(client)
        chosen = choose(entries, digest)
        version, image = chosen["version"], chosen["image"]
        if environment == "production" and not registry.was_champion(entries, version):
            raise InputError(
                f"Version {version} was never the champion, so it does not go into production; `make release` decides."
            )
        before = running(entries, environment)
        replaced = before["image"] if before else "none"
        pipeline = registry.pushed(entries, version).get("pipeline", "")
        call(script, environment, image, PIPELINE_IMAGE=pipeline)
        noted = {"commit": chosen["commit"], "environment": environment, "image": image, "replaced": replaced}
        registry.enter(client, "deployed", version, **noted)
    say("deploy", f"version {version} runs in {environment}", image)
    say("", f"it replaced {'version ' + before['version'] if before else 'nothing'}", replaced if before else "")
    if before and replaced != image:
        print(f"          back: make deploy ENV={environment} DIGEST={replaced.rpartition('@')[2]}")


def undeploy(environment: str) -> None:
    """Take what runs in an environment away."""
    need_environment(environment)
    script, client = find_script("remove.sh"), registry.connect()
    with registry.one_at_a_time():
        before = running(registry.ledger(client), environment)
        call(script, environment)  # also where the ledger knows of nothing: a deployment may have failed half-way
        if before:
            noted = {name: before[name] for name in ("commit", "environment", "image")}
            registry.enter(client, "undeployed", before["version"], **noted)
    say("undeploy", f"{'version ' + before['version'] if before else 'nothing known'} was in {environment}")
