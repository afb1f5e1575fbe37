"""The chain that a version is traced along: links from the commit to every file, each compared with its record."""

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

from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import content_md5, md5
from modelcycle.core.paths import CONTRACT, PARAMS
from modelcycle.tracking.git import find_commit, git
from modelcycle.versions.code import (
    digest_code,
    fetch_command,
    is_on_a_branch,
    read_code,
    read_code_at,
    read_file_at,
    read_files_at,
)
from modelcycle.versions.lineage import read_lock, read_provenance

CONFIGURATION = (str(CONTRACT), str(PARAMS), "dvc.lock", "uv.lock")


@dataclass
class Link:
    """A part of the chain: facts about it, a sentence for each fault, and the links that it consists of."""

    name: str
    facts: str = ""
    broken: list[str] = field(default_factory=list)
    parts: list["Link"] = field(default_factory=list)

    def list_faults(self) -> list[str]:
        """List what is broken here and in every part."""
        return self.broken + [fault for part in self.parts for fault in part.list_faults()]


def open_stores() -> dict[str, Any]:
    """Open the stores that DVC keeps bytes in: the cache and, where one is set, the remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo  # imported late: few commands need it

    repository = Repo()
    stores = {"cache": repository.cache.local}
    with suppress(DvcException):  # there is no remote
        stores["remote"] = repository.cloud.get_remote_odb()
    return stores


def compute_stored_md5(store: Any, digest: str) -> str | None:
    """Hash again what a store keeps under a digest; None where it has nothing. Raises InputError where out of reach."""
    path = store.oid_to_path(digest)
    try:
        if not store.fs.exists(path):
            return None
        md5_hash = hashlib.md5(usedforsecurity=False)
        with store.fs.open(path, "rb") as content:
            while chunk := content.read(1 << 20):
                md5_hash.update(chunk)
        if not digest.endswith(".dir"):
            return md5_hash.hexdigest()
        for member in json.loads(store.fs.cat_file(path)):  # a folder: the list of its files
            if (actual := compute_stored_md5(store, member["md5"])) != member["md5"]:
                return f"{actual or 'nothing'} ({member['relpath']})"
        return md5_hash.hexdigest() + ".dir"
    except Exception as error:  # every kind of remote has its own
        raise InputError(f"out of reach: {first_line(error)}") from None


def check_file(path: str, digest: str, content: bytes | None, stores: dict[str, Any], in_workspace: bool) -> Link:
    """Check one file of dvc.lock in git or in the stores, and in the workspace where it should be the same there.

    content: in git, or None. stores: those within reach; one that does not answer is removed.
    """
    link = Link(path, f"md5 {digest}")
    digests: dict[str, str | None] = {}  # by place
    if content is not None:
        digests["git"] = content_md5(content)
    else:
        for place, store in list(stores.items()):
            try:
                digests[place] = compute_stored_md5(store, digest)
            except InputError as error:
                link.facts += f", {place} {error}"
                del stores[place]  # it would be waited for with each file again
        if not any(digests.values()):
            link.broken.append(f"{path}, md5 {digest}, is neither in the cache nor in the remote")
    if in_workspace and Path(path).is_file():
        digests["workspace"] = md5(Path(path))
    for place, actual in digests.items():
        link.facts += f", {place} {'has none' if actual is None else 'ok' if actual == digest else 'differs'}"
        if actual not in (None, digest):
            link.broken.append(f"{path} has md5 {actual} in the {place}, dvc.lock says {digest}")
    return link


def add_table_facts(link: Link, digest: str, stores: dict[str, Any], time_formats: dict[str, str]) -> None:
    """Add the number of rows and the time span of a table to its link. time_formats: by name of the time column."""
    for store in stores.values():
        with suppress(Exception), store.fs.open(store.oid_to_path(digest), "rb") as content:
            table = pq.ParquetFile(content)  # a missing or damaged file is named by check_file
            link.facts += f", {table.metadata.num_rows:,} rows"
            for name in time_formats.keys() & set(table.schema_arrow.names):
                times = table.read([name])[name]
                if time_formats[name] and not pa.types.is_temporal(times.type):
                    times = pc.strptime(times, time_formats[name], "us", error_is_null=True)
                ends = pc.min_max(times.cast(pa.timestamp("us"))).as_py()  # reads ISO 8601; what it can't has no span
                link.facts += f", {ends['min']:%Y-%m-%d %H:%M} to {ends['max']:%Y-%m-%d %H:%M}"
        if "rows" in link.facts:
            return


def check_commit(tags: dict[str, str]) -> Link:
    """Check the commit of a version, and all that it leads to, against the version's tags."""
    revision = tags.get("git_commit", "none")
    link = Link("commit", revision)
    if not find_commit(revision):
        link.broken.append(f"commit {revision} is not in this repository; try `{fetch_command()}`")
        return link
    link.facts += " " + git("show", "--no-patch", "--format=%cs %an: %s", revision)
    if not is_on_a_branch(revision):
        link.broken.append(f"commit {revision} is on no branch or tag: history has been rewritten")
    for name, value in read_provenance(revision).items():
        if tags.get(name) != value:
            link.broken.append(f"the version's tag {name} says {tags.get(name)}, the commit says {value or 'nothing'}")
    link.parts = [check_configuration(path, revision) for path in CONFIGURATION]
    link.parts += check_pipeline_files(revision)
    return link


def check_configuration(path: str, revision: str) -> Link:
    """Check a file of a commit against the workspace, where HEAD has the same."""
    content = read_file_at(revision, path)
    if content is None:
        return Link(path, "not in the commit")
    link, file = Link(path, f"md5 {content_md5(content)}"), Path(path)
    is_current = read_file_at("HEAD", path) == content
    if is_current and (not file.exists() or file.read_bytes() != content):
        link.broken.append(f"{path} in the workspace differs from commits {revision[:7]} and HEAD")
    return link


def check_code_folder(path: str, digest: str, revision: str, in_workspace: bool) -> Link:
    """Check a folder of code in dvc.lock against git and, where it should be the same there, the workspace."""
    link, committed = Link(path, f"md5 {digest}"), read_code_at(revision, path)
    if (actual := digest_code(committed)) != digest:
        link.broken.append(f"{path} has md5 {actual} in git, dvc.lock says {digest}")
    present = read_code(Path(path)) if in_workspace else committed
    for name in sorted({*committed, *present}):
        if name not in committed or name not in present:
            where = "the workspace alone" if name in present else "the commit alone"
            link.broken.append(f"{path}/{name} is in {where}")
        elif committed[name] != present[name]:
            link.broken.append(f"{path}/{name} in the workspace differs from commit {revision[:7]}")
    link.parts = [Link(f"{path}/{name}") for name in committed]
    return link


def check_pipeline_files(revision: str) -> list[Link]:
    """Check every file of a commit's dvc.lock: a link for each, the code's all in one."""
    stores, files, current_files, code = open_stores(), read_lock(revision), read_lock("HEAD"), Link("code")
    committed = read_files_at(revision, [str(CONTRACT), *files])
    columns = YAML(typ="safe", pure=True).load(committed.get(str(CONTRACT), b"columns: {}"))["columns"]
    time_formats = {name: column.get("format", "") for name, column in columns.items() if column.get("role") == "time"}
    links, n_code_files = [], 0
    for path, digest in files.items():
        is_current = current_files.get(path) == digest
        if path.startswith("src/") and digest.endswith(".dir"):
            link = check_code_folder(path, digest, revision, is_current)
        else:
            link = check_file(path, digest, committed.get(path), stores, is_current)
        if path.startswith("src/"):
            code.broken += link.broken
            n_code_files += len(link.parts) or 1
        elif path != str(CONTRACT):
            if path.endswith(".parquet"):
                add_table_facts(link, digest, stores, time_formats)
            links.append(link)
    code.facts = f"{n_code_files} files, as dvc.lock says"
    return [*links, code]
