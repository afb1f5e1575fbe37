"""`adopt` takes a team's table as it is: after it, the cycle and the tests pass with no line of code changed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Repository, use_environment
from sklearn import datasets


@dataclass
class Table:
    """A table to adopt, and what has to come out."""

    write: Callable[[Path], None]
    target: str
    key: str = ""
    time: str = ""
    name: str = "table.csv"
    roles: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    better_than_guessing: bool = True


def bundled(load: Callable, rows: int | None = None) -> Callable[[Path], None]:
    return lambda path: load(as_frame=True).frame[:rows].to_csv(path, index=False)


def messy(path: Path) -> None:
    """Semicolons, decimal commas, latin-1, German dates, ja and nein, spaces and umlauts, '?', a constant, a leak."""
    random = np.random.default_rng(0)
    rows = 900
    price = random.lognormal(6, 1, rows)
    gift = random.random(rows) < 0.3
    late = random.random(rows) < np.where(gift, 0.6, 0.15)
    frame = pd.DataFrame(
        {
            "Auftrag Nr": np.arange(10_000, 10_000 + rows),
            "Bestellt am": pd.date_range("2023-01-01", periods=rows, freq="7h").strftime("%d.%m.%Y %H:%M"),
            "Preis (€)": [f"{value:_.2f}".replace(".", ",").replace("_", ".") for value in price],
            "Größe": np.where(random.random(rows) < 0.05, "?", random.integers(1, 60, rows).astype(str)),
            "Stadt": random.choice(["Köln", "Bonn", "Düren"], rows),
            "Geschenk": np.where(gift, "ja", "nein"),
            "Währung": "EUR",
            "Bemerkung": [f"Kunde schreibt: {i}; bitte klingeln" for i in range(rows)],
            "Mahnung": np.where(late, "x", "o"),
            "Rücksendung": np.where(random.random(rows) < 0.04, "", np.where(late, "ja", "nein")),
        }
    )
    path.write_bytes(frame.to_csv(sep=";", index=False).encode("cp1252"))


def panel(path: Path) -> None:
    """Customers by month: the key alone is not unique, key and time are; a tab-separated file with missing values."""
    random = np.random.default_rng(0)
    customers, months = 120, 12
    frame = pd.DataFrame(
        {
            "customer": np.repeat([f"C{i:04}" for i in range(customers)], months),
            "month": np.tile(pd.date_range("2024-01-01", periods=months, freq="MS").strftime("%Y-%m-%d"), customers),
            "visits": random.poisson(5, customers * months),
            "age": np.where(
                random.random(customers * months) < 0.1, np.nan, random.normal(45, 12, customers * months).round()
            ),
        }
    )
    frame["revenue"] = frame["visits"] * 12.5 + random.normal(0, 10, len(frame))
    frame.to_csv(path, sep="\t", index=False)


def wide(path: Path) -> None:
    """200 columns, of which two matter; Parquet with real types."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(800, 198)), columns=[f"sensor {i}" for i in range(198)])
    frame["kind"] = pd.Categorical(random.choice(["a", "b", "c"], 800))
    frame["faulty"] = frame["sensor 0"] + frame["sensor 1"] + random.normal(0, 0.5, 800) > 0
    frame.to_parquet(path)


def tiny(path: Path, seed: int = 0) -> None:
    """50 rows."""
    random = np.random.default_rng(seed)
    height = random.normal(170, 10, 50)
    pd.DataFrame(
        {"height": height, "team": random.choice(["x", "y"], 50), "weight": height - 100 + random.normal(0, 5, 50)}
    ).to_csv(path, index=False)


def huge(path: Path) -> None:
    """1,000,000 rows."""
    random = np.random.default_rng(0)
    rows = 1_000_000
    frame = pd.DataFrame({f"x{i}": random.normal(size=rows).round(4) for i in range(6)})
    frame.insert(0, "id", np.arange(rows))
    frame["region"] = random.choice([f"region {i}" for i in range(40)], rows)
    frame["bought"] = np.where(frame["x0"] + random.normal(size=rows) > 1, "Y", "N")
    frame.to_csv(path, index=False)


TABLES = {
    "iris": Table(bundled(datasets.load_iris), "target", types={"target": "category"}),
    "wine": Table(bundled(datasets.load_wine), "target", types={"target": "category"}),
    "cancer": Table(bundled(datasets.load_breast_cancer), "target", types={"target": "boolean"}),
    "digits": Table(
        bundled(datasets.load_digits, 500), "target", roles={"pixel_0_0": "ignored"}, types={"target": "category"}
    ),
    "diabetes": Table(bundled(datasets.load_diabetes), "target", types={"target": "integer"}),
    "linnerud": Table(bundled(datasets.load_linnerud), "Waist", better_than_guessing=False),
    "messy": Table(
        messy,
        "Rücksendung",
        key="Auftrag Nr",
        time="Bestellt am",
        name="Aufträge März.csv",
        roles={"Währung": "ignored", "Bemerkung": "ignored", "Mahnung": "ignored", "Stadt": "feature"},
        types={"Preis (€)": "number", "Größe": "integer", "Geschenk": "boolean", "Rücksendung": "boolean"},
    ),
    "panel": Table(panel, "revenue", key="customer", time="month", types={"visits": "integer", "age": "integer"}),
    "wide": Table(wide, "faulty", name="wide.parquet", types={"kind": "category", "faulty": "boolean"}),
    "tiny": Table(tiny, "weight", types={"team": "category"}),
    "huge": Table(huge, "bought", key="id", types={"region": "category", "bought": "boolean"}),
}


# On a yes or no with odd names all tests run, elsewhere those that use the data. Of tables that are like another one in
# kind, or long, the cycle has just run the pipeline on the same rows.
WHOLE = "messy"
ALIKE = ("wine", "cancer", "digits", "diabetes", "linnerud", "wide", "huge")
TWICE = "--deselect tests/pipeline/test_pipeline.py::test_another_clone_gives_the_same_bytes"


@pytest.fixture
def fresh(bake, default) -> Repository:
    """A fresh repository in git that shares the default's environment; its code is the same."""
    repository = bake()
    use_environment(repository.path, default)
    repository.commit()
    return repository


def contract_of(repository: Repository) -> dict:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(repository.read("contract.yaml"))["columns"]


def adopt(repository: Repository, path: Path, target: str, *options: str, fails: bool = False) -> str:
    return repository.run("modelcycle", "adopt", str(path), "--target", target, *options, fails=fails)


@pytest.mark.parametrize("name", TABLES)
def test_the_cycle_and_the_tests_pass_on_the_table(fresh, tmp_path, name):
    table = TABLES[name]
    table.write(tmp_path / table.name)
    options = [*(["--key", table.key] if table.key else []), *(["--time", table.time] if table.time else [])]
    printed = adopt(fresh, tmp_path / table.name, table.target, *options)

    columns = contract_of(fresh)
    assert columns[table.target]["role"] == "target"
    assert {column: columns[column]["role"] for column in table.roles} == table.roles, printed
    assert {column: columns[column]["type"] for column in table.types} == table.types, printed
    for column, facts in columns.items():
        assert facts["role"] != "ignored" or f"ignored: {column} {facts['reason']}" in printed
    assert not (fresh.path / "example").exists()
    assert (fresh.path / f"data/{table.name}.dvc").exists()
    assert "src/" not in fresh.run("git", "status", "--porcelain")

    fresh.commit("adopt")
    fresh.run("make", "cycle")
    metrics = json.loads(fresh.read("reports/metrics.json"))
    figures = pd.read_csv(fresh.path / "reports/intervals.csv", index_col="metric")
    if table.better_than_guessing:
        leading = figures.loc["roc_auc" if "roc_auc" in figures.index else "mae"]
        assert (leading["value"] > leading["baseline"]) == ("roc_auc" in figures.index)
    assert metrics["rows"] >= 2
    folders = "TESTS=tests/model tests/system" + ("" if name in ALIKE else " tests/pipeline")
    assert "passed" in fresh.run("make", "test", *([] if name == WHOLE else [folders, f"PYTEST_ADDOPTS={TWICE}"]))

    fresh.commit("reproduce")
    if name not in ALIKE or not table.better_than_guessing:
        released = fresh.run("modelcycle", "release", fails=not table.better_than_guessing)
        decision = "is the champion, none was before" if table.better_than_guessing else "better than guessing: found"
        assert decision in released
    if name == WHOLE:
        assert 'all_broken": []' in fresh.run("modelcycle", "trace", "1", "--json")
    if name not in ALIKE:
        fresh.commit("reproduce")
        printed = fresh.run("make", "check", SKIP="" if name == WHOLE else "mypy")
        assert "Failed" not in printed  # no line of code is changed


def test_the_example_itself_is_understood(fresh, tmp_path):
    """What is inferred from the flights is what their contract says, but for units and wider ranges."""
    known = contract_of(fresh)
    source = fresh.path / "example/flights.csv"
    adopt(fresh, source, "late", "--key", "flight_id", "--time", "scheduled_departure")
    for name, column in contract_of(fresh).items():
        assert column["role"] == known[name]["role"], name
        assert column["type"] == known[name]["type"], name
        assert column.get("nullable", False) == known[name].get("nullable", False), name
        assert ("min" in column) == ("min" in known[name]), name


def test_adopting_twice_gives_the_same_and_a_newer_file_replaces_the_older(fresh, tmp_path):
    tiny(tmp_path / "people.csv")
    adopt(fresh, tmp_path / "people.csv", "weight")
    fresh.commit()
    adopt(fresh, tmp_path / "people.csv", "weight")
    assert fresh.run("git", "status", "--porcelain") == ""
    tiny(tmp_path / "people.csv", seed=1)
    adopt(fresh, tmp_path / "people.csv", "weight")
    assert "data/people.csv.dvc" in fresh.run("git", "status", "--porcelain")


def test_the_adopted_table_goes_to_the_remote_and_comes_back(fresh, tmp_path):
    tiny(tmp_path / "people.csv")
    adopt(fresh, tmp_path / "people.csv", "weight")
    fresh.commit()
    content = (fresh.path / "data/people.csv").read_bytes()
    fresh.run("dvc", "push")
    fresh.run("rm", "-r", "data/people.csv", ".dvc/cache")
    fresh.run("dvc", "pull", "data/people.csv.dvc")
    assert (fresh.path / "data/people.csv").read_bytes() == content


@pytest.mark.parametrize(
    ("content", "target", "options", "sentence"),
    [
        ("a,b\n" + "1,x\n2,y\n" * 30, "c", [], "has no column 'c'. Columns: a, b."),
        ("a,b\n" + "1,x\n2,y\n" * 30, "b", ["--key", "b"], "'b' is named for two roles"),
        ("a,b\n" + "1,x\n2,y\n" * 30, "b", ["--time", "a"], "the column 'a' holds no readable dates, e.g. 1"),
        (
            "a,b,c\n" + "1,x,5\n2,y,5\n1,y,6\n2,x,6\n" * 30,
            "b",
            ["--key", "a"],
            "a should identify a row, but 2 rows repeat",
        ),
        ("a,b\n" + "1,x\n2,x\n" * 30, "b", [], "The target 'b' has 1 values"),
        ("a,b\n" + "1,\n2,\n" * 30, "b", [], "The target 'b' has 0 values"),
        ("a,b\n" + "1,x\n1,y\n" * 30, "b", [], "leaves no column to predict 'b' from. a is always 1"),
        ("a,b\n" + "1,x\n2,y\n" * 30, "b", [], "a tells b all by itself"),
        ("a,b\n" + "".join(f"{i % 3},note {i}\n" for i in range(200)), "b", [], "has 200 values; expected numbers or"),
        ("", "b", [], "can't be read"),
        ("a,b\n", "b", [], "holds no row"),
        (None, "b", [], "is no file"),
    ],
)
def test_a_table_that_can_not_be_adopted_changes_nothing(fresh, tmp_path, content, target, options, sentence):
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_text(content)
    printed = adopt(fresh, path, target, *options, fails=True)
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert sentence in error
    assert "Traceback" not in printed
    assert fresh.run("git", "status", "--porcelain") == ""


def test_uncommitted_changes_of_the_contract_are_not_lost(fresh, tmp_path):
    tiny(tmp_path / "people.csv")
    contract = fresh.path / "contract.yaml"
    contract.write_text(contract.read_text(encoding="utf-8") + "# a night's work\n", encoding="utf-8")
    printed = adopt(fresh, tmp_path / "people.csv", "weight", fails=True)
    assert "What is not committed of contract.yaml would be lost" in printed
    shutil.rmtree(fresh.path / ".git")
    fresh.run("git", "init", "--quiet")
    printed = adopt(fresh, tmp_path / "people.csv", "weight", fails=True)
    assert "What is not committed of contract.yaml and params.yaml" in printed
    assert contract.read_text(encoding="utf-8").endswith("night's work\n")
    adopt(fresh, tmp_path / "people.csv", "weight", "--force")


def test_of_the_example_only_what_git_has_is_deleted(fresh, tmp_path):
    tiny(tmp_path / "people.csv")
    (fresh.path / ".git/info/exclude").write_text("*.local\n")
    mine = ["example/my notes.txt", "example/mine/own.csv", "example/mine/secret.local"]
    (fresh.path / "example/mine").mkdir()
    for name in mine:
        (fresh.path / name).write_text("precious\n")
    readme = fresh.path / "example/README.md"
    readme.write_text("precious\n")
    for staged in (False, True):
        if staged:
            fresh.run("git", "add", "example/README.md")
        printed = adopt(fresh, tmp_path / "people.csv", "weight", fails=True)
        assert "What is not committed of example/README.md would be lost; commit it, or add --force." in printed
        assert readme.read_text() == "precious\n"
    printed = adopt(fresh, tmp_path / "people.csv", "weight", "--force")
    assert "example/mine/own.csv, example/mine/secret.local, example/my notes.txt" in printed
    left = [path for path in (fresh.path / "example").rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(fresh.path)) for path in left) == sorted(mine)
    assert {path.read_text() for path in left} == {"precious\n"}
    fresh.commit()
    fresh.replace("params.yaml", "parameters: {}", "parameters: {max_iter: 10}")
    fresh.commit()
    adopt(fresh, tmp_path / "people.csv", "weight")
    assert "parameters: {max_iter: 10}" in fresh.read("params.yaml")  # found for this table, not for the example


def test_a_table_that_was_changed_since_dvc_took_it_is_not_overwritten(fresh, tmp_path):
    tiny(tmp_path / "people.csv")
    adopt(fresh, tmp_path / "people.csv", "weight")
    fresh.commit()
    with (fresh.path / "data/people.csv").open("a") as content:
        content.write("170,x,70\n")
    printed = adopt(fresh, tmp_path / "people.csv", "weight", fails=True)
    assert "data/people.csv would be overwritten and DVC does not hold it as it is; rename it" in printed
    assert fresh.read("data/people.csv").endswith("170,x,70\n")


def test_feedback_goes_with_the_table_that_it_is_about(fresh, tmp_path):
    for seed, name in enumerate(("people.csv", "others.csv")):
        tiny(tmp_path / name, seed)
    adopt(fresh, tmp_path / "people.csv", "weight")
    pd.read_csv(tmp_path / "others.csv").to_parquet(fresh.path / "data/feedback.parquet")
    fresh.run("dvc", "add", "data/feedback.parquet")
    fresh.replace("dvc.yaml", "      - ${ingest.source}", "      - data/feedback.parquet\n      - ${ingest.source}")
    fresh.commit()
    tiny(tmp_path / "people.csv", seed=2)
    adopt(fresh, tmp_path / "people.csv", "weight")
    fresh.commit()
    assert "50 of these rows are feedback" in fresh.run("dvc", "repro", "ingest")
    adopt(fresh, tmp_path / "others.csv", "weight")
    assert "data/feedback" not in fresh.read("dvc.yaml")
    assert not list(fresh.path.glob("data/feedback*"))
    assert "50 rows of 50" in fresh.run("dvc", "repro", "ingest")


def test_a_table_of_the_same_name_is_not_overwritten(fresh, tmp_path):
    tiny(tmp_path / "people.csv")
    (fresh.path / "data").mkdir(exist_ok=True)
    (fresh.path / "data/people.csv").write_text("precious\n")
    printed = adopt(fresh, tmp_path / "people.csv", "weight", fails=True)
    assert "data/people.csv would be overwritten and DVC does not hold it as it is" in printed
    assert fresh.read("data/people.csv") == "precious\n"
    assert fresh.run("git", "status", "--porcelain") == ""


def test_a_database_is_read_by_a_query_through_the_pipeline(fresh, tmp_path):
    import sqlite3

    tiny(tmp_path / "people.csv")
    adopt(fresh, tmp_path / "people.csv", "weight")
    with sqlite3.connect(tmp_path / "company.db") as database:
        pd.read_csv(tmp_path / "people.csv").to_sql("people", database, index=False)
    (fresh.path / "people.sql").write_text("select * from people")
    params = fresh.read("params.yaml").replace("source: data/people.csv", "source: people.sql")
    (fresh.path / "params.yaml").write_text(
        params.replace("database:", "database: sqlite:///$COMPANY #"), encoding="utf-8"
    )
    fresh.run("dvc", "repro", COMPANY=str(tmp_path / "company.db"))
    assert json.loads(fresh.read("reports/metrics.json"))["rows"] > 5
    fresh.commit("a query")
    fresh.run("modelcycle", "release")
    with sqlite3.connect(tmp_path / "company.db") as database:
        database.execute("drop table people")
    printed = fresh.run("modelcycle", "trace", "--reproduce")
    assert "but from those that it gave then" in printed
    assert "broken" not in printed
    printed = fresh.run("dvc", "repro", "--force", "ingest", fails=True, COMPANY=str(tmp_path / "company.db"))
    assert "error: people.sql can't be read" in printed
    assert "no such table: people" in printed
