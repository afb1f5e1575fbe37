"""Files predicted with the champion: whole, resumable after a kill, traced, and refused in one sentence."""

import json
import subprocess
import time

import pandas as pd
import pytest
from conftest import Repository, fork

TOOL = "modelcycle"


@pytest.fixture(scope="module")
def project(released, tmp_path_factory) -> Repository:
    """The released repository with rows to predict in data/, which git ignores."""
    repository = fork(released, tmp_path_factory.mktemp("predict"))
    test = pd.read_parquet(repository.path / "data/test.parquet").drop(columns="late")
    test.to_parquet(repository.path / "data/new.parquet", index=False)
    test.to_csv(repository.path / "data/new.csv", index=False)
    (repository.path / "data/days").mkdir()
    for day, part in enumerate((test[:1000], test[1000:1500], test[1500:])):
        part.to_csv(repository.path / f"data/days/{day}.csv", index=False)
    return repository


def manifest(repository, output):
    return json.loads(repository.read(f"{output}.manifest.json"))


def test_predictions_are_those_of_the_pipeline_from_csv_and_parquet(project):
    expected = pd.read_parquet(project.path / "reports/predictions.parquet").drop(columns="late")
    for source in ("data/new.parquet", "data/new.csv"):
        printed = project.run("make", "predict", f"INPUT={source}", "OUTPUT=data/out.parquet")
        assert "predict   3,517 rows, 0 rejected, version 1" in printed
        pd.testing.assert_frame_equal(pd.read_parquet(project.path / "data/out.parquet"), expected)
        project.run(TOOL, "predict", source, "data/out.csv", "--chunk-rows", "1000")
        pd.testing.assert_frame_equal(pd.read_csv(project.path / "data/out.csv"), expected)
        noted = manifest(project, "data/out.csv")
        assert noted["input"] == source
        assert noted["rows"] == noted["predicted"] == 3517
        assert noted["git_commit"] == project.run("git", "rev-parse", "HEAD").strip()


def test_a_folder_becomes_a_folder_and_what_is_done_is_not_done_again(project):
    printed = project.run(TOOL, "predict", "data/days", "data/answers")
    assert printed.count(" rows, 0 rejected") == 3
    answers = pd.concat([pd.read_csv(project.path / f"data/answers/{day}.csv") for day in range(3)], ignore_index=True)
    expected = pd.read_parquet(project.path / "reports/predictions.parquet").drop(columns="late")
    pd.testing.assert_frame_equal(answers, expected)
    (project.path / "data/answers/1.csv").unlink()
    printed = project.run(TOOL, "predict", "data/days/0.csv", "data/days/1.csv", "data/answers")
    assert "version 1 has predicted this input already" in printed
    assert "500 rows" in printed
    assert "version 1" in project.run(TOOL, "trace", "data/answers/1.csv")


def test_rows_that_break_the_contract_are_listed_with_the_reason(project):
    rows = pd.read_csv(project.path / "data/new.csv", dtype="str")
    rows.loc[[5, 3000], "distance"] = ["far", "0"]
    rows.to_csv(project.path / "data/broken.csv", index=False)
    printed = project.run(TOOL, "predict", "data/broken.csv", "data/fixed.csv", "--chunk-rows", "1000")
    assert "3,517 rows, 2 rejected" in printed
    rejects = pd.read_csv(project.path / "data/fixed.csv.rejects.csv", index_col="row")
    assert rejects["reason"].to_dict() == {5: "distance is no integer", 3000: "distance is below 10 mi"}
    assert manifest(project, "data/fixed.csv")["rejected"] == dict.fromkeys(rejects["reason"], 1)
    assert len(pd.read_csv(project.path / "data/fixed.csv")) == 3515


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_killed_run_leaves_no_output_and_goes_on_to_the_same_bytes(project, ending):
    output = project.path / f"data/whole.{ending}"
    command = [TOOL, "predict", f"data/new.{ending}", f"data/whole.{ending}", "--chunk-rows", "100"]
    project.run(*command)
    expected = output.read_bytes()
    output.unlink()
    environment = project.environment() | {"TESTS_FORKS": "1"}
    parts = project.path / f"data/.whole.{ending}.parts"
    seen = []
    for wanted in (3, 8, 15):
        process = subprocess.Popen(command, cwd=project.path, env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(parts.rglob("[!.]*.parquet"))) < wanted:
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert not output.exists()
        seen.append({path.name: path.stat().st_mtime_ns for path in parts.rglob("[!.]*.parquet")})
    assert len(seen[0]) < len(seen[2])
    assert seen[0].items() <= seen[2].items()  # parts are kept, not made again
    project.run(*command)
    assert output.read_bytes() == expected
    assert not parts.exists()


def test_a_changed_byte_breaks_the_trace(project):
    project.run(TOOL, "predict", "data/new.csv", "data/traced.csv")
    printed = project.run(TOOL, "trace", "data/traced.csv")
    assert "data/traced.csv" in printed.splitlines()[0]
    assert "from data/new.csv md5" in printed
    assert "version 1 (champion)" in printed
    output = project.path / "data/traced.csv"
    content = output.read_bytes()
    output.write_bytes(content.replace(b"0.1", b"0.2", 1))
    printed = project.run(TOOL, "trace", "data/traced.csv", fails=True)
    assert "error: The trace of data/traced.csv is broken:\n  its md5 is" in printed
    output.write_bytes(content)
    beside = project.path / "data/traced.csv.manifest.json"
    beside.write_text(beside.read_text().replace('md5.model": "', 'md5.model": "0'))
    assert "its manifest says md5.model 0" in project.run(TOOL, "trace", "data/traced.csv", fails=True)
    project.run(TOOL, "predict", "data/new.csv", "data/traced.csv")
    assert output.read_bytes() == content
    assert "version 1" in project.run(TOOL, "trace", "data/traced.csv")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "error: data/bad.csv does not exist; expected a CSV or Parquet file"),
        ({"bad.csv": b""}, "error: data/bad.csv can't be read: No columns to parse from file"),
        ({"bad.csv": b"\xff\xfe\x00\x81"}, "error: data/bad.csv can't be read: 'utf-8' codec"),
        ({"bad.csv": b"a,b\n1,2\n"}, "error: data/bad.csv has no column 'scheduled_departure'"),
        ({"bad.csv": b"a,b\n1,2\n1,2,3\n"}, "error: data/bad.csv can't be read: Error tokenizing data"),
        ({"bad.parquet": b"PAR1 but no more"}, "error: data/bad.parquet can't be read: Parquet"),
        ({"bad.xlsx": b"PK"}, "error: data/bad.xlsx is no CSV or Parquet file"),
    ],
    ids=["missing", "empty", "no text", "other columns", "ragged", "broken parquet", "spreadsheet"],
)
def test_a_bad_input_is_one_sentence_and_no_output(project, content, sentence):
    name = next(iter(content), "bad.csv")
    for path, written in content.items():
        (project.path / "data" / path).write_bytes(written)
    printed = project.run(TOOL, "predict", f"data/{name}", "data/bad-out.csv", fails=True)
    (project.path / "data" / name).unlink(missing_ok=True)
    assert sentence in printed
    assert len(printed.splitlines()) == 1, printed
    assert not list((project.path / "data").glob("*bad-out*"))


def test_an_unknown_version_and_no_champion_are_named(project, default):
    printed = project.run(TOOL, "predict", "data/new.csv", "data/no.csv", "--version", "9", fails=True)
    assert "error: There is no version '9'. Versions: 1." in printed
    command = (TOOL, "predict", "example/flights.csv", "data/no.csv")
    assert "error: There is no champion yet; `make release` makes one." in default.run(*command, fails=True)


def test_two_runs_at_one_output_do_not_mix(project):
    lock = f"from filelock import FileLock; held = FileLock({str(project.path / 'data/.both.csv.lock')!r}).acquire()"
    hold = f"{lock}; print('held', flush=True); input()"
    command = ("predict", "data/new.csv", "data/both.csv")
    with subprocess.Popen(
        [project.path / ".venv/bin/python", "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        printed = project.run(TOOL, *command, fails=True)
        assert "error: Another run is writing data/both.csv; wait until it is done." in printed
        other.kill()  # the system frees its lock
    assert "3,517 rows" in project.run(TOOL, *command)
