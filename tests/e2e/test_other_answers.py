"""Other answers than the default ones: their names are everywhere, their extras are installed, their tests pass."""

import os
import re

import pytest

HERE = {"UV_PYTHON": "3.11"}  # the newer ones can't be had on every machine that runs this


def test_other_names_set_up_run_and_pass_their_tests(bake, default):
    repository = bake(data_remote="s3", license="MIT", project_slug="parcels", package_name="parcel_times")
    active = {"PATH": f"{default.path / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    told = repository.run("modelcycle", "ingest", "--help", fails=True, **active)
    set_up, again = re.findall("`(make setup|[.]venv/.*?)`", told)
    repository.run(*set_up.split(), **HERE)
    assert "Usage: modelcycle ingest" in repository.run(*again.split(), **active)
    repository.commit()
    repository.run("make", "cycle", **HERE)
    assert "up to date" in repository.run("make", "reproduce", **HERE)
    assert "passed" in repository.run("make", "test", **HERE)
    assert "ingest" in repository.run("modelcycle", "--help")


def test_an_exploration_runs_passes_its_tests_and_its_checks(bake):
    repository = bake(scope="exploration")
    repository.run("make", "setup", **HERE)
    repository.commit()
    repository.run("make", "cycle", **HERE)
    assert "passed" in repository.run("make", "test", "check", **HERE)
    listed = re.findall(r"^│ ([a-z]+) ", repository.run("modelcycle", "--help"), re.MULTILINE)
    assert set(listed) == {"adopt", "ingest", "prepare", "train", "evaluate"}


@pytest.mark.parametrize(
    "answers",
    [
        {"data_remote": "azure", "license": "Apache-2.0", "python_version": "3.12", "project_slug": "wind-power"},
        {"data_remote": "ssh", "license": "BSD-3-Clause", "python_version": "3.14", "package_name": "other"},
        {"data_remote": "gs", "ci_provider": "jenkins", "deployment": "openshift", "airflow": False},
    ],
    ids=lambda answers: answers["data_remote"],
)
def test_an_extra_of_dvc_is_installed_beside_what_is_there(installed, answers):
    repository = installed(**answers)
    (repository.path / "pyproject.toml").touch()
    repository.run("make", "setup", **HERE)
    assert f"dvc-{answers['data_remote']}" in repository.run("uv", "pip", "list", "--python", ".venv")
    assert "Running stage 'prepare'" in repository.run("dvc", "repro", "prepare", **HERE)
