"""Run the machinery in place: a project folder whose src/ leads to the tree, small contracts and rows."""

import contextlib
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

TREE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
sys.path.insert(0, str(TREE / "src"))
sys.dont_write_bytecode = True  # bakes would hold it
os.environ["OMP_NUM_THREADS"] = "1"  # as in bakes: with others at work, a fit took 27 s instead of 1

from modelcycle.core.contract import Contract, find_violations, read_contract  # noqa: E402
from modelcycle.core.params import read_params  # noqa: E402
from modelcycle.core.table import read_source  # noqa: E402
from modelcycle.pipeline.prepare import is_test  # noqa: E402


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the template's files, with the team's package under a name that can be imported."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("contract.yaml", "params.yaml"):
        shutil.copy(TREE / name, folder)
    shutil.copytree(TREE / "docs", folder / "docs")
    (folder / "example").symlink_to(TREE / "example")
    (folder / "pyproject.toml").write_text('[tool.modelcycle]\npackage = "flight_delays"\n', encoding="utf-8")
    (folder / "src").mkdir()
    (folder / "src/flight_delays").symlink_to(TREE / "src/{{cookiecutter.package_name}}")
    (folder / "src/modelcycle").symlink_to(TREE / "src/modelcycle")
    sys.path.insert(0, str(folder / "src"))
    return folder


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in the project's folder, and the programs that it starts with the project's code."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("MLFLOW_TRACKING_URI", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


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
def real(project: Path) -> SimpleNamespace:
    """The example's contract and parameters, with training and test rows from 2,000 of its flights."""
    with contextlib.chdir(project):
        contract, params = read_contract(), read_params()
        sample = read_source(params.ingest).sample(2000, random_state=0).sort_index()
    typed, broken = find_violations(sample, contract)
    kept = typed.drop(index=broken["index"].unique()).dropna(subset=[contract.target])
    test_side = is_test(kept[contract.identity], 0.3)
    train = params.train.model_copy(update={"search": None})
    return SimpleNamespace(contract=contract, params=train, train=kept[~test_side], test=kept[test_side])
