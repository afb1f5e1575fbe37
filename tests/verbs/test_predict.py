"""Files predicted with the champion as a user types it, also where the run is killed."""

import json
import subprocess
import time

import pandas as pd
import pytest

from support.repository import Repository


@pytest.fixture(scope="module")
def project(released, tmp_path_factory) -> Repository:
    """The released repository with rows to predict in data/, which git ignores."""
    repository = released.copy_to(tmp_path_factory.mktemp("predict"))
    test = pd.read_parquet(repository.path / "data/test.parquet").drop(columns="late")
    test.to_csv(repository.path / "data/new.csv", index=False)
    (repository.path / "data/days").mkdir()
    for day, part in enumerate((test[:1000], test[1000:1500], test[1500:])):
        part.to_csv(repository.path / f"data/days/{day}.csv", index=False)
    return repository


def expected(project: Repository) -> pd.DataFrame:
    """Give what the pipeline has predicted for these rows."""
    return pd.read_parquet(project.path / "reports/predictions.parquet").drop(columns="late")


def test_a_file_is_predicted_and_traced(project):
    printed = project.run("make", "predict", "INPUT=data/new.csv", "OUTPUT=data/out.parquet")
    assert "predict   3,517 rows, 0 rejected, version 1" in printed
    pd.testing.assert_frame_equal(pd.read_parquet(project.path / "data/out.parquet"), expected(project))
    manifest = json.loads(project.read("data/out.parquet.manifest.json"))
    assert manifest["git_commit"] == project.run("git", "rev-parse", "HEAD").strip()
    printed = project.run("modelcycle", "trace", "data/out.parquet")
    assert "from data/new.csv md5" in printed
    assert "version 1 (champion)" in printed


def test_a_folder_is_predicted_with_the_version_that_is_named(project):
    printed = project.run("make", "predict", "INPUT=data/days", "OUTPUT=data/answers", "VERSION=1")
    assert printed.count(" rows, 0 rejected, version 1") == 3
    answers = [pd.read_csv(project.path / f"data/answers/{day}.csv") for day in range(3)]
    pd.testing.assert_frame_equal(pd.concat(answers, ignore_index=True), expected(project))
    printed = project.run("make", "predict", "INPUT=data/days", "OUTPUT=data/answers", "VERSION=9", fails=True)
    assert "error: There is no version '9'. Versions: 1." in printed


def test_a_killed_run_leaves_no_output_and_goes_on_to_the_same_bytes(project):
    output, parts = project.path / "data/whole.csv", project.path / "data/.whole.csv.parts"
    command = ["modelcycle", "predict", "data/new.csv", "data/whole.csv", "--chunk-rows", "100"]
    project.run(*command)
    whole = output.read_bytes()
    output.unlink()
    seen = []
    for wanted in (3, 15):
        process = subprocess.Popen(
            command, cwd=project.path, env=project.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(list(parts.rglob("[!.]*.parquet"))) < wanted:
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert not output.exists()
        seen.append({path.name: path.stat().st_mtime_ns for path in parts.rglob("[!.]*.parquet")})
    assert 3 <= len(seen[0]) < len(seen[1])
    assert seen[0].items() <= seen[1].items()  # parts are kept, not made again
    assert "3,517 rows" in project.run(*command)  # the killed runs hold no lock
    assert output.read_bytes() == whole
    assert not parts.exists()
