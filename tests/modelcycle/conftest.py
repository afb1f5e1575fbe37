"""Run the machinery in place: functions on small contracts and rows, verbs in this process, on a real repository.

Fixtures import what takes long themselves: pytest-xdist's main process, which every run waits for, needs none of it.
"""

import contextlib
import io
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.questions import change_an_answer
from support.repository import TEMPLATE, TREE, Repository, render

if TYPE_CHECKING:
    import pandas as pd

    from modelcycle.core.contract import Contract

sys.path.insert(0, str(TREE / "src"))
sys.dont_write_bytecode = True  # bakes would hold it
os.environ["OMP_NUM_THREADS"] = "1"  # as in bakes: with others at work, a fit took 27 s instead of 1


def hurry(connection: Any, _: Any) -> None:
    """Let SQLite not wait for the disk: no test ends with a loss of power."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


class Project(Repository):
    """A repository whose verbs run in this process, by the template's machinery; everything else is as for a user."""

    def verb(self, *words: str, fails: bool = False, **environment: str) -> str:
        """Run `modelcycle` with these words as its main() does, and give all it printed; see Repository.run."""
        status, printed = self.attempt(*words, **environment)
        assert (status != 0) == fails, f"in {self.path}: modelcycle {' '.join(words)}: exit {status}\n{printed}"
        return printed

    def attempt(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run `modelcycle` with these words; gives the exit status and all it printed."""
        from mlflow.tracking._tracking_service import utils as mlflow_state

        from modelcycle import cli
        from modelcycle.tracking import store

        mlflow_state._artifact_repos_cache.clear()  # by run, which has the same name in each copy of a project
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it itself
        printed, status = io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.path):
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setenv("PYTHONPATH", str(self.path / "src"))  # for the stages that DVC starts
            patch.setattr(sys, "argv", ["modelcycle", *words])
            patch.setattr(mlflow_state, "_tracking_uri", None)
            patch.setattr(store, "IS_LOCAL", not os.environ.get("MLFLOW_TRACKING_URI"))
            patch.setattr(cli, "require_own_code", lambda: None)  # src/ is a copy, for git and DVC
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                try:
                    cli.main()
                except SystemExit as end:
                    status = int(end.code or 0)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        return status, printed.getvalue()

    def reproduce(self) -> None:
        """Run the stages of the pipeline, and let DVC note what they have read and written, as `dvc repro` does."""
        from dvc.repo import Repo

        for stage in ("ingest", "prepare", "train", "evaluate"):
            self.verb(stage)
        with contextlib.chdir(self.path):
            Repo().commit(force=True)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the template's files, with the team's package under a name that can be imported."""
    import sqlalchemy

    from modelcycle.release import row_wise
    from modelcycle.versions import code

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    row_wise.N_ROWS = 10  # of 500, in each of many releases; test_row_wise.py asks for all
    folder = tmp_path_factory.mktemp("project")
    made = render(TEMPLATE, tmp_path_factory.mktemp("bake"))
    for name in ("contract.yaml", "params.yaml"):
        shutil.copy(made / name, folder)
    shutil.copytree(made / "docs", folder / "docs")
    (folder / "example").symlink_to(TREE / "example")
    (folder / "pyproject.toml").write_text('[tool.modelcycle]\npackage = "flight_delays"\n', encoding="utf-8")
    (folder / "src").mkdir()
    (folder / "src/flight_delays").symlink_to(TREE / "src/{{cookiecutter.package_name}}")
    (folder / "src/modelcycle").symlink_to(TREE / "src/modelcycle")
    sys.path.insert(0, str(folder / "src"))
    code.RUNNING_CODE = code.read_code(folder / "src")
    (folder / "bin").mkdir()
    command = folder / "bin/modelcycle"  # which the stages of dvc.yaml call
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m modelcycle "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test in the project's folder, and the programs that it starts with the project's code."""
    from modelcycle.core import team

    monkeypatch.chdir(project)
    team._import_module.cache_clear()  # a process works in one project, this one in several
    # A process for each of many releases.
    monkeypatch.setattr("modelcycle.release.release.run_alone", lambda _: None)
    monkeypatch.setattr("modelcycle.release.release.require_same_answers", lambda *_: None)
    monkeypatch.setenv("PATH", f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it itself


@pytest.fixture(autouse=True)
def same_chance(request: pytest.FixtureRequest) -> None:
    """Seed a module's random generator again for each test, whichever tests ran before it."""
    import numpy as np

    if hasattr(request.module, "random"):
        request.module.random = np.random.default_rng(0)


@pytest.fixture(scope="session")
def baked(bake: Callable[..., Repository], project: Path) -> Project:
    """The default answers in git, with nothing run yet and few resamples. Tests must leave it as it is."""
    baked = Project(bake().path)
    baked.replace("params.yaml", "bootstrap: 500", "bootstrap: 50")
    baked.commit("bake")
    baked.run("git", "gc", "--quiet")  # half of what a copy copies would be git's files
    return baked


@pytest.fixture(scope="session")
def reproduced(baked: Project, shared: Callable, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The default answers with the results of the pipeline. Tests must leave it as it is."""

    def make() -> Project:
        made = baked.copy_to(tmp_path_factory.mktemp("reproduced"))
        made.reproduce()
        made.commit("reproduce")
        return made

    return Project(shared("reproduced", make).path)


@pytest.fixture(scope="session")
def first_release(reproduced: Project, shared: Callable, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The default answers after the first release. Tests must leave it as it is."""

    def make() -> Project:
        made = reproduced.copy_to(tmp_path_factory.mktemp("first-release"))
        made.verb("release")
        made.run("git", "checkout", "--quiet", "docs")
        return made

    return Project(shared("first-release", make).path)


@pytest.fixture
def repository(first_release: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the first release, which the test runs in."""
    copy = first_release.copy_to(tmp_path)
    monkeypatch.chdir(copy.path)
    return copy


@pytest.fixture
def client(repository: Project) -> Any:
    """A client of the repository's registry."""
    from modelcycle.tracking import store

    return store.connect()


@pytest.fixture
def other_answers(repository: Project, client: Any) -> Callable[[], None]:
    """Let the first version have answered differently when it was released, once this is called."""

    def change() -> None:
        from modelcycle.core.output import md5
        from modelcycle.versions import registry

        version = registry.find_version(client, "1")
        path = registry.download_version(client, version) / "questions.json"
        change_an_answer(path)
        client.set_model_version_tag("flight_delays", "1", "md5.questions", md5(path))

    return change


@pytest.fixture
def contract() -> "Contract":
    """A small contract with a column of each kind."""
    from modelcycle.core.contract import Contract

    return Contract.model_validate(
        {
            "description": "Orders",
            "columns": {
                "order": {"role": "key", "type": "integer"},
                "at": {"role": "time", "type": "datetime", "format": "%d.%m.%Y"},
                "price": {"role": "feature", "type": "number", "unit": "EUR", "min": 0, "max": 100, "nullable": True},
                "shop": {"role": "feature", "type": "category", "values": ["Köln", "NO"]},
                "gift": {"role": "feature", "type": "boolean"},
                "note": {"role": "ignored", "type": "text"},
                "returned": {"role": "target", "type": "boolean", "nullable": True},
            },
        }
    )


@pytest.fixture
def rows() -> "pd.DataFrame":
    """60 orders as text, as a CSV file gives them, that keep the contract."""
    import pandas as pd

    return pd.DataFrame(
        {
            "order": [str(i) for i in range(60)],
            "at": [f"{i % 28 + 1:02}.03.2024" for i in range(60)],
            "price": [f"{i}.5" for i in range(60)],
            "shop": ["Köln", "NO", "NO"] * 20,
            "gift": "yes",
            "note": "-",
            "returned": ["no", "yes", "yes", "yes"] * 15,
        }
    )


@pytest.fixture(scope="session")
def real(project: Path) -> Any:
    """The example's contract and parameters, with training and test rows from 2,000 of its flights."""
    from modelcycle.core.params import read_params
    from modelcycle.core.table import read_source
    from modelcycle.testing import split_sample

    with contextlib.chdir(project):
        return split_sample(read_source(read_params().ingest).sample(2000, random_state=0).sort_index())
