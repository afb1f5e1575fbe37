"""Bad input gets one sentence with file, key, found and expected; nothing half-written, never a traceback."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / path).read_text(encoding="utf-8")
        assert re.search(old, text)
        (root / path).write_text(re.sub(old, new, text), encoding="utf-8")

    return change


def write(path: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(content) and None


HEADER = b"flight_id,scheduled_departure,carrier,origin,dest,distance,temperature,humidity,wind_direction,wind_speed,"
HEADER += b"wind_gust,precipitation,pressure,visibility,late\n"
ROW = b"F%d,2013-01-01 06:00,AA,LGA,DFW,1389,4.4,55,260,14,20,0.0,1011.7,10.0,%s\n"
SOURCE = "example/flights.csv"

CASES = {
    "missing column": (
        ["ingest"],
        replace(SOURCE, "carrier,", "airline,"),
        "has no column 'carrier', which contract.yaml",
    ),
    "missing file": (
        ["ingest"],
        replace("params.yaml", "flights.csv", "nothing.csv"),
        "example/nothing.csv, which does not",
    ),
    "unreadable file": (["ingest"], write(SOURCE, b'a,b\n"1,2\n'), "can't be read"),
    "wrong encoding": (["ingest"], write(SOURCE, HEADER + b"\xff\xfe"), "can't be read"),
    "binary file": (["ingest"], write(SOURCE, bytes(range(256)) * 9), "can't be read"),
    "empty file": (["ingest"], write(SOURCE, b""), "can't be read"),
    "empty table": (["ingest"], write(SOURCE, HEADER), "holds no row"),
    "unknown csv option": (["ingest"], replace("params.yaml", r"csv: \{\}", "csv: {separator: ';'}"), "separator"),
    "nothing before until": (
        ["ingest"],
        replace("params.yaml", "2013-07-01", "2012-07-01"),
        "the first row is of 2013-01-01",
    ),
    "wrong type": (
        ["ingest", "prepare"],
        replace(SOURCE, r",LGA,([A-Z]{3}),\d+", r",LGA,\1,far"),
        "distance is no integer in",
    ),
    "out of range": (["ingest", "prepare"], replace(SOURCE, r"1389,", "-1389,"), "distance is below 10 mi in"),
    "not allowed": (["ingest", "prepare"], replace(SOURCE, ",JFK,", ",QQQ,"), "origin is none of the allowed values"),
    "key not unique": (["ingest", "prepare"], replace(SOURCE, r"(?m)^AA\d+LGA", "AA1LGA"), "should identify a row"),
    "one class": (
        ["ingest", "prepare"],
        write(SOURCE, HEADER + b"".join(ROW % (i, b"yes") for i in range(50))),
        "always True",
    ),
    "no target": (
        ["ingest", "prepare"],
        write(SOURCE, HEADER + b"".join(ROW % (i, b"") for i in range(50))),
        "0 training rows",
    ),
    "one row": (["ingest", "prepare"], write(SOURCE, HEADER + ROW % (1, b"yes")), "expected at least 2"),
    "unknown estimator": (
        ["train"],
        replace("params.yaml", "HistGradientBoosting", "Gradient"),
        "train.estimator is sklearn.ens",
    ),
    "unknown parameter": (
        ["train"],
        replace("params.yaml", "max_iter", "iterations"),
        "train.parameters.iterations is no param",
    ),
    "bad parameter": (
        ["train"],
        replace("params.yaml", "max_iter: 200", "max_iter: -1"),
        "refuses to train: .*max_iter",
    ),
    "regressor for classes": (
        ["train"],
        replace("params.yaml", "ensemble.HistG\\w+", "linear_model.Ridge"),
        "holds classes",
    ),
    "unknown key": (["prepare"], replace("params.yaml", "test_share", "test_part"), "prepare.test_share is missing"),
    "value out of bounds": (
        ["prepare"],
        replace("params.yaml", "test_share: 0.2", "test_share: 1.2"),
        "test_share is 1.2; expec",
    ),
    "params no YAML": (["train"], replace("params.yaml", "train:", "train: ["), "params.yaml is not valid YAML"),
    "params empty": (["train"], write("params.yaml", b""), "params.yaml: the file is None; expected"),
    "contract no YAML": (
        ["ingest"],
        replace("contract.yaml", "columns:", "columns"),
        "contract.yaml is not valid YAML",
    ),
    "unknown role": (
        ["ingest"],
        replace("contract.yaml", "role: key", "role: id"),
        "columns.flight_id.role is 'id'; expected 'key'",
    ),
    "unknown fact": (
        ["ingest"],
        replace("contract.yaml", "unit: mi\n    min", "units: mi\n    min"),
        "distance.units is not a known",
    ),
    "two targets": (
        ["ingest"],
        replace("contract.yaml", "carrier:\n    role: feature", "carrier:\n    role: target"),
        "exactly one column with role target, found",
    ),
    "slice of nothing": (
        ["evaluate"],
        replace("params.yaml", "origin, carrier", "airport"),
        "evaluate.slices names airport",
    ),
    "model missing": (
        ["evaluate"],
        lambda root: (root / "models/judged.skops").unlink(),
        "models/judged.skops is missing; `make rep",
    ),
    "model broken": (["evaluate"], write("models/judged.skops", b"none"), "is no model that can be loaded"),
}


@pytest.fixture
def stages(reproduced, project, tmp_path):
    """A copy of what the stages read and write, which the test may change."""
    for name in ("contract.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy(reproduced.path / name, tmp_path)
    for name in (".mlflow", "data", "example", "models", "reports"):
        shutil.copytree(reproduced.path / name, tmp_path / name)
    (tmp_path / "src").symlink_to(project / "src")
    return type(reproduced)(tmp_path)


OUTPUTS = {"ingest": "data/raw.parquet", "prepare": "data/train.parquet", "train": "models/model.skops"}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_sentence(stages, case):
    verbs, change, sentence = CASES[case]
    change(stages.path)
    for verb in verbs[:-1]:
        stages.verb(verb)
    output = stages.path / OUTPUTS.get(verbs[-1], "reports/report.html")
    before = output.read_bytes()
    status, printed = stages.attempt(verbs[-1])  # an exception that is no sentence comes out of it
    assert status == 1
    (line,) = printed.splitlines()
    assert re.match(f"error: .*{sentence}", line), line
    assert output.read_bytes() == before
    assert not [path for path in output.parent.iterdir() if path.name.startswith(".") and path.name != ".gitignore"]


def test_a_fault_that_is_no_mistake_of_the_user_keeps_its_traceback(stages, monkeypatch):
    """Or the test above could not fail."""

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("modelcycle.pipeline.ingest.read_source", fail)
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        stages.attempt("ingest")


def test_a_store_out_of_reach_is_named_before_the_training(stages):
    (stages.path / "models/model.skops").unlink()
    printed = stages.verb(
        "train", fails=True, MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
    )
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: The tracking store http://127.0.0.1:9 does not answer: ")
    assert not (stages.path / "models/model.skops").exists()


def test_rejects_are_kept_with_their_reason_and_the_rest_goes_on(stages):
    replace(SOURCE, r"(?m)^(AA707LGA0101,.*),55,", r"\1,155,")(stages.path)
    stages.verb("ingest")
    unlabelled = pd.read_parquet(stages.path / "data/raw.parquet")["late"].isna().sum()
    printed = stages.verb("prepare")
    assert re.match(rf"prepare +18,330 rows, 1 rejected, {unlabelled} without a target +data/rejects.csv\n", printed)
    (header, reject) = stages.read("data/rejects.csv").splitlines()
    assert header.startswith("row,reason,flight_id")
    assert "humidity is above 100 %,AA707LGA0101" in reject


def test_too_many_rejects_stop_the_pipeline_and_name_column_rule_count_and_examples(stages):
    replace(SOURCE, r",LGA,", ",lga,")(stages.path)
    stages.verb("ingest")
    before = (stages.path / "data/train.parquet").read_bytes()
    (error,) = stages.verb("prepare", fails=True).splitlines()
    assert re.search(r"origin is none of the allowed values in [\d,]+ of 18,330 rows, e.g. lga", error)
    assert "prepare.max_rejected in params.yaml allows 1.0%" in error
    assert len(stages.read("data/rejects.csv").splitlines()) > 1000
    assert (stages.path / "data/train.parquet").read_bytes() == before
