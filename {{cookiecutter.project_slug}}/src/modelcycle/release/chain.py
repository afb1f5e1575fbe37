"""The chain that a version is traced along: links from the commit to every file, each compared with what was noted."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from modelcycle.core.digest import content_md5, md5
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.paths import CONTRACT, PARAMS
from modelcycle.tracking.git import fetch_command, git, is_on_a_branch, read_file_at
from modelcycle.tracking.lineage import read_lock, read_provenance


@dataclass
class Link:
    """A part of the chain: what is known of it, what is broken, and what it consists of."""

    name: str
    facts: str = ""
    broken: list[str] = field(default_factory=list)
    parts: list["Link"] = field(default_factory=list)

    def all_broken(self) -> list[str]:
        """List what is broken here and in every part."""
        return self.broken + [fault for part in self.parts for fault in part.all_broken()]


def stores() -> dict[str, Any]:
    """Give the places that DVC keeps bytes in: the cache and, where one is set, the remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo  # imported late: few commands need it

    repository = Repo()
    places = {"cache": repository.cache.local}
    with suppress(DvcException):  # there is no remote
        places["remote"] = repository.cloud.get_remote_odb()
    return places


def stored_md5(store: Any, digest: str) -> str | None:
    """Hash again what a store keeps under a digest; None where it has nothing, InputError where it is out of reach."""
    path = store.oid_to_path(digest)
    try:
        if not store.fs.exists(path):
            return None
        hashed = hashlib.md5(usedforsecurity=False)
        with store.fs.open(path, "rb") as content:
            while chunk := content.read(1 << 20):
                hashed.update(chunk)
        if not digest.endswith(".dir"):
            return hashed.hexdigest()
        for member in json.loads(store.fs.cat_file(path)):  # a folder: the list of its files
            if (found := stored_md5(store, member["md5"])) != member["md5"]:
                return f"{found or 'nothing'} ({member['relpath']})"
        return hashed.hexdigest() + ".dir"
    except Exception as error:  # every kind of remote has its own
        raise InputError(f"out of reach: {first_line(error)}") from None


def check_file(path: str, digest: str, revision: str, places: dict[str, Any], is_present: bool) -> Link:
    """Check one file of dvc.lock in git or in the stores, and in the workspace where it should be the same there."""
    link = Link(path, f"md5 {digest}")
    seen: dict[str, str | None] = {}
    content = read_file_at(revision, path)
    if content is not None:
        seen["git"] = content_md5(content)
    else:
        for place, store in list(places.items()):
            try:
                seen[place] = stored_md5(store, digest)
            except InputError as error:
                link.facts += f", {place} {error}"
                del places[place]  # it would be waited for with each file again
        if not any(seen.values()):
            link.broken.append(f"{path}, md5 {digest}, is neither in the cache nor in the remote")
    if is_present and Path(path).is_file():
        seen["workspace"] = md5(Path(path))
    for place, found in seen.items():
        link.facts += f", {place} {'has none' if found is None else 'ok' if found == digest else 'differs'}"
        if found not in (None, digest):
            link.broken.append(f"{path} has md5 {found} in the {place}, dvc.lock says {digest}")
    return link


def describe(link: Link, digest: str, places: dict[str, Any], times: dict[str, str]) -> None:
    """Add the number of rows and the time span of a table to its link. times: the time column, with its format."""
    for store in places.values():
        with suppress(Exception), store.fs.open(store.oid_to_path(digest), "rb") as content:
            table = pq.ParquetFile(content)  # a missing or damaged file is named by check_file
            link.facts += f", {table.metadata.num_rows:,} rows"
            for name in times.keys() & set(table.schema_arrow.names):
                found = table.read([name])[name]
                if times[name] and not pa.types.is_temporal(found.type):
                    found = pc.strptime(found, times[name], "us", error_is_null=True)
                ends = pc.min_max(found.cast(pa.timestamp("us"))).as_py()  # reads ISO 8601; what it can't has no span
                link.facts += f", {ends['min']:%Y-%m-%d %H:%M} to {ends['max']:%Y-%m-%d %H:%M}"
        if "rows" in link.facts:
            return


def check_commit(tags: dict[str, str]) -> Link:
    """Check the commit of a version and all that it leads to against what the version's tags say."""
    revision = tags.get("git_commit", "none")
    link = Link("commit", revision)
    if not git("cat-file", "-t", revision):
        link.broken.append(f"commit {revision} is not in this repository; try `{fetch_command()}`")
        return link
    link.facts += " " + git("show", "--no-patch", "--format=%cs %an: %s", revision)
    if not is_on_a_branch(revision):
        link.broken.append(f"commit {revision} is on no branch or tag: history has been rewritten")
    for name, said in read_provenance(revision).items():
        if tags.get(name) != said:
            link.broken.append(f"the version's tag {name} says {tags.get(name)}, the commit says {said or 'nothing'}")
    for file in (CONTRACT, PARAMS, Path("dvc.lock"), Path("uv.lock")):
        content = read_file_at(revision, str(file))
        part = Link(str(file), "not in the commit" if content is None else f"md5 {content_md5(content)}")
        is_present = content is not None and read_file_at("HEAD", str(file)) == content
        if is_present and (not file.exists() or file.read_bytes() != content):
            part.broken.append(f"{file} in the workspace differs from commits {revision[:7]} and HEAD")
        link.parts.append(part)
    places, files, code, present = stores(), read_lock(revision), Link("code"), read_lock("HEAD")
    columns = YAML(typ="safe", pure=True).load(read_file_at(revision, str(CONTRACT)) or b"columns: {}")["columns"]
    times = {name: column.get("format", "") for name, column in columns.items() if column.get("role") == "time"}
    for path, digest in files.items():
        part = check_file(path, digest, revision, places, present.get(path) == digest)
        if path.startswith("src/"):
            code.parts.append(part)
        elif path != str(CONTRACT):
            if path.endswith(".parquet"):
                describe(part, digest, places, times)
            link.parts.append(part)
    code.facts, code.broken, code.parts = f"{len(code.parts)} files, as dvc.lock says", code.all_broken(), []
    link.parts.append(code)
    return link
