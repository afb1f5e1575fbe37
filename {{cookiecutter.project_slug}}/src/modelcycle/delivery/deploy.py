"""Bring an image that was pushed to where it runs, and take it away again.

What is particular to a platform is in its folder: `apply.sh ENVIRONMENT IMAGE@DIGEST` and `remove.sh ENVIRONMENT`.
"""

import os
import subprocess
from pathlib import Path

from modelcycle.core.errors import InputError
from modelcycle.core.output import report_line
from modelcycle.tracking import registry
from modelcycle.tracking.ledger import LedgerEntry, champion_number, pushed_images, read_ledger, was_champion

ENVIRONMENTS = ("staging", "production")
PLATFORMS = ("openshift", "server", "kubernetes")  # the first one here counts: OpenShift's builds upon kubernetes


def find_script(name: str, environment: str) -> Path:
    """Find a script of this project's platform. Raises InputError where there is none, or no such environment."""
    if environment not in ENVIRONMENTS:
        raise InputError(f"The environment is '{environment}'; expected ENV={' or ENV='.join(ENVIRONMENTS)}.")
    for platform in PLATFORMS:
        if (script := Path("deploy", platform, name)).exists():
            return script
    raise InputError(f"There is no {name} in deploy/{', deploy/'.join(PLATFORMS)} of {Path.cwd()}.")


def run_script(script: Path, *arguments: str, **variables: str) -> None:
    """Run a script of the platform; what it says goes to the terminal. Raises InputError when it fails."""
    done = subprocess.run([str(script), *arguments], env=os.environ | variables, check=False)
    if done.returncode:
        raise InputError(f"{script} ended with exit status {done.returncode}; it says above why.")


def find_running(entries: list[LedgerEntry], environment: str) -> LedgerEntry | None:
    """Give the ledger's entry of what runs in an environment; None where nothing does."""
    moves = [entry for entry in entries if entry.environment == environment]
    return moves[-1] if moves and moves[-1].event == "deployed" else None


def choose_image(entries: list[LedgerEntry], digest: str) -> LedgerEntry:
    """Give the entry of the image to deploy: by its digest, or the champion's last. Raises InputError without one."""
    services = [entry for entry in entries if entry.event == "pushed" and entry.target == "service"]
    champion = champion_number(entries) or "none"
    if digest:
        wanted = [entry for entry in services if entry.image.endswith("@" + digest.rpartition("@")[2])]
        missing = f"The ledger knows no image with digest {digest}; `release --history` shows what was pushed."
    else:
        wanted = [entry for entry in services if entry.version == champion]
        missing = f"No image of the champion, version {champion}, was pushed; `make image push`, then deploy again."
    if not wanted:
        raise InputError(missing)
    return wanted[-1]


def deploy(environment: str, digest: str) -> None:
    """Deploy an image to an environment; to production only what the gate, or who overruled it, made the champion."""
    script, client = find_script("apply.sh", environment), registry.connect()
    with registry.one_at_a_time():
        entries = read_ledger(client)
        chosen, before = choose_image(entries, digest), find_running(entries, environment)
        version, image = chosen.version, chosen.image
        if environment == "production" and not was_champion(entries, version):
            raise InputError(f"Version {version} was never the champion: it can't go into production.")
        replaced = before.image if before else "none"
        run_script(script, environment, image, PIPELINE_IMAGE=pushed_images(entries, version).get("pipeline", ""))
        noted = {"commit": chosen.commit, "environment": environment, "image": image, "replaced": replaced}
        registry.record_decision(client, "deployed", version, **noted)
    report_line("deploy", f"version {version} runs in {environment}", image)
    if before and replaced != image:
        report_line("", f"version {before.version} did before", replaced)
        report_line("", f"back to it: make deploy ENV={environment} DIGEST={replaced.rpartition('@')[2]}")


def undeploy(environment: str) -> None:
    """Take away what runs in an environment, also what the ledger does not know: a deployment may have failed."""
    script, client = find_script("remove.sh", environment), registry.connect()
    with registry.one_at_a_time():
        before = find_running(read_ledger(client), environment)
        run_script(script, environment)
        if before:
            noted = {"commit": before.commit, "environment": environment, "image": before.image}
            registry.record_decision(client, "undeployed", before.version, **noted)
    report_line("undeploy", f"version {before.version if before else 'unknown'} ran in {environment}")
