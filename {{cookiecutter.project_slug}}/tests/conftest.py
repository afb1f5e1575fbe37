"""What every test may ask for: the project's own data made small, a model trained on it, copies of the repository."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from modelcycle.core.contract import find_violations, read_contract
from modelcycle.core.errors import InputError
from modelcycle.core.model_file import predict
from modelcycle.core.params import read_params
from modelcycle.core.team import make_features
from modelcycle.pipeline.ingest import read_rows, rows_until
from modelcycle.pipeline.prepare import is_test
from modelcycle.pipeline.train import fit_model
from ruamel.yaml import YAML
from sklearn.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
ENVIRONMENT["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture(scope="session")
def sample() -> pd.DataFrame:
    """At most 2,000 rows of the project's own data. Skips where the source is missing, but for CI."""
    os.chdir(ROOT)
    try:
        contract, params = read_contract(), read_params().ingest
        rows = rows_until(read_rows(params, contract)[0], contract, params.until)
    except InputError as error:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{error} `uv run dvc pull` brings it.")
    return rows.sample(min(2000, len(rows)), random_state=0).sort_index()


@pytest.fixture(scope="session")
def real(sample: pd.DataFrame) -> SimpleNamespace:
    """The project's contract and parameters, with training and test rows from the sample."""
    contract, params = read_contract(), read_params()
    typed, broken = find_violations(sample, contract)
    kept = typed.drop(index=broken["index"].unique()).dropna(subset=[contract.target])
    test_side = is_test(kept[contract.identity], 0.3)
    train = params.train.model_copy(update={"search": None})
    return SimpleNamespace(
        contract=contract, params=train, gate=params.gate, train=kept[~test_side], test=kept[test_side]
    )


@pytest.fixture(scope="session")
def model(real: SimpleNamespace) -> Pipeline:
    """The model that params.yaml describes, trained on the sample."""
    return fit_model(real.params, real.train, real.contract)[0]


@pytest.fixture
def predictions(real: SimpleNamespace, model: Pipeline) -> pd.DataFrame:
    """What the model predicts for the test rows."""
    return predict(model, make_features(real.test, real.contract))


@pytest.fixture(scope="session")
def clone(sample: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make copies of this repository, each a git repository of its own, whose source is the sample."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("clone")
        for name in ("contract.yaml", "params.yaml", "dvc.yaml", "pyproject.toml", ".dvcignore", ".gitignore"):
            shutil.copy(ROOT / name, folder / name)
        for name in ("src", "notebooks", ".dvc"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
        (folder / "data").mkdir()
        for path in (ROOT / "data").glob("feedback.parquet*"):  # which dvc.yaml names where there is some
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
    """A clone in which the pipeline has run."""
    folder = clone()
    run(folder, "dvc", "repro")
    return folder


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder, by the code that lies there, and give what it printed; fails when the command does."""
    environment = ENVIRONMENT | {"PYTHONPATH": str(folder / "src")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
