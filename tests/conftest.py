"""What every room may ask for: a bake, and the default repository, set up once and released once for all workers."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from support.repository import TEMPLATE, Repository, link_environment, render

# What make, uv and pytest set for the tests, CI for its jobs or a team for its project must not reach what is tested.
# PYTHONDONTWRITEBYTECODE would make each start of Python slow.
for name in """
    VIRTUAL_ENV MAKEFLAGS MAKELEVEL PYTEST_ADDOPTS PYTHONDONTWRITEBYTECODE CI GITHUB_ACTIONS GITLAB_CI
    MLFLOW_TRACKING_URI DATABASE_URL IMAGE
""".split():
    os.environ.pop(name, None)
os.environ["GIT_CONFIG_GLOBAL"] = str(TEMPLATE / "tests/support/gitconfig")  # a name, and no setting of the machine's


def pytest_collection_finish() -> None:
    """Leave what imports have made out of each garbage collection to come: a tenth of a test's time."""
    gc.freeze()
    gc.set_threshold(50_000)


def pytest_sessionfinish() -> None:
    """Leave everything out of the collections with which pytest and Python end: seconds."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_notes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let what DVC notes of each copy, and the folders of tests that run in a copy, lie in this run's folder.

    Elsewhere the first would stay, and the second would push out the folders of earlier runs of these tests.
    """
    for name in ("DVC_SITE_CACHE_DIR", "PYTEST_DEBUG_TEMPROOT"):
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this run that all workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def shared(run_folder: Path) -> Callable[[str, Callable[[], Repository]], Repository]:
    """Give a repository under a name: one worker makes it, the others wait. Tests must leave it as it is."""

    def give(name: str, make: Callable[[], Repository]) -> Repository:
        with FileLock(run_folder / f"{name}.lock"):
            if not (run_folder / name).exists():
                (run_folder / name).symlink_to(make().path)
        return Repository((run_folder / name).resolve())

    return give


@pytest.fixture(scope="session")
def bake(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Repository]:
    """Bake with the given answers; all others have their default."""

    def make(**answers: str | bool) -> Repository:
        return Repository(render(TEMPLATE, tmp_path_factory.mktemp("bake"), **answers))

    return make


@pytest.fixture(scope="session")
def default(bake: Callable[..., Repository], shared: Callable, run_folder: Path) -> Repository:
    """The default answers, set up and reproduced as a newcomer would."""

    def make() -> Repository:
        repository = bake()
        repository.run("make", "setup")
        repository.commit("bake")
        repository.run("make", "cycle")
        repository.commit("reproduce")
        return repository

    return shared("default", make)


@pytest.fixture(scope="session")
def installed(bake: Callable[..., Repository], default: Repository) -> Callable[..., Repository]:
    """Bake with the given answers, in git, with an environment like the default's, which holds the same libraries."""

    def make(**answers: str | bool) -> Repository:
        repository = bake(**answers)
        link_environment(default, repository.path)
        repository.commit("bake")
        return repository

    return make


@pytest.fixture
def copy(default: Repository, tmp_path: Path) -> Repository:
    """A copy of the default repository, to be changed."""
    return default.copy_to(tmp_path)


@pytest.fixture(scope="session")
def released(default: Repository, shared: Callable, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The default repository after its first release."""

    def make() -> Repository:
        repository = default.copy_to(tmp_path_factory.mktemp("released"))
        repository.run("modelcycle", "release")
        repository.run("git", "checkout", "--quiet", "docs")
        return repository

    return shared("released", make)
