"""Look packages up in a database of known vulnerabilities in the format of OSV, https://ossf.github.io/osv-schema/.

The database is a service that speaks the API of osv.dev, or a folder with the files that osv.dev offers for download,
PyPI/all.zip and Debian/all.zip. No answer is never a pass: whatever is missing or can't be read raises InputError.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from packaging.version import InvalidVersion, Version

from modelcycle.core.errors import InputError

BATCH = 1000  # the most queries that the service takes at once
TIMEOUT_SECONDS = 30
OLDEST_DAYS = 30  # what is known since then is not in an older file


class Package(NamedTuple):
    """A package as OSV names it. ecosystem: PyPI, or Debian:12, where a name is that of the source package."""

    ecosystem: str
    name: str
    version: str


class Vulnerability(NamedTuple):
    """A vulnerability of a package. names: the id and the others that it has; fixes: the versions that mend it."""

    package: Package
    names: list[str]
    summary: str
    fixes: list[str]


def find_vulnerabilities(packages: list[Package], database: str) -> list[Vulnerability]:
    """Find what is known of packages: of one that several sources tell, one. database: an address or a folder."""
    found = ask_service(packages, database) if "://" in database else search_files(packages, Path(database))
    unique: dict[tuple[Package, str], Vulnerability] = {}
    for package, record in found:
        names = sorted({record["id"], *record.get("aliases", []), *record.get("upstream", [])})
        fixes = list_fixes(record, package)
        known = unique.get((package, names[0]))
        if "withdrawn" not in record and not (known and known.fixes):
            summary = record.get("summary") or record.get("details", "").partition("\n")[0]
            unique[package, names[0]] = Vulnerability(package, names, summary[:100], fixes)
    return sorted(unique.values())


def ask_service(packages: list[Package], address: str) -> Iterator[tuple[Package, dict[str, Any]]]:
    """Ask a service which records each package has, then for each record."""
    ids: dict[str, list[Package]] = {}
    pending = [(package, "") for package in packages]
    while pending:
        batch, pending = pending[:BATCH], pending[BATCH:]
        queries = [
            {"package": {"ecosystem": package.ecosystem, "name": package.name}, "version": package.version}
            | ({"page_token": token} if token else {})
            for package, token in batch
        ]
        url = f"{address.rstrip('/')}/v1/querybatch"
        results = request_json(url, {"queries": queries}).get("results")
        if not isinstance(results, list) or len(results) != len(batch):
            raise InputError(f"{url} does not answer as the API of osv.dev does: not one result for each package.")
        for (package, _), result in zip(batch, results, strict=True):
            for record in (result or {}).get("vulns", []):
                ids.setdefault(record["id"], []).append(package)
            if token := (result or {}).get("next_page_token"):
                pending.append((package, token))
    urls = [f"{address.rstrip('/')}/v1/vulns/{identifier}" for identifier in ids]
    with ThreadPoolExecutor(8) as pool:
        for record, url in zip(pool.map(request_json, urls), urls, strict=True):
            if record.get("id") != url.rpartition("/")[2]:
                raise InputError(f"{url} does not answer as the API of osv.dev does: another record, or none.")
            yield from ((package, record) for package in ids[record["id"]])


def request_json(url: str, body: object = None) -> dict[str, Any]:
    """Request a JSON object. The network's proxy and certificates are those of the environment."""
    if not url.startswith(("http://", "https://")):
        raise InputError(f"AUDIT_DATABASE is {url}; expected an address with http:// or https://, or a folder.")
    data = json.dumps(body).encode() if body else None
    try:
        request = Request(url, data, {"Content-Type": "application/json"})  # noqa: S310  checked above
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            answer = json.load(response)
    except (OSError, ValueError, HTTPException) as error:
        raise InputError(
            f"{url} gives no answer ({error}), so nothing is known about the packages. Where a firewall stops it, set "
            "AUDIT_DATABASE to a service that speaks its API, or to a folder with its files: docs/ci.md."
        ) from None
    if not isinstance(answer, dict):
        raise InputError(f"{url} does not answer as the API of osv.dev does: {str(answer)[:80]}.")
    return answer


def search_files(packages: list[Package], folder: Path) -> Iterator[tuple[Package, dict[str, Any]]]:
    """Search the files of a folder for records that affect a package."""
    by_name: dict[tuple[str, str], list[Package]] = {}
    for package in packages:
        by_name.setdefault(package[:2], []).append(package)
    for kind in sorted({ecosystem.partition(":")[0] for ecosystem, _ in by_name}):
        for record in read_dump(folder / kind / "all.zip"):
            affected = [part.get("package", {}) for part in record.get("affected", [])]
            for key in {(part.get("ecosystem", ""), part.get("name", "")) for part in affected}:
                yield from ((one, record) for one in by_name.get(key, []) if is_affected(record, one))


def read_dump(path: Path) -> Iterator[dict[str, Any]]:
    """Read the records of a file. Raises InputError where there is none, or where it is old."""
    newest = ""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                record = json.loads(archive.read(name))
                newest = max(newest, record["modified"])
                yield record
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} can't be read ({reason}); expected a file as osv.dev offers it: docs/ci.md."
        ) from None
    if newest < (datetime.now(UTC) - timedelta(days=OLDEST_DAYS)).isoformat():
        raise InputError(
            f"{path} ends with {newest[:10] or 'nothing'}: get a newer one, of the last {OLDEST_DAYS} days."
        )


def ranges(record: dict[str, Any], package: Package) -> Iterator[list[tuple[str, str]]]:
    """Yield each range of versions that a record has for a package, as events with their versions.

    Ranges of commits are left out: beside them, a record for packages lists the versions.
    """
    for part in affected_parts(record, package):
        for span in part.get("ranges", []):
            if span.get("type") != "GIT":
                yield [event for step in span["events"] for event in step.items()]


def affected_parts(record: dict[str, Any], package: Package) -> Iterator[dict[str, Any]]:
    """Yield what a record says about a package."""
    for part in record.get("affected", []):
        about = part.get("package", {})
        if (about.get("ecosystem"), about.get("name")) == package[:2]:
            yield part


def is_affected(record: dict[str, Any], package: Package) -> bool:
    """Say whether a record lists a package's version, or has it in a range; also where that can't be compared."""
    if any(package.version in part.get("versions", []) for part in affected_parts(record, package)):
        return True
    try:
        return any(is_in_range(package, events) for events in ranges(record, package))
    except InvalidVersion:
        return True


def is_in_range(package: Package, events: list[tuple[str, str]]) -> bool:
    """Say whether a version is in a range: the last event that it has reached decides. Raises InvalidVersion."""
    own, inside = sort_key(package.ecosystem, package.version), False
    for key, event in sorted((sort_key(package.ecosystem, version), event) for event, version in events):
        if event == "introduced" and own >= key:
            inside = True
        if (event == "fixed" and own >= key) or (event == "last_affected" and own > key):
            inside = False
    return inside


def list_fixes(record: dict[str, Any], package: Package) -> list[str]:
    """List the versions above a package's own that mend what a record tells."""
    events = [event for events in ranges(record, package) for event in events]
    fixes = dict.fromkeys(version for event, version in events if event == "fixed")
    return [version for version in fixes if is_older(package, version)]


def is_older(package: Package, version: str) -> bool:
    """Say whether a package is older than a version, also where that can't be compared."""
    try:
        return bool(sort_key(package.ecosystem, package.version) < sort_key(package.ecosystem, version))
    except InvalidVersion:
        return True


def sort_key(ecosystem: str, version: str) -> Any:
    """Give what versions of an ecosystem are ordered by; "0" is below all others. Raises InvalidVersion."""
    if ecosystem == "PyPI":
        return Version("0.dev0" if version == "0" else version)
    return debian_sort_key("0~~" if version == "0" else version)


def debian_sort_key(version: str) -> tuple[Any, ...]:
    """Order Debian's versions as dpkg does: https://www.debian.org/doc/debian-policy/ch-controlfields.html#version."""
    epoch, _, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    halves = [re.findall(r"(\D*)(\d*)", half) for half in (upstream, revision)]
    return int(epoch or 0), *([(rank_text(text), int(number or 0)) for text, number in half] for half in halves)


def rank_text(text: str) -> list[int]:
    """Rank the characters between two numbers of a version: ~ before the end, then letters, then all others."""
    ranks = [-1 if char == "~" else ord(char) if char.isalpha() else 256 + ord(char) for char in text]
    return [*ranks, 0]
