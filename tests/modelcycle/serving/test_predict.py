import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from modelcycle.core.errors import InputError
from modelcycle.serving import predict


@pytest.fixture
def run(bundle, tmp_path):
    """Predict a table: gives the output, its manifest and the list of rejected rows."""

    def run(table, name="new.csv", output="out.csv", chunk_rows=15):
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


def test_what_training_never_held_is_answered_where_no_rule_forbids_it(run, rows, bundle):
    bundle.contract.columns["price"].max = bundle.contract.columns["shop"].values = None
    rows.loc[3, ["price", "shop", "at"]] = ["1e6", "Rome", "2031-12-31"]
    answers, manifest, rejects = run(rows)
    assert (len(answers), manifest["rejected"], rejects) == (60, {}, None)


def test_a_row_that_breaks_the_contract_is_listed_as_it_is_and_the_others_are_answered(run, rows, capsys):
    rows.loc[[3, 50], "price"] = ["101", "many"]
    rows.loc[50, "shop"] = "Rome"
    answers, manifest, rejects = run(rows)
    assert answers["order"].tolist() == [i for i in range(60) if i not in (3, 50)]
    assert list(rejects) == ["row", "reason", *rows.columns]
    assert rejects["row"].tolist() == [3, 50]
    assert rejects["price"].tolist() == ["101", "many"]
    reasons = {"price is above 100 EUR": 1, "price is no number; shop is none of the allowed values": 1}
    assert manifest["rejected"] == reasons
    assert manifest["predicted"] == 58
    first, *_ = reasons
    assert f"{first} in 1 rows, ..." in capsys.readouterr().out
    run(rows[:50])
    assert f"{first} in 1 rows  " in capsys.readouterr().out  # a single reason


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_no_row_and_no_good_row_give_an_output_without_rows(run, rows, name):
    answers, manifest, rejects = run(rows[:0], name, "out.parquet")
    assert len(answers) == manifest["rows"] == 0
    assert "probability_True" in answers
    answers, manifest, rejects = run(rows.assign(shop="Rome"), name, "out.parquet")
    assert len(answers) == 0
    assert len(rejects) == 60


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_run_that_stopped_goes_on_with_the_same_bytes(run, rows, tmp_path, monkeypatch, name):
    rows.loc[[3, 50], "price"] = ["101", "102"]
    run(rows, output=name)
    expected = {path.name: path.read_bytes() for path in tmp_path.glob(f"{name}*")}
    for path in expected:
        (tmp_path / path).unlink()
    write_part, written = predict.write_part, []

    def stopping(checked, rejects, made_by, part):
        written.append(part.name)
        if len(written) == 2:
            raise KeyboardInterrupt
        write_part(checked, rejects, made_by, part)

    monkeypatch.setattr(predict, "write_part", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(rows, output=name)
    assert not list(tmp_path.glob(f"{name}*"))
    run(rows, output=name)
    assert len(written) == len(set(written)) + 1 == 5  # only the one that was not finished was done again
    for path in (name, f"{name}.rejects.csv"):
        assert (tmp_path / path).read_bytes() == expected[path]


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


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("bad.csv", b"", "can't be read: No columns to parse from file"),
        ("bad.csv", b"\xff\xfe\x00\x81", "can't be read: 'utf-8' codec can't decode"),
        ("bad.csv", b"a,b\n1,2\n", "has no column 'at', which contract.yaml names as time. Columns: a, b."),
        ("bad.csv", b"a,b\n1,2\n1,2,3\n", "can't be read: Error tokenizing data"),
        (
            "bad.csv",
            b"a,b\n1,2,3\n1,2,3\n",
            "has rows with more fields than its header has names; expected a name for each",
        ),
        ("bad.parquet", b"PAR1 but no more", "can't be read: Parquet"),
    ],
    ids=["empty", "no text", "other columns", "ragged", "surplus fields", "broken parquet"],
)
def test_a_bad_input_is_one_sentence_and_leaves_no_output(bundle, tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"^{re.escape(f'{tmp_path / name} {sentence}')}[^\n]*$"):
        predict.predict_file(tmp_path / name, tmp_path / "out.csv", name, "", bundle, {}, 15)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_options_of_the_csv_file_count_and_changing_them_predicts_again(bundle, rows, tmp_path):
    rows.to_csv(tmp_path / "new.csv", index=False, sep=";")
    for csv, is_new in [({"sep": ";"}, True), ({"sep": ";"}, False), ({"sep": ";", "dtype": "str"}, True)]:
        given = predict.predict_file(tmp_path / "new.csv", tmp_path / "out.csv", "new.csv", "", bundle, csv, 15)
        assert (given[0]["predicted"], given[1]) == (60, is_new)


def test_an_input_that_changes_while_it_is_read_is_named(bundle, rows, tmp_path, monkeypatch):
    rows.to_csv(tmp_path / "new.csv", index=False)
    check_rows = predict.check_rows

    def changing(rows, contract, path):
        with path.open("a") as file:
            file.write("x")
        return check_rows(rows, contract, path)

    monkeypatch.setattr(predict, "check_rows", changing)
    with pytest.raises(InputError, match=r"new.csv was changed while it was read; predict it again\.$"):
        predict.predict_file(tmp_path / "new.csv", tmp_path / "out.csv", "new.csv", "", bundle, {}, 15)
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


@pytest.fixture
def stop_after_two(monkeypatch):
    """Let version 2 wait after two parts; gives an event that is set then, and one on which it goes on."""
    write_part, stopped, go_on = predict.write_part, threading.Event(), threading.Event()

    def stopping(rows, rejects, made_by, part):
        write_part(rows, rejects, made_by, part)
        if made_by.version == "2" and part.stem == "000001":
            stopped.set()
            assert go_on.wait(20)

    monkeypatch.setattr(predict, "write_part", stopping)
    return stopped, go_on


def test_a_run_beside_another_one_leaves_its_parts(run, rows, bundle, tmp_path, stop_after_two):
    stopped, go_on = stop_after_two
    run(rows)
    with ThreadPoolExecutor(1) as other:
        bundle.version = "2"
        first = other.submit(run, rows)
        assert stopped.wait(20)
        parts = sorted(tmp_path.rglob("*.parquet"))
        assert len(parts) == 2
        for version in ("1", "2"):  # the one that has predicted this input already, and the same again
            with pytest.raises(InputError, match=r"Another run is writing .*out.csv; wait until it is done\.$"):
                predict_again(replace(bundle, version=version), tmp_path)
        assert sorted(tmp_path.rglob("*.parquet")) == parts
        go_on.set()
        assert first.result()[1]["version"] == "2"
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "out.csv", "out.csv.manifest.json"}


def predict_again(bundle, folder):
    return predict.predict_file(folder / "new.csv", folder / "out.csv", "new.csv", "", bundle, {}, 15)


def test_what_a_stopped_run_has_done_is_left_for_it_to_go_on(run, rows, bundle, tmp_path, monkeypatch):
    run(rows)
    write_part, newer = predict.write_part, replace(bundle, version="2")

    def stopping(rows, rejects, made_by, part):
        if part.stem == "000002":
            raise KeyboardInterrupt
        write_part(rows, rejects, made_by, part)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict, "write_part", stopping)
        predict_again(newer, tmp_path)
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert predict_again(bundle, tmp_path)[1] is False  # which was done already
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert predict_again(newer, tmp_path)[1] is True
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "out.csv", "out.csv.manifest.json"}


# The verb


@pytest.fixture(scope="module")
def flights(first_release, tmp_path_factory):
    """The first release with its test rows in data/new.csv, which git ignores, and what it has predicted for them."""
    flights = first_release.copy_to(tmp_path_factory.mktemp("predict"))
    table = pd.read_parquet(flights.path / "data/test.parquet").drop(columns="late")
    table.to_csv(flights.path / "data/new.csv", index=False)
    (flights.path / "data/days").mkdir()
    for day in range(3):
        table[day * 1200 : (day + 1) * 1200].to_csv(flights.path / f"data/days/{day}.csv", index=False)
    return flights, pd.read_parquet(flights.path / "reports/predictions.parquet").drop(columns="late")


def test_predictions_are_those_of_the_pipeline_and_the_manifest_says_what_they_were_made_from(flights):
    project, expected = flights
    printed = project.verb("predict", "data/new.csv", "data/out.parquet", "--chunk-rows", "1000")
    assert "predict   3,517 rows, 0 rejected, version 1" in printed
    pd.testing.assert_frame_equal(pd.read_parquet(project.path / "data/out.parquet"), expected)
    manifest = json.loads(project.read("data/out.parquet.manifest.json"))
    assert manifest["input"] == "data/new.csv"
    assert manifest["rows"] == manifest["predicted"] == 3517
    assert manifest["git_commit"] == project.run("git", "rev-parse", "HEAD").strip()


def test_a_folder_becomes_a_folder_and_a_changed_input_alone_is_predicted_again(flights):
    project, expected = flights
    assert project.verb("predict", "data/days", "data/answers", "--version", "1").count(" rows, 0 rejected") == 3
    tables = [pd.read_csv(project.path / f"data/answers/{day}.csv") for day in range(3)]
    pd.testing.assert_frame_equal(pd.concat(tables, ignore_index=True), expected)
    (project.path / "data/answers/1.csv").unlink()
    printed = project.verb("predict", "data/days/0.csv", "data/days/1.csv", "data/answers").splitlines()
    assert "version 1 has predicted this input already" in printed[0]
    assert "1,200 rows, 0 rejected, version 1" in printed[1]


@pytest.mark.slow
def test_a_cluster_predicts_the_same(flights):
    from distributed import LocalCluster

    project, expected = flights
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        printed = project.verb("predict", "data/days", "data/spread", DASK_SCHEDULER_ADDRESS=address)
    assert printed.count(" rows, 0 rejected, version 1") == 3
    tables = [pd.read_csv(project.path / f"data/spread/{day}.csv") for day in range(3)]
    pd.testing.assert_frame_equal(pd.concat(tables, ignore_index=True), expected)


@pytest.mark.slow
def test_an_output_is_traced_by_its_manifest_until_a_byte_of_it_changes(flights):
    project, _ = flights
    project.verb("predict", "data/days/2.csv", "data/traced.csv")
    first, version, *_ = project.verb("trace", "data/traced.csv").splitlines()
    assert re.match(r"data/traced.csv .* from data/days/2.csv md5 [0-9a-f]{32}$", first)
    assert version.startswith("version 1 (champion)")
    output = project.path / "data/traced.csv"
    output.write_bytes(output.read_bytes().replace(b"0.1", b"0.2", 1))
    printed = project.verb("trace", "data/traced.csv", fails=True)
    assert printed.startswith("error: The trace of data/traced.csv is broken:\n  its md5 is")
    assert "1,117 rows" in project.verb("predict", "data/days/2.csv", "data/traced.csv")
    assert "version 1 (champion)" in project.verb("trace", "data/traced.csv")


def test_a_fault_in_the_settings_of_the_service_does_not_stop_a_prediction(flights):
    project, _ = flights
    printed = project.verb("predict", "data/test.parquet", "data/alone.parquet", SERVE_PORT="high", SERVE_KEYS="?")
    assert "0 rejected, version 1" in printed


def test_an_unknown_version_and_no_champion_are_named(flights, reproduced):
    printed = flights[0].verb("predict", "data/new.csv", "data/no.csv", "--version", "9", fails=True)
    assert printed == "error: There is no version '9'. Versions: 1.\n"
    printed = reproduced.verb("predict", "example/flights.csv", "data/no.csv", fails=True)
    assert printed == "error: There is no champion yet; `make release` makes one.\n"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.csv", "data/none.csv does not exist; expected a CSV or Parquet file, or a folder of them."),
        ("bad.xlsx", "data/bad.xlsx is no CSV or Parquet file; expected a name that ends in .csv or .parquet."),
    ],
)
def test_a_name_that_can_not_be_is_refused_before_anything_is_loaded(flights, name, sentence):
    (flights[0].path / "data/bad.xlsx").write_bytes(b"PK")
    assert flights[0].verb("predict", f"data/{name}", "data/no.csv", fails=True) == f"error: {sentence}\n"
