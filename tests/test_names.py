"""Names that are stored or shown are those of [tool.modelcycle]; they travel with a version to where there is none."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Repository, use_environment
from test_serve import serving

TOOL = "modelcycle"
TYPE = "numpy.nan_to_num"  # one that model files may not hold unless the team trusts it
STEP = '("filled", FunctionTransformer(np.nan_to_num)), ("estimator", estimator)'


@pytest.fixture(scope="module")
def parcels(bake, default) -> Repository:
    """A released project whose package has another name, with a model that holds a type of the team's."""
    repository = bake(project_name="Late Parcels", package_name="parcels_late")
    use_environment(repository.path, default)
    model = "src/parcels_late/model.py"
    repository.replace(model, '("estimator", estimator)', STEP)
    repository.replace(model, "import OneHotEncoder", "import FunctionTransformer, OneHotEncoder")
    repository.replace(
        "pyproject.toml", 'package = "parcels_late"', f'package = "parcels_late"\ntrusted_types = ["{TYPE}"]'
    )
    repository.commit()
    repository.run("dvc", "repro")
    repository.commit("reproduce")
    repository.run(TOOL, "release")
    repository.run("git", "checkout", "--quiet", ".")
    return repository


def test_the_store_and_the_pages_have_the_package_s_name(parcels):
    parcels.run(TOOL, "review")
    with closing(sqlite3.connect(parcels.path / ".mlflow/mlflow.db")) as store:
        experiments = {name for (name,) in store.execute("select name from experiments")}
        models = {name for (name,) in store.execute("select name from registered_models")}
    assert experiments == {"Default", "parcels_late", "parcels_late ledger"}
    assert models == {"parcels_late"}
    for page in ("report", "release", "review"):
        assert re.search(r"<title>parcels late: ", parcels.read(f"reports/{page}.html"))


def test_an_exported_version_is_served_under_its_name_where_there_is_no_pyproject(parcels, tmp_path):
    parcels.run(TOOL, "export", str(tmp_path / "version"))
    noted = json.loads((tmp_path / "version/version.json").read_text(encoding="utf-8"))["project"]
    assert noted == {"package": "parcels_late", "experiment": "", "trusted_types": [TYPE]}
    nowhere, code = without_pyproject(tmp_path, parcels)
    with serving(nowhere, SERVE_MODEL="version", DATABASE_URL=f"sqlite:///{tmp_path}/log.db", **code) as service:
        described = service.ask("/openapi.json")[1]
    assert described["info"]["title"] == "parcels late: predictions"


def without_pyproject(folder: Path, repository: Repository) -> tuple[Repository, dict[str, str]]:
    """Make a folder with a repository's environment alone; gives it, and the variables by which its code is found."""
    (folder / ".venv").symlink_to(repository.path / ".venv")
    return Repository(folder), {"PYTHONPATH": str(repository.path / "src")}


def test_a_version_s_type_is_refused_where_its_note_does_not_name_it(parcels, tmp_path):
    folder = tmp_path / "version"
    parcels.run(TOOL, "export", str(folder))
    load = ["python", "-c", "from pathlib import Path; from modelcycle.tracking.bundle import load_folder as load; "]
    load[-1] += f"print(load(Path({str(folder)!r})).project.title)"
    nowhere, code = without_pyproject(tmp_path, parcels)
    assert nowhere.run(*load, **code) == "parcels late\n"
    (folder / "version.json").write_text((folder / "version.json").read_text("utf-8").replace(TYPE, "other"), "utf-8")
    assert TYPE in nowhere.run(*load, fails=True, **code)
