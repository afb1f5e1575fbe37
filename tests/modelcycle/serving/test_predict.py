import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from modelcycle.core.errors import InputError
from modelcycle.core.project import Project
from modelcycle.core.team import make_features
from modelcycle.serving import predict
from modelcycle.tracking.bundle import Bundle


@pytest.fixture
def bundle(contract, rows):
    """A version whose answer is always the same."""
    model = DummyClassifier().fit(rows[["order"]], rows["returned"] == "yes")
    facts = {"git_commit": "0" * 40, "md5.model": "0" * 32}
    return Bundle("1", facts, contract, model, make_features, Project(package="orders"), {}, {})


@pytest.fixture
def run(bundle, tmp_path):
    """Predict a table: gives the output, its manifest and the list of rejected rows."""

    def run(table, name="new.csv", output="out.csv", chunk_rows=7):
        source, target = tmp_path / name, tmp_path / output
        table.to_csv(source, index=False) if source.suffix == ".csv" else table.to_parquet(source)
        predict.report_result(target, *predict.predict_file(source, target, name, name, bundle, {}, chunk_rows))
        manifest, rejects, parts = predict.companion_paths(target)
        assert not parts.exists()
        read = pd.read_csv if target.suffix == ".csv" else pd.read_parquet
        return read(target), json.loads(manifest.read_text()), pd.read_csv(rejects) if rejects.exists() else None

    return run


def test_each_row_is_answered_in_order_with_its_key(run, rows):
    answers, manifest, rejects = run(rows.drop(columns=["returned", "note"]))
    assert answers["order"].tolist() == list(range(60))
    assert answers["prediction"].all()
    assert answers["probability_True"].tolist() == [0.75] * 60
    assert manifest["rows"] == manifest["predicted"] == 60
    assert rejects is None


def test_csv_and_parquet_give_the_same(run, rows):
    typed = rows.assign(order=rows["order"].astype(int), price=rows["price"].astype(float))
    expected = run(rows)[0]
    assert run(typed, "new.parquet", "out.parquet")[0].equals(expected)
    assert run(typed, "new.parquet", "other.csv")[0].equals(expected)


def test_rows_without_a_key_and_rows_that_repeat_are_answered(run, rows):
    twice = pd.concat([rows, rows]).drop(columns="order")
    assert list(run(twice)[0]) == ["prediction", "probability_False", "probability_True"]
    assert len(run(twice)[0]) == 120


def test_a_row_that_breaks_the_contract_is_listed_as_it_is_and_the_others_are_answered(run, rows):
    rows.loc[[3, 50], "price"] = ["101", "many"]
    rows.loc[50, "shop"] = "Rome"
    answers, manifest, rejects = run(rows)
    assert answers["order"].tolist() == [i for i in range(60) if i not in (3, 50)]
    assert rejects["row"].tolist() == [3, 50]
    assert rejects["price"].tolist() == ["101", "many"]
    reasons = {"price is above 100 EUR": 1, "price is no number; shop is none of the allowed values": 1}
    assert manifest["rejected"] == reasons
    assert manifest["predicted"] == 58


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_no_row_and_no_good_row_give_an_output_without_rows(run, rows, name):
    answers, manifest, rejects = run(rows[:0], name, "out.parquet")
    assert len(answers) == manifest["rows"] == 0
    assert "probability_True" in answers
    answers, manifest, rejects = run(rows.assign(shop="Rome"), name, "out.parquet")
    assert len(answers) == 0
    assert len(rejects) == 60


def test_a_run_that_stopped_goes_on_with_the_same_bytes(run, rows, bundle, tmp_path, monkeypatch):
    rows.loc[[3, 50], "price"] = ["101", "102"]
    run(rows)
    expected = {path.name: path.read_bytes() for path in tmp_path.glob("out.csv*")}
    for path in expected:
        (tmp_path / path).unlink()
    write_part, written = predict.write_part, []

    def stopping(checked, rejects, made_by, part):
        written.append(part.name)
        if len(written) == 5:
            raise KeyboardInterrupt
        write_part(checked, rejects, made_by, part)

    monkeypatch.setattr(predict, "write_part", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(rows)
    assert not list(tmp_path.glob("out.csv*"))
    run(rows)
    assert len(written) == len(set(written)) + 1 == 10  # only the one that was not finished was done again
    for name in ("out.csv", "out.csv.rejects.csv"):
        assert (tmp_path / name).read_bytes() == expected[name]


def test_what_is_done_is_left_until_input_or_version_change(run, rows, bundle, tmp_path, capsys):
    def says():
        run(rows)
        return capsys.readouterr().out

    assert "60 rows" in says()
    assert "already" in says()
    rows = rows[:50]
    assert "50 rows" in says()
    bundle.version = "2"
    assert "50 rows, 0 rejected, version 2" in says()
    (tmp_path / "out.csv").write_text("damaged")
    assert "50 rows" in says()


def test_a_missing_column_is_named_with_those_there_are(run, rows):
    for name in ("new.csv", "new.parquet"):
        with pytest.raises(InputError, match=r"has no column 'shop', .* as feature\. Columns: order, at, price, Shop"):
            run(rows.rename(columns={"shop": "Shop"}), name)


@pytest.mark.parametrize(
    ("inputs", "output", "complaint"),
    [
        (["none.csv"], "out.csv", "none.csv does not exist"),
        (["a.csv"], "out.xlsx", "out.xlsx is no CSV or Parquet file"),
        (["b.txt"], "out.csv", "b.txt is no CSV or Parquet file"),
        (["a.csv"], "folder", "folder is no CSV or Parquet file"),
        (["a.csv"], "a.csv", "a.csv would be overwritten"),
        (["a.csv"], "folder/../a.csv", "a.csv would be overwritten"),
        (["a.csv", "folder/c.csv"], ".", "a.csv would be overwritten"),
        (["a.csv", "folder"], "out", "a.csv would be overwritten: it is an input, or two inputs have this name"),
        (["a.csv", "folder/c.csv"], "out.csv", "out.csv is a file's name; expected a folder's"),
        (["empty"], "out", "empty holds no file that ends in"),
    ],
)
def test_names_that_do_not_fit_together_are_refused(tmp_path, monkeypatch, inputs, output, complaint):
    monkeypatch.chdir(tmp_path)
    for name in ("folder/a.csv", "folder/c.csv", "a.csv", "b.txt", "empty/b.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("x")
    with pytest.raises(InputError, match=complaint):
        predict.pair_files([Path(name) for name in inputs], Path(output))


RUN_AND_STOP = """
import sys
from pathlib import Path
from sklearn.dummy import DummyClassifier
from modelcycle.core.contract import Contract
from modelcycle.core.project import Project
from modelcycle.serving import predict
from modelcycle.tracking.bundle import Bundle
version, source, output, contract = sys.argv[1:]
model = DummyClassifier().fit([[0], [1]], [True, False])
facts = {"git_commit": "0" * 40, "md5.model": "0" * 32}
contract = Contract.model_validate_json(contract)
make_features = lambda rows, contract: rows[["price"]]
bundle = Bundle(version, facts, contract, model, make_features, Project(package="orders"), {}, {})
write_part = predict.write_part

def stopping(rows, rejects, made_by, part):
    write_part(rows, rejects, made_by, part)
    if part.stem == "000004":
        print("stopped", flush=True)
        input()

predict.write_part = stopping
predict.report_result(Path(output), *predict.predict_file(Path(source), Path(output), source, "", bundle, {}, 7))
"""


@pytest.fixture
def start_and_stop(tmp_path, contract):
    """Start to predict new.csv into out.csv in a process of its own, which waits after five parts."""

    def start(version):
        files = [str(tmp_path / "new.csv"), str(tmp_path / "out.csv")]
        command = [sys.executable, "-c", RUN_AND_STOP, version, *files, contract.model_dump_json()]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        assert process.stdout.readline() == "stopped\n"
        return process

    return start


def test_a_run_beside_another_one_leaves_its_parts(run, rows, bundle, tmp_path, start_and_stop):
    run(rows)
    other = start_and_stop("2")
    parts = sorted(tmp_path.rglob("*.parquet"))
    assert len(parts) == 5
    for bundle.version in ("1", "2"):  # the one that has predicted this input already, and the same again
        with pytest.raises(InputError, match=r"Another run is writing .*out.csv; wait until it is done\.$"):
            run(rows)
    assert sorted(tmp_path.rglob("*.parquet")) == parts
    assert "60 rows, 0 rejected, version 2" in other.communicate("\n")[0]
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "out.csv", "out.csv.manifest.json"}


def test_what_a_killed_run_has_done_is_left_for_it_to_go_on(run, rows, bundle, tmp_path, start_and_stop):
    run(rows)
    killed = start_and_stop("2")
    killed.kill()
    killed.communicate()
    with pytest.raises(AssertionError, match="exists"):  # the fixture's: its parts are still there
        run(rows)
    assert len(list(tmp_path.rglob("*.parquet"))) == 5
    bundle.version = "2"
    run(rows)
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "out.csv", "out.csv.manifest.json"}
