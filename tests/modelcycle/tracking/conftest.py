"""What the tests of this room may ask for: a released repository to change, and its registry."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.repository import Repository

from modelcycle.tracking.store import connect


@pytest.fixture
def repository(first_release: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A copy of the first release, which the test runs in."""
    copy = first_release.copy_to(tmp_path)
    monkeypatch.chdir(copy.path)
    return copy


@pytest.fixture
def client(repository: Repository) -> Any:
    """A client of the repository's registry."""
    client = connect()
    os.environ.pop("MLFLOW_TRACKING_URI")  # MLflow sets it itself
    return client
