"""Where a version comes from, down to the bytes: what was noted is compared, what is within reach is hashed again.

The chain: version, ledger, run, commit, dvc.lock, and the md5 of every file that the pipeline read or wrote.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree
from ruamel.yaml import YAML

from modelcycle.core.digest import content_md5, md5
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.paths import CONTRACT, MODEL, PARAMS, PREDICTIONS, REPORT
from modelcycle.tracking import registry
from modelcycle.tracking.git import committed, git, is_on_a_branch
from modelcycle.tracking.lineage import lock_files, locked, provenance
from modelcycle.tracking.manifest import MADE_BY, read_manifest

# A model's bytes depend on the number of cores; its predictions, which are compared, do not. The report quotes git.
UNSTABLE = (MODEL.as_posix(), REPORT.as_posix())


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
    content = committed(revision, path)
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
        link.broken.append(f"commit {revision} is not in this repository; try `git fetch --unshallow`")
        return link
    link.facts += " " + git("show", "--no-patch", "--format=%cs %an: %s", revision)
    if not is_on_a_branch(revision):
        link.broken.append(f"commit {revision} is on no branch or tag: history has been rewritten")
    for name, said in provenance(revision).items():
        if tags.get(name) != said:
            link.broken.append(f"the version's tag {name} says {tags.get(name)}, the commit says {said or 'nothing'}")
    for file in (CONTRACT, PARAMS, Path("dvc.lock"), Path("uv.lock")):
        content = committed(revision, str(file))
        part = Link(str(file), "not in the commit" if content is None else f"md5 {content_md5(content)}")
        is_present = content is not None and committed("HEAD", str(file)) == content
        if is_present and (not file.exists() or file.read_bytes() != content):
            part.broken.append(f"{file} in the workspace differs from commits {revision[:7]} and HEAD")
        link.parts.append(part)
    places, files, code, present = stores(), locked(revision), Link("code"), locked("HEAD")
    columns = YAML(typ="safe", pure=True).load(committed(revision, str(CONTRACT)) or b"columns: {}")["columns"]
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


def check_run(client: Any, version: Any) -> Link:
    """Check the run of a version, and hash the files again that the version is used from."""
    link = Link("run", version.run_id or "none")
    try:
        registry.model_folder(client, version)
        link.parts.append(Link("files", ", ".join(path.name for path in registry.RELEASED) + ": as released"))
    except InputError as error:
        link.broken.append(str(error))
    try:
        run = client.get_run(version.run_id)
    except Exception as error:  # MLflow's own, or the store's
        link.broken.append(f"run {version.run_id} can't be read: {first_line(error)}")
        return link
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    link.facts += f" {started:%Y-%m-%d %H:%M}, " + ", ".join(f"{k} {v}" for k, v in sorted(run.data.params.items()))
    for name in ("raw", "train", "test", "contract", "model"):
        if run.data.tags.get(f"md5.{name}") != version.tags.get(f"md5.{name}"):
            link.broken.append(f"the run's tag md5.{name} differs from the version's")
    return link


def check_version(client: Any, version: Any) -> Link:
    """Check the whole chain of a version."""
    named = "".join(f" ({alias})" for alias in version.aliases)
    link = Link(f"version {version.version}{named}", f"gate: {version.tags.get('verdict')}")
    everything = registry.ledger(client)
    entries = [entry for entry in everything if entry["version"] == str(version.version)]
    if not entries:
        link.broken.append(f"the ledger has no entry for version {version.version}")
    for entry in entries:
        where = " ".join(entry[name] for name in ("environment", "image") if name in entry)
        part = Link("ledger", f"{entry['event']} {entry['when']} by {entry['by']} {where}".rstrip())
        if "edited" in entry:
            part.broken.append(f"the entry `{entry['event']}` of {entry['when']} in the ledger was edited later")
        if entry["commit"] != version.tags.get("git_commit"):
            part.broken.append(
                f"the ledger says commit {entry['commit']}, the version {version.tags.get('git_commit')}"
            )
        link.parts.append(part)
    images = registry.pushed(everything, str(version.version))
    for name in ("service", "pipeline"):
        found, said = version.tags.get(f"image.{name}", "nothing"), images.get(name, "nothing")
        if found != said:
            link.broken.append(f"the version's tag image.{name} says {found}, the ledger says {said}")
    if ("champion" in version.aliases) != (registry.champion_number(everything) == str(version.version)):
        link.broken.append("the alias champion does not name the version that the ledger does")
    if entries and entries[0].get("facts") != registry.facts_md5(version.tags):
        link.broken.append("the version's tags are not those that the ledger has noted")
    else:
        rules = json.loads(version.tags.get("gate", "[]"))
        failed = [rule["rule"] for rule in rules if not rule["passed"]]
        link.parts.append(Link("gate", f"{len(rules)} rules, failed: {', '.join(failed) or 'none'}"))
    link.parts += [check_run(client, version), check_commit(version.tags)]
    return link


def find(client: Any, name: str) -> Any:
    """Find the version of a number, an alias, an image's digest, a prediction's id or a file with predictions."""
    path = Path(name)
    if re.fullmatch("(.+@)?sha256:[0-9a-f]{64}", name):
        digest = name.rpartition("@")[2]
        versions = [entry["version"] for entry in registry.ledger(client) if entry.get("image", "").endswith(digest)]
        if not versions:
            raise InputError(f"The ledger knows no image with {digest}: it was not pushed by `make push`.")
        return registry.find_version(client, versions[0])
    if re.fullmatch("[0-9a-f]{32}", name):
        from modelcycle.core.settings import read_settings
        from modelcycle.tracking.log import open_log, read_answer, reading

        with reading():
            found = read_answer(open_log(read_settings().database_url), name)
        if found is None:
            raise InputError(f"The prediction log holds no prediction {name}; DATABASE_URL says where the log is.")
        print(f"prediction {name} {found['at']:%Y-%m-%d %H:%M:%S} {found['answer']}", file=sys.stderr)
        return registry.find_version(client, found["version"])
    if not path.is_file():
        return registry.find_version(client, name)
    if noted := read_manifest(path):
        return predicted_by(client, path, noted)
    holding = registry.versions(client, f"tags.`md5.{PREDICTIONS.stem}` = '{md5(path)}'")
    if not holding:
        raise InputError(f"{path}, md5 {md5(path)}, holds the predictions of no version.")
    return registry.find_version(client, str(holding[0].version))


def predicted_by(client: Any, path: Path, noted: dict[str, Any]) -> Any:
    """Find the version that wrote a file of predictions. Raises InputError when its manifest says something else."""
    version, found = registry.find_version(client, noted["version"]), md5(path)
    differing = [f"its md5 is {found}, its manifest says {noted['output_md5']}"] if found != noted["output_md5"] else []
    for name in MADE_BY:
        if (said := version.tags.get(name)) != noted[name]:
            differing.append(f"its manifest says {name} {noted[name]}, version {version.version} says {said}")
    if differing:
        raise InputError(f"The trace of {path} is broken:" + "".join(f"\n  {fault}" for fault in differing))
    source = Path(noted["input"])
    state = "" if source.is_file() and md5(source) == noted["input_md5"] else ", which is no longer there as it was"
    print(f"{path} {noted['when']} from {source} md5 {noted['input_md5']}{state}", file=sys.stderr)
    return version


def versions_from(data: str) -> None:
    """Print every version whose pipeline read or wrote a file, given by its md5 or its path."""
    digest = md5(Path(data)) if Path(data).is_file() else data
    if not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", digest):
        raise InputError(f"--data is {data}; expected a file that is here, or an md5, 32 digits from 0 to f.")
    found = 0
    client = registry.connect()
    for version in reversed(registry.versions(client)):
        noted = {name: other for name, other in version.tags.items() if name.startswith("md5.")}
        for path, other in (locked(version.tags.get("git_commit", "none")) or noted).items():
            if other == digest:
                found += 1
                print(f"version {version.version:<4} {version.tags.get('verdict', 'unjudged'):<9} {path}")
    if not found:
        raise InputError(f"No version comes from a file with md5 {digest}.")


def reproduce(version: Any) -> Link:
    """Run the version's pipeline again in a scratch work tree of its commit and compare what it writes, bit for bit."""
    revision = version.tags["git_commit"]
    link = Link("reproduced", f"commit {revision}")
    cache = stores()["cache"].path.removesuffix(f"{os.sep}files{os.sep}md5")
    dvc = [sys.executable, "-m", "dvc"]
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        root = tree / git("rev-parse", "--show-prefix")
        try:
            subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), revision], check=True)
            if (local := Path(".dvc/config.local")).exists():
                shutil.copy(local, root / ".dvc")  # credentials of the remote
            environment = os.environ | {
                "PYTHONPATH": str(root / "src"),
                "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/runs.db",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            }
            lock = committed(revision, "uv.lock")
            if lock and lock != (Path("uv.lock").read_bytes() if Path("uv.lock").exists() else b""):
                subprocess.run(
                    [shutil.which("uv") or str(Path(".uv/bin/uv").resolve()), "sync", "--frozen", "--quiet"],
                    cwd=root,
                    check=True,
                )
                environment["PATH"] = f"{root / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
            link.facts += ", environment from uv.lock" if lock else ", present environment: no uv.lock in the commit"
            Path(cache).mkdir(parents=True, exist_ok=True)  # a fresh clone has none yet
            (root / ".dvc/cache").symlink_to(cache)
            subprocess.run([*dvc, "pull", "--quiet", "--allow-missing"], cwd=root, env=environment, check=False)
            repro, source = [*dvc, "repro", "--force", "--no-run-cache"], committed(revision, str(PARAMS)) or b""
            if YAML(typ="safe", pure=True).load(source)["ingest"]["source"].endswith(".sql"):
                link.facts += ", not from the database, which gives today's rows, but from those that it gave then"
                subprocess.run([*dvc, "checkout", "--quiet", "ingest"], cwd=root, env=environment, check=True)
                repro += ["--downstream", "prepare"]
            subprocess.run(repro, cwd=root, env=environment, stdout=sys.stderr, check=True)
            again = lock_files((root / "dvc.lock").read_bytes(), (root / "dvc.yaml").read_bytes())
        except subprocess.CalledProcessError as error:
            link.broken.append(f"the pipeline of commit {revision[:7]} does not run any more: {error}")
            return link
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=False)
    for path, noted in locked(revision).items():
        if path not in UNSTABLE and again.get(path) != noted:
            link.broken.append(f"{path}, reproduced, has md5 {again.get(path)}, the commit says {noted}")
    link.facts += f", {PREDICTIONS} md5 {again.get(PREDICTIONS.as_posix())}"
    return link


def as_tree(link: Link) -> Tree:
    """Draw a chain for the terminal, what is broken in red."""
    broken = "[red]broken[/red] " if link.broken else ""
    tree = Tree(f"{broken}[bold]{escape(link.name)}[/bold] {escape(link.facts)}", highlight=False)
    for fault in link.broken:
        tree.add(f"[red]{escape(fault)}[/red]")
    for part in link.parts:
        tree.add(as_tree(part))
    return tree


def trace(name: str, rerun: bool, as_json: bool) -> None:
    """Print the chain of a version; raises InputError that names every broken link."""
    client = registry.connect()
    version = find(client, name)
    link = check_version(client, version)
    if rerun and "git_commit" in version.tags:
        link.parts.append(reproduce(version))
    broken = link.all_broken()
    if as_json:
        print(json.dumps(asdict(link) | {"all_broken": broken}, indent=1))
    else:
        Console(width=None if sys.stdout.isatty() else 1000).print(as_tree(link))
    if broken:
        raise InputError(
            f"The trace of version {version.version} is broken:" + "".join(f"\n  {fault}" for fault in broken)
        )
