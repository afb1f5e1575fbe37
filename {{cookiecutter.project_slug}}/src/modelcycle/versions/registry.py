"""The model registry: a version is a model that the gate has judged; the alias `champion` names the one in use.

The alias follows the ledger.
"""

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import content_md5, md5
from modelcycle.core.paths import CONTRACT, EXPECTED, MODEL, PARAMS, PROFILE
from modelcycle.core.team import read_project
from modelcycle.tracking import store
from modelcycle.versions.ledger import append_to_ledger, champion_number, read_ledger
from modelcycle.versions.paths import QUESTIONS

VERSION_FILES = (MODEL, CONTRACT, PARAMS, PROFILE, EXPECTED, QUESTIONS)  # that a version consists of
# Besides those named md5.*; releases of earlier years have test_share.
DIGESTED_TAGS = ("git_commit", "verdict", "train_rows", "test_share", "holdout", "metrics", "gate")


@dataclass
class Verdict:
    """The verdict of one rule of the gate on a model, in words.

    passed: None where the data can't tell. interval: value, low and high of the metric, where the rule is about it.
    """

    rule: str
    passed: bool | None
    found: str
    expected: str
    meaning: str
    interval: dict[str, float] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """The verdict in a word."""
        return "undecided" if self.passed is None else "passed" if self.passed else "failed"


@dataclass(frozen=True)
class Version:
    """A registered version of the model. created: UTC without a zone. tags: what `release` has recorded of it."""

    number: str
    run_id: str
    source: str
    created: datetime
    tags: dict[str, str]
    aliases: list[str]

    @classmethod
    def from_mlflow(cls, version: Any) -> "Version":
        """Convert MLflow's ModelVersion."""
        created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).replace(tzinfo=None)
        tags, aliases = dict(version.tags), list(version.aliases)
        return cls(str(version.version), version.run_id or "", version.source, created, tags, aliases)

    @property
    def commit(self) -> str:
        """The commit that it was made from. Raises InputError where it was not made by `release`."""
        if "git_commit" not in self.tags:
            raise InputError(f"Version {self.number} was not made by `make release`: it names no commit.")
        return self.tags["git_commit"]

    @property
    def verdicts(self) -> list[Verdict]:
        """The gate's verdicts, rule by rule. Raises InputError where somebody has edited them."""
        try:
            return [Verdict(**verdict) for verdict in json.loads(self.tags.get("gate", "[]"))]
        except (ValueError, TypeError):
            raise InputError(
                f"The tag gate of version {self.number} is not as `release` wrote it: `modelcycle trace {self.number}`."
            ) from None


def list_versions(client: Any, condition: str = "") -> list[Version]:
    """List the registered versions, the newest first; `condition` is one of MLflow's, such as tags.verdict = 'x'."""
    query = f"name = '{read_project().registered_name}'" + (f" and {condition}" if condition else "")
    versions = map(Version.from_mlflow, client.search_model_versions(query))
    return sorted(versions, key=lambda version: -int(version.number))


def find_version(client: Any, name: str) -> Version:
    """Find a version by its number or alias. Raises InputError with the numbers of all versions."""
    from mlflow.exceptions import MlflowException

    model = read_project().registered_name
    try:
        # The ledger says who is the champion; the alias may be behind it where a command was interrupted.
        number = champion_number(read_ledger(client)) if name == "champion" else None
        number = number or (name if name.isdigit() else client.get_model_version_by_alias(model, name).version)
        return Version.from_mlflow(client.get_model_version(model, number))
    except MlflowException:
        numbers = ", ".join(version.number for version in list_versions(client))
        raise InputError(
            f"There is no version '{name}'. Versions: {numbers or 'none yet: `make release` makes one'}."
        ) from None


def find_champion(client: Any) -> Version | None:
    """Find the champion, None before the first release."""
    number = champion_number(read_ledger(client))
    if number is None:
        return None
    try:
        return find_version(client, number)
    except InputError as error:
        raise InputError(f"{error} It is the champion by the ledger: `rollback VERSION` to another one.") from None


def move_alias(client: Any, champion: Version | None) -> None:
    """Let MLflow's alias `champion` name the ledger's, also where a command was interrupted in between."""
    if champion and "champion" not in champion.aliases:
        client.set_registered_model_alias(read_project().registered_name, "champion", champion.number)


def require_champion(client: Any, number: str) -> None:
    """Raise InputError when the champion is not version `number` (none: there is none): another machine has decided."""
    current = champion_number(read_ledger(client)) or "none"
    if current != number:
        raise InputError(f"Version {current} has become the champion meanwhile; try again.")


def record_decision(client: Any, event: str, version: str, **facts: str) -> None:
    """Add a decision to the ledger; then the alias follows."""
    append_to_ledger(client, store.artifact_location(), event, version, **facts)
    move_alias(client, find_champion(client))


def download_version(client: Any, version: Version) -> Path:
    """Download a version's files and return the folder they are in.

    Raises InputError when they are out of reach, or are not those that were released.
    """
    import mlflow

    version.commit  # noqa: B018  raises where there is none
    source = client.get_model_version_download_uri(read_project().registered_name, version.number)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=source))
    except Exception as error:  # every kind of store has its own
        raise InputError(f"The files of version {version.number} can't be had: {first_line(error)}") from None
    for path in VERSION_FILES:
        actual = md5(folder / path.name) if (folder / path.name).exists() else "nothing"
        if actual != (recorded := version.tags.get(f"md5.{path.stem}")):
            raise InputError(f"{path.name} in the registry has md5 {actual}, version {version.number} says {recorded}.")
    return folder


def digest_tags(tags: dict[str, str]) -> str:
    """Digest a version's tags, for the ledger: a later edit of them shows."""
    digested = {name: tags[name] for name in sorted(tags) if name in DIGESTED_TAGS or name.startswith("md5.")}
    return content_md5(json.dumps(digested))


def is_shared() -> bool:
    """Say whether others may use the store: MLFLOW_TRACKING_URI names another one than this folder's own."""
    if store.IS_LOCAL:
        return False
    file = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"))
    return file.resolve() != (store.LOCAL_STORE / "mlflow.db").resolve()


def is_served() -> bool:
    """Say whether the store is on a server or in a database, for people on other machines."""
    return is_shared() and not os.environ["MLFLOW_TRACKING_URI"].startswith(("sqlite:", "file:"))
