"""What all tests of this room share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def types_of_libraries(run_folder: Path) -> None:
    """Let mypy read the libraries' types once, instead of again in each repository."""
    os.environ["MYPY_CACHE_DIR"] = str(run_folder / "mypy")
