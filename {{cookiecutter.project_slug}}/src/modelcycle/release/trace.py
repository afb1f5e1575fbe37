"""Where a version comes from, down to the bytes: records are compared, and what is within reach is hashed again.

The chain: version, ledger, run, commit, dvc.lock, and the md5 of every file that the pipeline read or wrote.
"""

import json
import logging
import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import content_md5, md5
from modelcycle.core.paths import PREDICTIONS
from modelcycle.release.chain import Link, check_commit
from modelcycle.release.reproduce import reproduce
from modelcycle.tracking import store
from modelcycle.tracking.store import RUN_TAGS
from modelcycle.versions import registry
from modelcycle.versions.code import read_code_at
from modelcycle.versions.ledger import champion_number, pushed_images, read_ledger
from modelcycle.versions.lineage import read_lock
from modelcycle.versions.manifest import MANIFEST_TAGS, read_manifest
from modelcycle.versions.registry import Version

log = logging.getLogger(__name__)


def check_run(client: Any, version: Version) -> Link:
    """Check the run of a version, and hash its files in the registry again."""
    link = Link("run", version.run_id or "none")
    try:
        registry.download_version(client, version)
        link.parts.append(Link("files", ", ".join(path.name for path in registry.VERSION_FILES) + ": as released"))
    except InputError as error:
        link.broken.append(str(error))
    try:
        run = client.get_run(version.run_id)
    except Exception as error:  # MLflow's own, or the store's
        link.broken.append(f"run {version.run_id} can't be read: {first_line(error)}")
        return link
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    link.facts += f" {started:%Y-%m-%d %H:%M}, " + ", ".join(f"{k} {v}" for k, v in sorted(run.data.params.items()))
    for tag in RUN_TAGS:
        if run.data.tags.get(tag) != version.tags.get(tag):
            link.broken.append(f"the run's tag {tag} differs from the version's")
    return link


def check_version(client: Any, version: Version) -> Link:
    """Check the whole chain of a version."""
    aliases = "".join(f" ({alias})" for alias in version.aliases)
    link = Link(f"version {version.number}{aliases}", f"gate: {version.tags.get('verdict')}")
    ledger = read_ledger(client)
    entries = [entry for entry in ledger if entry.version == version.number]
    if not entries:
        link.broken.append(f"the ledger has no entry for version {version.number}")
    for entry in entries:
        where = " ".join(filter(None, (entry.environment, entry.image)))
        part = Link("ledger", f"{entry.event} {entry.time:%Y-%m-%d %H:%M:%S} by {entry.by} {where}".rstrip())
        if entry.is_edited:
            part.broken.append(f"the entry `{entry.event}` of {entry.time} in the ledger was edited later")
        if entry.commit != version.tags.get("git_commit"):
            part.broken.append(f"the ledger says commit {entry.commit}, the version {version.tags.get('git_commit')}")
        link.parts.append(part)
    images = pushed_images(ledger, version.number)
    for name in ("service", "pipeline"):
        tagged, pushed = version.tags.get(f"image.{name}", "nothing"), images.get(name, "nothing")
        if tagged != pushed:
            link.broken.append(f"the version's tag image.{name} says {tagged}, the ledger says {pushed}")
    if ("champion" in version.aliases) != (champion_number(ledger) == version.number):
        link.broken.append("the alias champion does not name the version that the ledger does")
    if entries and entries[0].facts != registry.digest_tags(version.tags):
        link.broken.append("the version's tags are not those that the ledger has noted")
    else:
        failed = [f"{verdict.rule} ({verdict.state})" for verdict in version.verdicts if not verdict.passed]
        link.parts.append(Link("gate", f"{len(version.verdicts)} rules, not passed: {', '.join(failed) or 'none'}"))
    link.parts += [check_run(client, version), check_commit(version.tags)]
    return link


def resolve_version(client: Any, name: str) -> Version:
    """Find the version of a number, an alias, an image's digest, a prediction's id or a file with predictions.

    Raises InputError where there is none.
    """
    path = Path(name)
    if re.fullmatch("(.+@)?sha256:[0-9a-f]{64}", name):
        digest = name.rpartition("@")[2]
        versions = [entry.version for entry in read_ledger(client) if entry.image.endswith(digest)]
        if not versions:
            raise InputError(f"The ledger knows no image with {digest}: it was not pushed by `make push`.")
        return registry.find_version(client, versions[0])
    if re.fullmatch("[0-9a-f]{32}", name):
        from modelcycle.versions.prediction_log import convert_database_errors, open_log, read_answer

        with convert_database_errors():
            answer = read_answer(open_log(), name)
        if answer is None:
            raise InputError(f"The prediction log holds no prediction {name}; DATABASE_URL says where the log is.")
        log.info("prediction %s %s %s", name, f"{answer['at']:%Y-%m-%d %H:%M:%S}", answer["answer"])
        return registry.find_version(client, answer["version"])
    if not path.is_file():
        return registry.find_version(client, name)
    if manifest := read_manifest(path):
        return check_manifest(client, path, manifest)
    candidates = registry.list_versions(client, f"tags.`md5.{PREDICTIONS.stem}` = '{md5(path)}'")
    if not candidates:
        raise InputError(f"{path}, md5 {md5(path)}, holds the predictions of no version.")
    return registry.find_version(client, candidates[0].number)  # with its aliases, which a list lacks


def check_manifest(client: Any, path: Path, manifest: dict[str, Any]) -> Version:
    """Check a file of predictions against its manifest, and that against the version, which is returned.

    Raises InputError with everything that differs.
    """
    version, digest, faults = registry.find_version(client, manifest["version"]), md5(path), []
    if digest != manifest["output_md5"]:
        faults.append(f"its md5 is {digest}, its manifest says {manifest['output_md5']}")
    for name in MANIFEST_TAGS:
        if (tag := version.tags.get(name)) != manifest[name]:
            faults.append(f"its manifest says {name} {manifest[name]}, version {version.number} says {tag}")
    if faults:
        raise InputError(f"The trace of {path} is broken:" + "".join(f"\n  {fault}" for fault in faults))
    source = Path(manifest["input"])
    state = "" if source.is_file() and md5(source) == manifest["input_md5"] else ", which is no longer there as it was"
    log.info("%s %s from %s md5 %s%s", path, manifest["when"], source, manifest["input_md5"], state)
    return version


def print_versions_from(data: str) -> None:
    """Print every version whose pipeline read or wrote a file. data: its md5 or its path.

    Raises InputError where there is none.
    """
    digest = md5(Path(data)) if Path(data).is_file() else data
    if not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", digest):
        raise InputError(f"--data is {data}; expected a file that is here, or an md5, 32 digits from 0 to f.")
    n_matches = 0
    client = store.connect()
    for version in reversed(registry.list_versions(client)):
        tags = {name: value for name, value in version.tags.items() if name.startswith("md5.")}
        for path, value in (list_sources(version.tags.get("git_commit", "none")) or tags).items():
            if value == digest:
                n_matches += 1
                print(f"version {version.number:<4} {version.tags.get('verdict', 'unjudged'):<9} {path}")
    if not n_matches:
        raise InputError(f"No version comes from a file with md5 {digest}.")


def list_sources(revision: str) -> dict[str, str]:
    """List the md5 by path of all that a commit's pipeline read or wrote, each file of a folder of code as well."""
    sources = read_lock(revision)
    for folder in [path for path, digest in sources.items() if path.startswith("src/") and digest.endswith(".dir")]:
        code = read_code_at(revision, folder)
        sources = sources | {f"{folder}/{name}": content_md5(content) for name, content in code.items()}
    return sources


def build_tree(link: Link) -> Tree:
    """Build the tree of a chain for the terminal, what is broken in red."""
    label = "[red]broken[/red] " if link.broken else ""
    tree = Tree(f"{label}[bold]{escape(link.name)}[/bold] {escape(link.facts)}", highlight=False)
    for fault in link.broken:
        tree.add(f"[red]{escape(fault)}[/red]")
    for part in link.parts:
        tree.add(build_tree(part))
    return tree


def trace(name: str, rerun: bool, as_json: bool) -> None:
    """Print the chain of a version; raises InputError that names every broken link."""
    client = store.connect()
    version = resolve_version(client, name)
    link = check_version(client, version)
    if rerun and "git_commit" in version.tags:
        link.parts.append(reproduce(version))
    faults = link.list_faults()
    if as_json:
        print(json.dumps(asdict(link) | {"all_broken": faults}, indent=1))
    else:
        Console(width=None if sys.stdout.isatty() else 1000).print(build_tree(link))
    if faults:
        raise InputError(
            f"The trace of version {version.number} is broken:" + "".join(f"\n  {fault}" for fault in faults)
        )
