"""What every test may ask for: a small contract with rows, and the project's own data made small."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from ruamel.yaml import YAML

from {{ cookiecutter.package_name }}.contract import Contract, read_contract, violations
from {{ cookiecutter.package_name }}.files import InputError
from {{ cookiecutter.package_name }}.ingest import read_source, rows_until
from {{ cookiecutter.package_name }}.params import read_params
from {{ cookiecutter.package_name }}.prepare import is_test

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
ENVIRONMENT["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture
def contract() -> Contract:
    """A small contract with a column of each kind."""
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
def rows() -> pd.DataFrame:
    """60 orders as text, as a CSV file gives them, that keep the contract."""
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
def sample() -> pd.DataFrame:
    """At most 2,000 rows of the project's own source. Skips where the source is missing, but for CI."""
    os.chdir(ROOT)
    try:
        source = rows_until(read_source(read_params().ingest), read_contract(), read_params().ingest.until)
    except InputError as error:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{error} `uv run dvc pull` brings it.")
    return source.sample(min(2000, len(source)), random_state=0).sort_index()


@pytest.fixture(scope="session")
def real(sample: pd.DataFrame) -> SimpleNamespace:
    """The project's contract and parameters, with training and test rows from the sample."""
    contract, params = read_contract(), read_params()
    typed, broken = violations(sample, contract)
    kept = typed.drop(index=broken["index"].unique()).dropna(subset=[contract.target])
    test_side = is_test(kept[contract.identity], 0.3)
    train = params.train.model_copy(update={"search": None})
    return SimpleNamespace(contract=contract, params=train, train=kept[~test_side], test=kept[test_side])


@pytest.fixture(scope="session")
def clone(sample: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make copies of this repository, each a git repository of its own, whose source is the sample."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("clone")
        for name in ("contract.yaml", "params.yaml", "dvc.yaml", "pyproject.toml", ".dvcignore", ".gitignore"):
            shutil.copy(ROOT / name, folder / name)
        for name in ("src", "notebooks", ".dvc"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
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
    """Run a command in a folder and give what it printed; fails with that when the command does."""
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
