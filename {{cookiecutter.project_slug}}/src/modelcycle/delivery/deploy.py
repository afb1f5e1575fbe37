"""Deploy a pushed image to an environment, and remove it again.

What is specific to a platform is in its folder: `apply.sh ENVIRONMENT IMAGE@DIGEST` and `remove.sh ENVIRONMENT`.
"""

import os
import subprocess
from pathlib import Path

from modelcycle.core.errors import InputError
from modelcycle.core.output import report_line
from modelcycle.tracking import store
from modelcycle.versions import registry
from modelcycle.versions.bundle import load_version
from modelcycle.versions.ledger import (
    LedgerEntry,
    champion_number,
    lock_decisions,
    pushed_images,
    read_ledger,
    was_champion,
)

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
    """Run a script of the platform; its output goes to the terminal. Raises InputError when it fails."""
    process = subprocess.run([str(script), *arguments], env=os.environ | variables, check=False)
    if process.returncode:
        raise InputError(f"{script} ended with exit status {process.returncode}; it says above why.")


def find_running(entries: list[LedgerEntry], environment: str) -> LedgerEntry | None:
    """Find the ledger entry of the deployment that runs in an environment; None where nothing does."""
    return find_begun([entry for entry in entries if entry.event != "deploying"], environment)


def find_begun(entries: list[LedgerEntry], environment: str) -> LedgerEntry | None:
    """Find the ledger entry of the last deployment to an environment, also of one that did not come to its end.

    None where it was removed again, or never was.
    """
    events = [entry for entry in entries if entry.environment == environment]
    return events[-1] if events and events[-1].event != "undeployed" else None


def choose_image(entries: list[LedgerEntry], digest: str) -> LedgerEntry:
    """Choose the ledger entry of the image to deploy: by its digest, or the champion's last.

    Raises InputError when no such image was pushed.
    """
    pushed = [entry for entry in entries if entry.event == "pushed" and entry.target == "service"]
    champion = champion_number(entries) or "none"
    if digest:
        matches = [entry for entry in pushed if entry.image.endswith("@" + digest.rpartition("@")[2])]
        message = f"The ledger knows no image with digest {digest}; `release --history` shows what was pushed."
    else:
        matches = [entry for entry in pushed if entry.version == champion]
        message = f"No image of the champion, version {champion}, was pushed; `make image push`, then deploy again."
    if not matches:
        raise InputError(message)
    return matches[-1]


def deploy(environment: str, digest: str) -> None:
    """Deploy an image to an environment; to production only that of a version which was ever the champion.

    Raises InputError also where the version does not answer as it did when it was released.
    """
    script, client = find_script("apply.sh", environment), store.connect()
    with lock_decisions():
        entries = read_ledger(client)
        entry, previous = choose_image(entries, digest), find_running(entries, environment)
        version, image = entry.version, entry.image
        if environment == "production" and not was_champion(entries, version):
            raise InputError(f"Version {version} was never the champion: it can't go into production.")
        load_version(client, registry.find_version(client, version)).require_same_answers()
        replaced = previous.image if previous else "none"
        facts = {"commit": entry.commit, "environment": environment, "image": image, "replaced": replaced}
        registry.record_decision(client, "deploying", version, **facts)  # the script may fail halfway
        run_script(script, environment, image, PIPELINE_IMAGE=pushed_images(entries, version).get("pipeline", ""))
        registry.record_decision(client, "deployed", version, **facts)
    report_line("deploy", f"version {version} runs in {environment}", image)
    if previous and replaced != image:
        report_line("", f"version {previous.version} did before", replaced)
        report_line("", f"back to it: make deploy ENV={environment} DIGEST={replaced.rpartition('@')[2]}")


def undeploy(environment: str) -> None:
    """Remove what runs in an environment, also what a deployment that failed has left there."""
    script, client = find_script("remove.sh", environment), store.connect()
    with lock_decisions():
        previous = find_begun(read_ledger(client), environment)
        run_script(script, environment)
        if previous:
            facts = {"commit": previous.commit, "environment": environment, "image": previous.image}
            registry.record_decision(client, "undeployed", previous.version, **facts)
    report_line("undeploy", f"version {previous.version if previous else 'unknown'} ran in {environment}")
