"""Names that are stored or shown are those of [tool.modelcycle]; they travel with a version to where there is none."""

import json
import re
import sqlite3
import subprocess
import time
import urllib.request
from contextlib import closing

import pytest
from conftest import Repository, use_environment
from containers import free_port

TOOL = ("python", "-m", "modelcycle")
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
    repository.run(*TOOL, "release")
    repository.run("git", "checkout", "--quiet", ".")
    return repository


def test_the_store_and_the_pages_have_the_package_s_name(parcels):
    parcels.run(*TOOL, "review")
    with closing(sqlite3.connect(parcels.path / ".mlflow/mlflow.db")) as store:
        experiments = {name for (name,) in store.execute("select name from experiments")}
        models = {name for (name,) in store.execute("select name from registered_models")}
    assert experiments == {"Default", "parcels_late", "parcels_late ledger"}
    assert models == {"parcels_late"}
    for page in ("report", "release", "review"):
        assert re.search(r"<title>parcels late: ", parcels.read(f"reports/{page}.html"))


def test_an_exported_version_is_served_under_its_name_where_there_is_no_pyproject(parcels, tmp_path):
    parcels.run(*TOOL, "export", str(tmp_path / "version"))
    noted = json.loads((tmp_path / "version/version.json").read_text(encoding="utf-8"))["project"]
    assert noted == {"package": "parcels_late", "experiment": "", "trusted_types": [TYPE]}
    port = free_port()
    told = {"SERVE_MODEL": "version", "SERVE_PORT": str(port), "SERVE_OPEN": "true"}
    told["DATABASE_URL"] = f"sqlite:///{tmp_path}/log.db"
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        service = subprocess.Popen(
            [str(parcels.path / ".venv/bin/python"), "-m", "modelcycle", "serve"],
            cwd=tmp_path,
            env=parcels.environment() | told,
            stdout=log,
            stderr=log,
        )
    try:
        described = json.loads(once_it_answers(service, f"http://127.0.0.1:{port}/openapi.json", tmp_path / "log"))
    finally:
        service.terminate()
        service.wait()
    assert described["info"]["title"] == "parcels late: predictions"


def once_it_answers(service: subprocess.Popen, address: str, log) -> str:
    for _ in range(300):
        assert service.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(address) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8"))


def test_a_version_s_type_is_refused_where_its_note_does_not_name_it(parcels, tmp_path):
    folder = tmp_path / "version"
    parcels.run(*TOOL, "export", str(folder))
    load = ["python", "-c", "from pathlib import Path; from modelcycle.tracking.bundle import load_folder as load; "]
    load[-1] += f"print(load(Path({str(folder)!r})).project.title)"
    nowhere = Repository(tmp_path)
    (tmp_path / ".venv").symlink_to(parcels.path / ".venv")
    code = {"PYTHONPATH": str(parcels.path / "src")}
    assert nowhere.run(*load, **code) == "parcels late\n"
    (folder / "version.json").write_text((folder / "version.json").read_text("utf-8").replace(TYPE, "other"), "utf-8")
    assert TYPE in nowhere.run(*load, fails=True, **code)
