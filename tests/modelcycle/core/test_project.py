import json
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.core.team import read_project
from modelcycle.versions.bundle import load_folder
from support.repository import swap


def write(folder: Path, text: bytes) -> None:
    (folder / "pyproject.toml").write_bytes(text)


def test_experiment_and_title_follow_the_package_unless_they_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b'[tool.modelcycle]\npackage = "flight_delays"')
    project = read_project()
    assert (project.registered_name, project.title, project.trusted_types) == ("flight_delays", "flight delays", [])
    write(tmp_path, b'[tool.modelcycle]\npackage = "late"\nexperiment = "Team 7"\ntrusted_types = ["a.B"]')
    project = read_project()
    assert (project.registered_name, project.title, project.trusted_types) == ("Team 7", "late", ["a.B"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", r"pyproject.toml, [tool.modelcycle]: package is missing."),
        (b"[tool.modelcycle", "pyproject.toml is not valid TOML: "),
        (b"\xff", "pyproject.toml is not valid TOML: 'utf-8' codec can't decode"),
        (b'[tool.modelcycle]\npackage = "a-b"', "pyproject.toml, [tool.modelcycle]: package is 'a-b'; expected "),
        (b'[tool.modelcycle]\npackage = "a"\nname = "b"', "pyproject.toml, [tool.modelcycle]: name is not a known key"),
        (
            b'[tool.modelcycle]\npackage = "modelcycle"',
            "pyproject.toml, [tool.modelcycle]: package is modelcycle, which is the machinery's name",
        ),
    ],
)
def test_a_mistake_in_the_entry_is_named(tmp_path, monkeypatch, text, complaint):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_project()
    assert str(error.value).startswith(complaint)


def test_another_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^pyproject\.toml is not in .*; run this in the repository's top folder\.$"):
        read_project()


# A project whose names are its own

EXAMPLE = "parcels_late.model.MeanByGroup"  # which each bake trusts
TYPE = "numpy.nan_to_num"  # one that model files may not hold unless the team trusts it
STEP = '("filled", FunctionTransformer(np.nan_to_num)), ("estimator", estimator)'


@pytest.fixture(scope="module")
def parcels(bake, baked):
    """A released project whose package has another name, with a model that holds a type of the team's."""
    parcels = type(baked)(bake(project_name="Late Parcels", package_name="parcels_late").path)
    model = "src/parcels_late/model.py"
    parcels.replace(model, '("estimator", estimator)', STEP)
    parcels.replace(model, "import OneHotEncoder", "import FunctionTransformer, OneHotEncoder")
    parcels.replace("pyproject.toml", f'"{EXAMPLE}"', f'"{EXAMPLE}", "{TYPE}"')
    parcels.replace("params.yaml", "bootstrap: 500", "bootstrap: 50")
    parcels.commit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(parcels.path / "src")])
        parcels.reproduce()
        parcels.commit("reproduce")
        parcels.verb("release")
        yield parcels


@pytest.mark.slow
def test_the_store_and_the_pages_have_the_package_s_name(parcels):
    parcels.verb("review")
    with closing(sqlite3.connect(parcels.path / ".mlflow/mlflow.db")) as store:
        experiments = {name for (name,) in store.execute("select name from experiments")}
        models = {name for (name,) in store.execute("select name from registered_models")}
    assert experiments == {"Default", "parcels_late", "parcels_late ledger"}
    assert models == {"parcels_late"}
    for page in ("report", "release", "review"):
        assert re.search(r"<title>parcels late: ", parcels.read(f"reports/{page}.html"))


@pytest.mark.slow
def test_the_names_travel_with_an_exported_version_to_where_there_is_no_pyproject(parcels, tmp_path, monkeypatch):
    folder = tmp_path / "version"
    parcels.verb("export", str(folder))
    manifest = json.loads((folder / "version.json").read_text(encoding="utf-8"))
    assert manifest["project"] == {"package": "parcels_late", "experiment": "", "trusted_types": [EXAMPLE, TYPE]}
    monkeypatch.chdir(tmp_path)
    assert load_folder(folder).project.title == "parcels late"
    swap(folder / "version.json", TYPE, "other.type")
    with pytest.raises(InputError, match=rf"model\.skops is no model that can be loaded: .*{TYPE}"):
        _ = load_folder(folder).classes
