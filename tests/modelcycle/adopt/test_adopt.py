"""`adopt` takes a team's table as it is: after it, the stages pass with no line of code changed."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from dvc.cli import main
from ruamel.yaml import YAML

from modelcycle.core.errors import InputError
from support.tables import TABLES, read_columns, tiny

FLIGHTS = ("--target", "late", "--key", "flight_id", "--time", "scheduled_departure")


@pytest.fixture
def dvc(monkeypatch) -> Callable[..., None]:
    """Give DVC's command in this process, also to `adopt`: as a program of its own it takes ten times as long."""

    def run(*words: object) -> None:
        if main(["--quiet", *map(str, words)]):
            raise InputError(f"dvc {words} failed")

    monkeypatch.setattr("modelcycle.adopt.adopt.run", lambda _, *words: run(*words))
    return run


@pytest.fixture(autouse=True)
def chosen(monkeypatch) -> None:
    """Leave the choice of the model, which takes long, to test_choose_model.py."""
    choice = ("sklearn.ensemble.HistGradientBoosting", {}, "train.estimator: chosen")
    monkeypatch.setattr("modelcycle.adopt.adopt.choose_model", lambda *_: choice)


@pytest.fixture
def fresh(baked, tmp_path):
    return baked.copy_to(tmp_path)


@pytest.fixture(scope="module")
def untouched(baked, tmp_path_factory):
    """A bake for what is to leave it as it is."""
    return baked.copy_to(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def people(tmp_path) -> Path:
    tiny(tmp_path / "people.csv")
    return tmp_path / "people.csv"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iris", "tiny", "cancer", "diabetes", "linnerud", "messy", "panel", "wine"])
def test_the_stages_pass_on_the_table(reproduced, tmp_path, dvc, name):
    table, project = TABLES[name], reproduced.copy_to(tmp_path)
    table.check(project, project.verb(*table.command(tmp_path)))
    project.replace("params.yaml", "parameters: {}", "parameters: {max_iter: 30}")
    project.reproduce()
    assert json.loads(project.read("reports/metrics.json"))["rows"] >= 2
    table.check_metrics(project)
    if not table.better_than_guessing:
        assert "UNDECIDED better than guessing: " in project.verb("gate", fails=True)


@pytest.mark.slow
def test_the_example_itself_is_understood(fresh, dvc):
    """What is inferred from the flights is what their contract says, but for units and ranges."""
    known = read_columns(fresh)
    fresh.verb("adopt", "example/flights.csv", *FLIGHTS)
    for name, column in read_columns(fresh).items():
        assert column["role"] == known[name]["role"], name
        assert column["type"] == known[name]["type"], name
        assert column.get("nullable", False) == known[name].get("nullable", False), name
        assert not {"min", "max", "values"} & set(column), name
        assert column.get("parts") == known[name].get("parts"), name


def test_the_parameters_point_at_the_table_and_forget_what_was_found_for_the_example(fresh, dvc, people):
    (fresh.path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")  # of the example's results
    printed = fresh.verb("adopt", str(people), "--target", "weight")
    assert not (fresh.path / "dvc.lock").exists()
    params = YAML(typ="safe", pure=True).load(fresh.read("params.yaml"))
    assert params["ingest"] == {
        **{"source": "data/people.csv", "database": None, "until": None},
        "csv": {"sep": ",", "encoding": "utf-8-sig"},
    }
    train = params["train"]
    assert (train["estimator"], train["parameters"]) == ("sklearn.ensemble.HistGradientBoosting", {})
    assert params["evaluate"]["slices"] == ["team"]
    assert params["prepare"]["holdout"] == {"by": "key", "columns": ["height", "team"]}
    assert [params["gate"][name] for name in ("bound", "too_good", "behaviour")] == [None, None, []]
    text = fresh.read("contract.yaml")
    assert text.startswith("# Inferred from a sample: correct what is wrong")
    assert "  team:\n    role: feature\n    type: category # the sample: ['x', 'y']\n" in text
    assert re.search(r"  height:\n    role: feature\n    type: number # the sample: 1\d\d\.\d+ to 1\d\d\.\d+\n", text)
    assert "description: Predicts weight from the columns of people.csv.\n" in fresh.read("contract.yaml")
    assert [" ".join(line.split()) for line in printed.splitlines()] == [
        "adopt 50 rows, 3 columns data/people.csv",
        "weight as an amount, 2 features contract.yaml",
        "held out for testing by key: rows drawn by all inputs together, as if they were independent",
        "train.estimator: chosen",
        "read contract.yaml and commit, then `make cycle`",
    ]
    assert not (fresh.path / "dvc.lock").exists()


def test_what_the_sample_never_held_is_not_rejected_until_somebody_writes_a_rule(fresh, dvc, people):
    fresh.verb("adopt", str(people), "--target", "weight")
    with (fresh.path / "data/people.csv").open("a") as table:
        table.write("1700,z,99\n")
    fresh.verb("ingest")
    assert re.match(r"prepare +51 rows, 0 rejected", fresh.verb("prepare"))
    fresh.replace("params.yaml", "max_rejected: 0.01", "max_rejected: 0.5")
    text = fresh.read("contract.yaml")
    for name, sample, rule in (
        ("z", r"# the sample: (\['x', 'y'\])", r"\n    values: \1"),
        ("1700", r"# the sample: (\S+) to (\S+)", r"\n    min: \1\n    max: \2"),
    ):
        (fresh.path / "contract.yaml").write_text(re.sub(sample, rule, text, count=1))
        assert re.match(r"prepare +51 rows, 1 rejected", fresh.verb("prepare"))
        assert name in fresh.read("data/rejects.csv")


@pytest.mark.slow
def test_a_column_that_the_contract_does_not_know_is_named_at_each_ingest_and_added_as_the_docs_say(fresh, dvc, people):
    fresh.verb("adopt", str(people), "--target", "weight")
    assert "not used" not in fresh.verb("ingest")
    rows = pd.read_csv(people).assign(discount=[None] * 20 + [0.5, 1.0, 1.5] * 10, internal_note="by hand")
    rows.to_csv(fresh.path / "data/people.csv", index=False)
    for _ in range(2):
        page = "docs/crisp-dm/2_data_understanding.md"
        printed = " ".join(fresh.verb("ingest").split())
        assert f"not used, since contract.yaml does not know them: discount, internal_note {page}" in printed
    lines = re.search(r"```yaml\ncolumns:\n(.+?)```", fresh.read(page), re.DOTALL)[1]
    with (fresh.path / "contract.yaml").open("a") as contract:
        contract.write(lines)
    assert "not used" not in fresh.verb("ingest")
    fresh.verb("prepare")
    assert "3 features" in fresh.verb("train")


@pytest.mark.slow
def test_adopting_twice_gives_the_same_and_a_newer_file_replaces_the_older(fresh, dvc, people):
    adopt = ("adopt", str(people), "--target", "weight")
    fresh.verb(*adopt)
    fresh.commit()
    fresh.verb(*adopt)
    assert fresh.run("git", "status", "--porcelain") == ""
    fresh.replace("params.yaml", "parameters: {}", "parameters: {max_iter: 10}")
    fresh.commit()
    tiny(people, seed=1)
    fresh.verb(*adopt)
    assert "data/people.csv.dvc" in fresh.run("git", "status", "--porcelain")
    assert "parameters: {max_iter: 10}" in fresh.read("params.yaml")  # found for this table, not for the example


@pytest.mark.slow
def test_what_is_guessed_from_the_order_of_the_rows_is_told(fresh, dvc, people):
    table = pd.read_csv(people).assign(ward=[f"w{i // 5}" for i in range(50)])
    table["seen"] = pd.date_range("2024-01-01", periods=50).strftime("%Y-%m-%d")
    table.to_csv(people, index=False, sep=";", decimal=",")
    printed = fresh.verb("adopt", str(people), "--target", "weight")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "seen: is the rows' time, since they are in its order; --time names another" in lines
    assert "ward: its values follow one another in blocks; if each is a case of its own, --group ward" in lines
    assert any(line.startswith("numbers have the decimal separator ',': ") for line in lines)
    assert read_columns(fresh)["seen"]["role"] == "time"
    printed = fresh.verb("adopt", str(people), "--target", "weight", "--group", "ward", "--force")
    assert "held out for testing by group: all rows of some ward, since the rows of one are alike" in printed
    assert "its values follow one another" not in printed
    printed = fresh.verb("adopt", str(people), "--target", "weight", "--time", "seen", "--holdout", "key", "--force")
    assert "since they are in its order" not in printed
    assert "held out for testing by key: " in printed


def test_a_parquet_file_is_taken_with_its_types(fresh, dvc, people):
    table = pd.read_csv(people).assign(team=lambda rows: pd.Categorical(rows["team"]), smokes=[True, False] * 25)
    table.to_parquet(people.with_suffix(".parquet"))
    fresh.verb("adopt", str(people.with_suffix(".parquet")), "--target", "weight")
    types = {name: column["type"] for name, column in read_columns(fresh).items()}
    assert types == {"height": "number", "team": "category", "weight": "number", "smokes": "boolean"}
    assert "csv: {}" in fresh.read("params.yaml")
    assert "50 rows of 50, 4 columns" in fresh.verb("ingest")


def test_the_parts_of_dates_are_told_with_those_that_are_left_out_and_why(fresh, dvc, people):
    days = pd.date_range("2020-02-28", periods=50, freq="20D")
    table = pd.read_csv(people).assign(born=days.strftime("%d.%m.%Y"), seen=pd.date_range("2024-01-01", periods=50))
    table.to_csv(people, index=False)
    printed = fresh.verb("adopt", str(people), "--target", "weight", "--time", "seen")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    same_hour = "hour (the time of day is always the same)"
    seasons = "year, month, day_of_year (the data spans 49 days)"
    assert f"born: year, month, day_of_year, weekday, age; left out: {same_hour}" in lines
    assert f"seen: weekday; left out: {seasons}; {same_hour}; age (no other column has the role time)" in lines
    assert "type: datetime # the sample: 2020-02-28 00:00:00 to 2022-11-04 00:00:00" in fresh.read("contract.yaml")
    assert read_columns(fresh)["born"]["parts"] == ["year", "month", "day_of_year", "weekday", "age"]


def test_a_table_that_lies_where_it_goes_stays_there(fresh, dvc, people):
    (fresh.path / "data").mkdir(exist_ok=True)
    shutil.move(people, fresh.path / "data/people.csv")
    fresh.verb("adopt", "data/people.csv", "--target", "weight", "--force")
    assert (fresh.path / "data/people.csv.dvc").exists()
    assert len(pd.read_csv(fresh.path / "data/people.csv")) == 50


def test_the_adopted_table_goes_to_the_remote_and_comes_back(fresh, dvc, people, monkeypatch):
    fresh.verb("adopt", str(people), "--target", "weight")
    fresh.commit()
    monkeypatch.chdir(fresh.path)
    dvc("push")
    shutil.rmtree(".dvc/cache")
    Path("data/people.csv").unlink()
    dvc("pull", "data/people.csv.dvc")
    assert Path("data/people.csv").read_bytes() == people.read_bytes()


ROWS = "1,x\n2,y\n" * 30


BAD_TABLES = {
    "no such target": (f"a,c\n{ROWS}", [], "has no column 'b'. Columns: a, c."),
    "two roles": (f"a,b\n{ROWS}", ["--key", "b"], "'b' is named for two roles"),
    "no dates": (f"a,b\n{ROWS}", ["--time", "a"], "the column 'a' holds no readable dates, e.g. 1"),
    "key not unique": (
        "a,b,c\n" + "1,x,5\n2,y,5\n1,y,6\n2,x,6\n" * 30,
        ["--key", "a"],
        "a should identify a row, but 2 rows repeat",
    ),
    "one class": ("a,b\n" + "1,x\n2,x\n" * 30, [], "The target 'b' has 1 values"),
    "no class": ("a,b\n" + "1,\n2,\n" * 30, [], "The target 'b' has 0 values"),
    "a constant": ("a,b\n" + "1,x\n1,y\n" * 30, [], "leaves no column to predict 'b' from. a is always 1"),
    "a leak": (f"a,b\n{ROWS}", [], "a tells b all by itself"),
    "texts": ("a,b\n" + "".join(f"{i % 3},note {i}\n" for i in range(200)), [], "has 200 values; expected numbers or"),
    "an answer's name": (
        "prediction,a,b\n" + "".join(f"{i},{i * 3 % 7},{i % 2}\n" for i in range(60)),
        ["--key", "prediction"],
        "'prediction' is what the model's answer is called",
    ),
    "a field too many": ("a,b\n" + "1,x,5\n2,y,6\n" * 30, [], "has rows with more fields than its header has names"),
    "empty file": ("", [], "can't be read"),
    "no row": ("a,b\n", [], "holds no row"),
    "no text": ("a,b\n1,\0\n", [], "is no text file"),
    "no file": (None, [], "is no file; expected a table as CSV, Excel or Parquet"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_can_not_be_adopted_changes_nothing(untouched, dvc, tmp_path, case):
    (content, options, sentence), path = BAD_TABLES[case], tmp_path / "bad.csv"
    if content is not None:
        path.write_text(content)
    printed = untouched.verb("adopt", str(path), "--target", "b", *options, fails=True)
    (line,) = printed.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert untouched.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("query.sql", "adopt takes a table, not a query: adopt an extract, then set ingest.source"),
        ("raw.parquet", "data/raw.parquet is a file that the pipeline writes; give raw.parquet another name."),
        ("rejects.csv", "data/rejects.csv is a file that the pipeline writes"),
    ],
)
def test_a_name_that_means_something_else_is_refused(untouched, people, name, sentence):
    people.rename(people.with_name(name))
    printed = untouched.verb("adopt", str(people.with_name(name)), "--target", "weight", fails=True)
    assert sentence in printed
    assert untouched.run("git", "status", "--porcelain") == ""


def test_parameters_that_can_not_be_read_are_refused_before_anything_is_changed(fresh, people):
    fresh.replace("params.yaml", "seed:", "sede:")
    before = fresh.run("git", "status", "--porcelain")
    assert "train.seed is missing" in fresh.verb("adopt", str(people), "--target", "weight", "--force", fails=True)
    assert fresh.run("git", "status", "--porcelain") == before


@pytest.mark.slow
def test_rows_that_repeat_are_counted_where_there_is_a_key(fresh, dvc, tmp_path):
    rows = "".join(f"{i},{i % 7},{i * i % 5}\n" for i in range(300))
    (tmp_path / "t.csv").write_text(f"no,a,b\n{rows}3,3,4\n4,4.0,1\n")
    printed = fresh.verb("adopt", str(tmp_path / "t.csv"), "--target", "b", "--key", "no")
    assert "2 rows repeat an earlier one; prepare will reject them" in printed
    fresh.verb("ingest")
    assert re.match(r"prepare +302 rows, 2 rejected", fresh.verb("prepare"))


def test_uncommitted_changes_of_the_contract_are_not_lost(fresh, dvc, people):
    adopt = ("adopt", str(people), "--target", "weight")
    fresh.replace("contract.yaml", "columns:", "# a night's work\ncolumns:")
    assert "What is not committed of contract.yaml would be lost" in fresh.verb(*adopt, fails=True)
    shutil.rmtree(fresh.path / ".git")
    fresh.run("git", "init", "--quiet")
    printed = fresh.verb(*adopt, fails=True)
    assert "What is not committed of contract.yaml and params.yaml would be lost; commit it, or add --force." in printed
    assert "a night's work" in fresh.read("contract.yaml")
    fresh.verb(*adopt, "--force")
    assert "a night's work" not in fresh.read("contract.yaml")


def test_without_git_nothing_is_changed_and_the_remedy_works(fresh, dvc, people):
    adopt = ("adopt", str(people), "--target", "weight")
    shutil.rmtree(fresh.path / ".git")
    files = {path: path.read_bytes() for path in fresh.path.rglob("*") if path.is_file()}
    for options in ((), ("--force",)):
        printed = fresh.verb(*adopt, *options, fails=True)
        assert printed == (
            "error: This folder is not a git repository; type `make setup`, which makes it one, and commit.\n"
        )
    assert {path: path.read_bytes() for path in fresh.path.rglob("*") if path.is_file()} == files
    fresh.run("git", "init", "--quiet", "--initial-branch=main")  # as `make setup` does
    fresh.commit()
    fresh.verb(*adopt)


def test_of_the_example_only_what_git_has_is_deleted(fresh, dvc, people):
    adopt = ("adopt", str(people), "--target", "weight")
    (fresh.path / ".git/info/exclude").write_text("*.local\n")
    mine = ["example/mine/own.csv", "example/mine/secret.local", "example/my notes.txt"]
    (fresh.path / "example/mine").mkdir()
    for name in mine:
        (fresh.path / name).write_text("precious\n")
    readme = fresh.path / "example/README.md"
    readme.write_text("precious\n")
    for command in (["status"], ["add", "example/README.md"]):
        fresh.run("git", *command)
        printed = fresh.verb(*adopt, fails=True)
        assert "What is not committed of example/README.md would be lost; commit it, or add --force." in printed
        assert readme.read_text() == "precious\n"
    printed = fresh.verb(*adopt, "--force")
    assert "left where it is, since git does not have it:" in printed
    assert f"{', '.join(mine)}\n" in printed
    left = [path for path in (fresh.path / "example").rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(fresh.path)) for path in left) == mine
    assert {path.read_text() for path in left} == {"precious\n"}
    fresh.commit()
    for number in range(6):
        (fresh.path / f"example/{number}").touch()
    (fresh.path / ".git/info/exclude").write_text("example\n")
    fresh.run("git", "rm", "--quiet", "--cached", "-r", "example")
    fresh.commit()
    assert "example/0, example/1, example/2, example/3, example/4 and 4 more\n" in fresh.verb(*adopt)


def test_what_dvc_does_not_hold_as_it_is_is_not_overwritten(fresh, dvc, people):
    adopt = ("adopt", str(people), "--target", "weight")
    sentence = "data/people.csv would be overwritten and DVC does not hold it as it is; rename it, or add --force."
    data = fresh.path / "data/people.csv"
    data.parent.mkdir(exist_ok=True)
    data.write_text("precious\n")
    assert sentence in fresh.verb(*adopt, fails=True)
    assert data.read_text() == "precious\n"
    assert fresh.run("git", "status", "--porcelain") == ""
    fresh.verb(*adopt, "--force")
    fresh.commit()
    with data.open("a") as content:
        content.write("170,x,70\n")
    assert sentence in fresh.verb(*adopt, fails=True)
    assert data.read_text().endswith("170,x,70\n")


@pytest.mark.slow
def test_feedback_goes_with_the_table_that_it_is_about(fresh, dvc, people, tmp_path, monkeypatch):
    others = tmp_path / "others.csv"
    tiny(others, seed=1)
    fresh.verb("adopt", str(people), "--target", "weight")
    pd.read_csv(others).to_parquet(fresh.path / "data/feedback.parquet")
    monkeypatch.chdir(fresh.path)
    dvc("add", "data/feedback.parquet")
    fresh.replace("dvc.yaml", "      - ${ingest.source}", "      - data/feedback.parquet\n      - ${ingest.source}")
    fresh.commit()
    tiny(people, seed=2)
    fresh.verb("adopt", str(people), "--target", "weight")
    fresh.commit()
    assert "50 of these rows are feedback" in fresh.verb("ingest")
    fresh.verb("adopt", str(others), "--target", "weight")
    assert "data/feedback" not in fresh.read("dvc.yaml")
    assert not list(fresh.path.glob("data/feedback*"))
    assert "50 rows of 50" in fresh.verb("ingest")


def test_a_database_is_read_by_a_query(fresh, dvc, people, tmp_path):
    fresh.verb("adopt", str(people), "--target", "weight")
    with sqlite3.connect(tmp_path / "company.db") as database:
        pd.read_csv(people).to_sql("people", database, index=False)
    (fresh.path / "people.sql").write_text("select * from people")
    fresh.replace("params.yaml", "source: data/people.csv", "source: people.sql")
    fresh.replace("params.yaml", "database: null", "database: sqlite:///$COMPANY")
    assert "50 rows of 50, 3 columns" in fresh.verb("ingest", COMPANY=str(tmp_path / "company.db"))
    with sqlite3.connect(tmp_path / "company.db") as database:
        database.execute("drop table people")
    printed = fresh.verb("ingest", fails=True, COMPANY=str(tmp_path / "company.db"))
    assert printed.startswith("error: people.sql can't be read: ")
    assert "no such table: people" in printed
