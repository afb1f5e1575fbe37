"""A version with all that answering needs: for the gate, the service, batch prediction and images.

Features are made by features.py as it was when the model was trained. It is read from git, not from the registry:
what the registry holds is data, and is never run.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from modelcycle.core.config import read_config
from modelcycle.core.contract import Contract, convert_columns
from modelcycle.core.digest import md5
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.model_file import load_model, predict
from modelcycle.core.output import report_line
from modelcycle.core.paths import CONTRACT, EXPECTED, FEATURES, MODEL, MODEL_CARD, PROFILE
from modelcycle.core.project import Project, read_project
from modelcycle.tracking import registry, store
from modelcycle.tracking.git import fetch_command, read_file_at
from modelcycle.tracking.registry import Version

EXPORT_MANIFEST = "version.json"  # of an exported version: its number, facts, and the md5 of each file
MakeFeatures = Callable[[pd.DataFrame, Contract], pd.DataFrame]


@dataclass
class Bundle:
    """A version in memory.

    facts: its commit, the md5 of what it comes from, and its metrics. profile: the training data, column by column.
    expected: what it did on the test data, see `evaluate.make_monitoring_reference`. card: the model card, empty where
    there is none.
    project: the names that it was made under; they travel with it to where there is no pyproject.toml.
    """

    version: str
    facts: dict[str, str]
    contract: Contract
    model: Pipeline
    make_features: MakeFeatures
    project: Project
    profile: dict[str, Any]
    expected: dict[str, Any]
    card: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """Its metrics on the test data."""
        return dict(json.loads(self.facts.get("metrics") or "{}"))

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Predict (n, m) rows that hold at least the contract's inputs: (n, 1 + c), as `model_file.predict` does."""
        inputs = convert_columns(rows, self.contract.inputs, self.contract)
        return predict(self.model, self.make_features(inputs, self.contract))


def load_make_features(source: bytes, name: str, package: str) -> MakeFeatures:
    """Run the team's features.py and return its make_features. Raises InputError when it does not run any more."""
    module = ModuleType(f"{package}.{name.replace('.', '_')}")
    try:
        exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102  the team's own code
        make_features: MakeFeatures = module.__dict__["make_features"]
    except (ImportError, KeyError, SyntaxError) as error:
        raise InputError(f"{name} does not run with today's code: {first_line(error)}.") from None
    return make_features


def load_version(client: Any, version: Version) -> Bundle:
    """Load a version from the registry. Raises InputError when a file was changed or its commit is not here."""
    return _load_downloaded(registry.download_version(client, version), version)


def _load_downloaded(folder: Path, version: Version) -> Bundle:
    project = read_project()
    name = f"{FEATURES} at {version.commit[:7]}"
    make_features = load_make_features(read_features_source(version, project), name, project.package)
    facts = {tag: value for tag, value in version.tags.items() if tag in ("git_commit", "metrics") or "md5" in tag}
    return _read_bundle(folder, make_features, project, version.number, facts)


def read_features_source(version: Version, project: Project) -> bytes:
    """Read features.py as it was at a version's commit. Raises InputError when that is not in this repository."""
    source = read_file_at(version.commit, f"src/{project.package}/{FEATURES}")
    if source is None:
        raise InputError(
            f"Commit {version.commit[:7]} of version {version.number} is not in this repository: `{fetch_command()}`, "
            "or `make rollback` to a version whose commit is."
        )
    return source


def load_folder(folder: Path) -> Bundle:
    """Load an exported version. Raises InputError when a file is missing or was changed since the export."""
    try:
        manifest = json.loads((folder / EXPORT_MANIFEST).read_text(encoding="utf-8"))
        facts, project = manifest["facts"], Project.model_validate(manifest["project"])
        changed = [name for name, digest in manifest["files"].items() if md5(folder / name) != digest]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} holds no exported version, as `export` writes it: {first_line(error)}") from None
    if changed:
        raise InputError(f"{folder / changed[0]} has been changed since it was exported.")
    make_features = load_make_features((folder / FEATURES).read_bytes(), FEATURES, project.package)
    return _read_bundle(folder, make_features, project, manifest["version"], facts)


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
    """Write a version's files, features.py and the manifest of them all into a folder, for `load_folder`."""
    source = registry.download_version(client, version)
    bundle = _load_downloaded(source, version)
    folder.mkdir(parents=True, exist_ok=True)
    for path in (MODEL, CONTRACT, PROFILE, EXPECTED):
        shutil.copyfile(source / path.name, folder / path.name)
    (folder / FEATURES).write_bytes(read_features_source(version, bundle.project))
    (folder / MODEL_CARD.name).write_text(bundle.card, encoding="utf-8")
    files = {path.name: md5(path) for path in sorted(folder.iterdir())}
    project = bundle.project.model_dump()
    manifest = {"version": bundle.version, "project": project, "facts": bundle.facts, "files": files}
    (folder / EXPORT_MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _read_bundle(
    folder: Path, make_features: MakeFeatures, project: Project, version: str, facts: dict[str, str]
) -> Bundle:
    contract = read_config(Contract, folder / CONTRACT.name)
    model = load_model(folder / MODEL.name, project.trusted_types)
    profile, expected = (json.loads((folder / path.name).read_text(encoding="utf-8")) for path in (PROFILE, EXPECTED))
    card_path = folder / MODEL_CARD.name  # a rejected version has none
    card = card_path.read_text(encoding="utf-8") if card_path.exists() else ""
    return Bundle(version, facts, contract, model, make_features, project, profile, expected, card)


def load_champion(client: Any) -> Bundle:
    """Load the champion. Raises InputError when there is none."""
    version = registry.find_champion(client)
    if version is None:
        raise InputError("There is no champion yet; `make release` makes one.")
    return load_version(client, version)
