"""Ask which known vulnerabilities there are in the versions of uv.lock and in the images that run or are to run.

Where Debian has published no fix yet, there is nothing to be done about a package of the image: those are counted only.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from modelcycle.core.errors import Alert, InputError
from modelcycle.core.output import read_text, report_line
from modelcycle.core.team import PYPROJECT, read_project
from modelcycle.delivery.deploy import ENVIRONMENTS, find_running
from modelcycle.delivery.vulnerabilities import Package, Vulnerability, find_vulnerabilities
from modelcycle.tracking import store
from modelcycle.versions import registry
from modelcycle.versions.environment import LOCK
from modelcycle.versions.ledger import champion_number, read_ledger

SERVICE = "https://api.osv.dev"


def read_lock(text: str) -> list[Package]:
    """Read the packages of a uv.lock, without the project itself. Raises InputError where there are none."""
    entries = tomllib.loads(text).get("package", [])
    others = [entry for entry in entries if not {"editable", "virtual"} & set(entry["source"])]
    if not others:
        raise InputError(f"{LOCK} is missing or names no packages; `make setup` writes it.")
    return [Package("PyPI", entry["name"], entry["version"]) for entry in others if "version" in entry]


def read_bill(bill: dict[str, Any], name: str) -> list[Package]:
    """Read the packages of an image's bill of materials, Debian's by their source. name: the image's, for messages.

    Raises InputError where it does not say of which Debian they are.
    """
    packages = set()
    for component in bill["components"]:
        url = urlsplit(component["purl"])
        path, _, version = url.path.rpartition("@")
        kind, version = path.partition("/")[0], unquote(version)
        if kind == "pypi":
            packages.add(Package("PyPI", path.rpartition("/")[2], version))
        if kind == "deb":
            about = {key: values[0] for key, values in parse_qs(url.query).items()}
            if not about.get("distro", "").startswith("debian-") or "upstream" not in about:
                raise InputError(
                    f"The list of what {name} holds does not say which Debian {component['name']} is from; expected "
                    "what the template's Dockerfile writes: release a version with it, then deploy that."
                )
            source, _, source_version = about["upstream"].partition("@")
            packages.add(Package(about["distro"].replace("debian-", "Debian:"), source, source_version))
    return sorted(packages)


def read_bills() -> dict[str, dict[str, Any]]:
    """Read the bills of materials of the champion's images, and of those that run, by a name for messages."""
    client = store.connect()
    import mlflow  # imported late: it takes longer than all the rest

    entries = read_ledger(client)
    running = [entry.version for place in ENVIRONMENTS if (entry := find_running(entries, place))]
    champion = champion_number(entries)
    bills = {}
    for number in sorted({*running, *([champion] if champion else [])}):
        version = registry.find_version(client, number)
        folder = f"{client.get_run(version.run_id).info.artifact_uri}/images"
        for path in sorted(file.path for file in mlflow.artifacts.list_artifacts(artifact_uri=folder)):
            if match := re.fullmatch(rf"version-{number}-(\w+)\.cdx\.json", Path(path).name):
                name = f"the {match[1]} image of version {number}"
                bills[name] = mlflow.artifacts.load_dict(f"{folder}/{match[0]}")
    return bills


def counts(vulnerability: Vulnerability) -> bool:
    """Say whether something can be done about a vulnerability: Debian's list holds those that it has not fixed."""
    return vulnerability.package.ecosystem == "PyPI" or bool(vulnerability.fixes)


def describe(vulnerability: Vulnerability, places: list[str]) -> str:
    """Describe a vulnerability and its remedy in a line."""
    package, names, summary, fixes = vulnerability
    fixed = f"fixed in {' or '.join(fixes)}" if fixes else "not fixed yet"
    about = f" ({summary})" if summary else ""
    return f"{package.name} {package.version} has {' = '.join(names)}{about}, {fixed}; in {' and '.join(places)}"


def audit() -> None:
    """Look all packages up. Raises Alert with the vulnerabilities that nobody has accepted in pyproject.toml."""
    database, accepted = os.environ.get("AUDIT_DATABASE") or SERVICE, read_project().accepted_vulnerabilities
    lists = {str(LOCK): read_lock(read_text(LOCK))}
    bills = read_bills()
    lists |= {name: read_bill(bill, name) for name, bill in bills.items()}
    found = find_vulnerabilities(sorted({package for packages in lists.values() for package in packages}), database)
    for name, packages in lists.items():
        affected = {one.package for one in found if counts(one)} & set(packages)
        report_line("audit", f"{len(packages)} packages, {len(affected)} with a known vulnerability", name)
    if not bills:
        report_line("", "no image: neither the champion nor what is deployed has one")
    if waiting := [one for one in found if not counts(one)]:
        report_line("", f"{len(waiting)} in packages of Debian, which has not fixed them yet", database)
    alerts = []
    for one in filter(counts, found):
        if reasons := [accepted[name] for name in one.names if name in accepted]:
            report_line("", f"accepted: {one.package.name} {one.package.version}, {one.names[0]}: {reasons[0]}")
        else:
            places = [name for name, packages in lists.items() if one.package in packages]
            alerts.append(f"alert: {describe(one, places)}.")
    if alerts:
        raise Alert("\n".join([*alerts, f"What to do is in docs/ci.md; {PYPROJECT} may accept one, with the reason."]))
