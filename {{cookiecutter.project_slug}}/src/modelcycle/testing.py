"""A pytest plugin: the project's own data made small, a model trained on it, copies of the repository.

pyproject.toml loads it. A fixture of the same name in tests/conftest.py takes the place of one of these.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from sklearn.pipeline import Pipeline

from modelcycle.core.contract import Contract, find_violations, read_contract
from modelcycle.core.errors import InputError
from modelcycle.core.holdout import is_test
from modelcycle.core.model_file import predict
from modelcycle.core.params import Train, read_params
from modelcycle.core.team import make_features
from modelcycle.pipeline.ingest import read_rows, rows_until
from modelcycle.pipeline.train import fit_model
from modelcycle.tracking.git import forget_callers_repository

forget_callers_repository()  # of a hook: copies are repositories of their own
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
ENVIRONMENT["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# What a copy of the repository needs for the pipeline to run in it.
FILES = ("contract.yaml", "params.yaml", "dvc.yaml", "pyproject.toml", ".dvcignore", ".gitignore")
FOLDERS = ("src", "notebooks", ".dvc")


@dataclass
class Real:
    """The project's contract and parameters, with rows of its own in the contract's types, (t, m) and (n, m)."""

    contract: Contract
    params: Train
    train: pd.DataFrame
    test: pd.DataFrame


@pytest.fixture(scope="session")
def sample(pytestconfig: pytest.Config) -> pd.DataFrame:
    """At most 2,000 rows of the project's own data. Skips where the source is missing, but for CI."""
    os.chdir(pytestconfig.rootpath)
    try:
        contract, params = read_contract(), read_params().ingest
        rows = rows_until(read_rows(params, contract)[0], contract, params.until)
    except InputError as error:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{error} `uv run dvc pull` brings it.")
    return rows.sample(min(2000, len(rows)), random_state=0).sort_index()


@pytest.fixture(scope="session")
def real(sample: pd.DataFrame) -> Real:
    """The sample without rows that break the contract, split into training and test rows."""
    return split_sample(sample)


@pytest.fixture(scope="session")
def model(real: Real) -> Pipeline:
    """The model that params.yaml describes, trained on the sample."""
    return fit_model(real.params, real.train, real.contract)[0]


@pytest.fixture
def predictions(real: Real, model: Pipeline) -> pd.DataFrame:
    """What the model predicts for the test rows, (n, 1 + c)."""
    return predict(model, make_features(real.test, real.contract))


@pytest.fixture(scope="session")
def clone(
    sample: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Callable[[], Path]:
    """Make copies of this repository, each a git repository of its own, whose source is the sample."""
    root = pytestconfig.rootpath

    def make() -> Path:
        folder = tmp_path_factory.mktemp("clone")
        for name in FILES:
            shutil.copy(root / name, folder / name)
        for name in FOLDERS:
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
        (folder / "data").mkdir()
        for path in (root / "data").glob("feedback.parquet*"):  # which dvc.yaml names where there is some
            shutil.copy(path, folder / "data")
        sample.to_parquet(folder / "sample.parquet")
        yaml = YAML()
        params = yaml.load(folder / "params.yaml")
        params["ingest"]["source"] = "sample.parquet"
        yaml.dump(params, folder / "params.yaml")
        run(folder, "git", "init", "--quiet")
        return folder

    return make


@pytest.fixture(scope="session")
def reproduced(clone: Callable[[], Path]) -> Path:
    """A copy in which the pipeline has run."""
    folder = clone()
    run(folder, "dvc", "repro")
    return folder


def split_sample(sample: pd.DataFrame) -> Real:
    """Split (n, m) rows that keep the contract; of the parameters, a search that params.yaml asks for is left out."""
    contract, params = read_contract(), read_params()
    typed, broken = find_violations(sample, contract)
    kept = typed[~typed.index.isin(broken["index"])].dropna(subset=[contract.target])
    test_side = is_test(kept[contract.identity], 0.3)
    train = params.train.model_copy(update={"search": None})
    return Real(contract, train, kept[~test_side], kept[test_side])


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder, by the code that lies there, and give what it printed; fails when the command does."""
    environment = ENVIRONMENT | {"PYTHONPATH": str(folder / "src")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        pytest.fail(f"in {folder}: {' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
