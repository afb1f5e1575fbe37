"""A version with all that answering needs: for the gate, the service, batch prediction and images.

Its code is src/ of its commit. It is read from git, not from the registry: what the registry holds is data, and is
never run. Exports and images carry it, with a digest of each file.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from modelcycle.core.config import read_config
from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import content_md5, read_text, report_line
from modelcycle.core.paths import CONTRACT, EXPECTED, MODEL, PROFILE
from modelcycle.core.team import Project, read_project
from modelcycle.tracking import store
from modelcycle.tracking.git import find_commit
from modelcycle.versions import registry
from modelcycle.versions.code import Code, fetch_command, is_running, read_code, read_code_at, write_code
from modelcycle.versions.environment import read_other_lock
from modelcycle.versions.paths import MODEL_CARD, QUESTIONS
from modelcycle.versions.questions import find_changed_answer
from modelcycle.versions.registry import Version
from modelcycle.versions.run_version import load_running_version
from modelcycle.versions.version_process import VersionProcess

EXPORT_MANIFEST = "version.json"  # of an exported version: its number, facts, and the md5 of each file
FILES = (MODEL, CONTRACT, PROFILE, EXPECTED)


class Predictor(Protocol):
    """What answers: the version's code in this process or in a child."""

    @property
    def classes(self) -> list[Any]:
        """The classes in the order of their probabilities; none where amounts are predicted."""

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Predict (n, m) rows that hold at least the contract's inputs: (n, 1 + c)."""


@dataclass
class Bundle:
    """A version in memory.

    facts: its commit, the md5 of what it comes from, and its metrics. profile: the training data, column by column.
    expected: what it did on the test data, see `reference.make_monitoring_reference`. questions: with what it answered
    when it was released, see `ask_questions`. card: the model card, empty where there is none.
    project: the names that it was made under; they travel with it to where there is no pyproject.toml.
    """

    version: str
    facts: dict[str, str]
    contract: Contract
    predictor: Predictor
    project: Project
    profile: dict[str, Any]
    expected: dict[str, Any]
    questions: dict[str, Any] = field(default_factory=dict)
    card: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """Its metrics on the test data."""
        return dict(json.loads(self.facts.get("metrics") or "{}"))

    @property
    def classes(self) -> list[Any]:
        """The classes in the order of their probabilities; none where amounts are predicted."""
        return self.predictor.classes

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Predict (n, m) rows that hold at least the contract's inputs: (n, 1 + c), as `model_file.predict` does."""
        return self.predictor.predict(rows)

    def require_same_answers(self) -> None:
        """Raise InputError where it does not answer as it did when it was released."""
        if change := find_changed_answer(self, self.questions):
            raise InputError(
                f"Version {self.version} does not answer here as it did when it was released: {change}. Other "
                "libraries or another processor may be why; a new release records what is answered now."
            )


def load_version(client: Any, version: Version, apart: bool = False) -> Bundle:
    """Load a version from the registry. Raises InputError when a file was changed or its commit is not here.

    apart: run its code in a child also where this process runs the same: for a cluster, whose workers live on.
    """
    folder = registry.download_version(client, version)
    code, facts = read_version_code(version), select_facts(version)
    return _read_bundle(folder, code, read_project(), version.number, facts, read_other_lock(version.commit), apart)


def select_facts(version: Version) -> dict[str, str]:
    """Select of a version's tags what travels with it."""
    return {tag: value for tag, value in version.tags.items() if tag in ("git_commit", "metrics") or "md5" in tag}


def read_version_code(version: Version) -> Code:
    """Read src/ of a version's commit. Raises InputError when that is not in this repository."""
    if not find_commit(version.commit):
        raise InputError(
            f"Commit {version.commit[:7]} of version {version.number} is not in this repository: `{fetch_command()}`, "
            "or `make rollback` to a version whose commit is."
        )
    return read_code_at(version.commit)


def load_folder(folder: Path) -> Bundle:
    """Load an exported version. Raises InputError when a file is missing, new or changed since the export."""
    try:
        manifest = json.loads((folder / EXPORT_MANIFEST).read_text(encoding="utf-8"))
        facts, project = manifest["facts"], Project.model_validate(manifest["project"])
        expected: dict[str, str] = manifest["files"]
        contents = read_code(folder)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} holds no exported version, as `export` writes it: {first_line(error)}") from None
    found = {name: content_md5(content) for name, content in contents.items() if name != EXPORT_MANIFEST}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            what = "changed" if name in expected and name in found else "added" if name in found else "deleted"
            raise InputError(f"{folder / name} has been {what} since the export.")
    code = {name.removeprefix("src/"): content for name, content in contents.items() if name.startswith("src/")}
    return _read_bundle(folder, code, project, manifest["version"], facts, lock={})


def export(name: str, folder: Path) -> None:
    """Write a version, by number or alias, into a new folder from which it is served without MLflow, DVC and git.

    Raises InputError when the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; expected a new folder.")
    client = store.connect()
    version = registry.find_version(client, name)
    write_version(client, version, folder)
    report_line("export", f"version {version.number}", folder)


def write_version(client: Any, version: Version, folder: Path) -> None:
    """Write a version's files, its code and the manifest of them all into a folder, for `load_folder`."""
    source = registry.download_version(client, version)
    paths = [*FILES, QUESTIONS, MODEL_CARD]
    contents = {path.name: (source / path.name).read_bytes() for path in paths if (source / path.name).exists()}
    write_export(folder, contents, read_version_code(version), version.number, select_facts(version))


def write_export(folder: Path, contents: dict[str, bytes], code: Code, number: str, facts: dict[str, str]) -> None:
    """Write files, by name, code and the manifest of them all into a folder, for `load_folder`."""
    contents = contents | {f"src/{name}": content for name, content in code.items()}
    write_code(contents, folder)
    manifest = {
        "version": number,
        "project": read_project().travelling(),
        "facts": facts,
        "files": {name: content_md5(content) for name, content in sorted(contents.items())},
    }
    (folder / EXPORT_MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _read_bundle(
    folder: Path,
    code: Code,
    project: Project,
    version: str,
    facts: dict[str, str],
    lock: dict[str, bytes],
    apart: bool = False,
) -> Bundle:
    """Read a version's files; its code answers in this process where that runs the same, else in a child.

    lock: see `read_other_lock`.
    """
    contract = read_config(Contract, folder / CONTRACT.name)
    predictor: Predictor
    if is_running(code) and not lock and not apart:
        predictor = load_running_version(folder, project)
    else:
        files = {path.name: (folder / path.name).read_bytes() for path in (MODEL, CONTRACT)}
        predictor = VersionProcess(f"Version {version}", code, files, project, contract, lock)
    profile, expected = (json.loads((folder / path.name).read_text(encoding="utf-8")) for path in (PROFILE, EXPECTED))
    questions = json.loads(read_text(folder / QUESTIONS.name) or "{}")  # what was not released has none
    card = read_text(folder / MODEL_CARD.name)  # what was rejected has none
    return Bundle(version, facts, contract, predictor, project, profile, expected, questions, card)


def load_champion(client: Any, apart: bool = False) -> Bundle:
    """Load the champion, as `load_version` does. Raises InputError when there is none."""
    version = registry.find_champion(client)
    if version is None:
        raise InputError("There is no champion yet; `make release` makes one.")
    return load_version(client, version, apart)


def load_named(client: Any, name: str, apart: bool) -> Bundle:
    """Load a version by its number or alias, or without a name the champion, as `load_version` does."""
    return load_version(client, registry.find_version(client, name), apart) if name else load_champion(client, apart)
