"""Tables of many kinds that a team may have, to be adopted, and what has to come out of each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from sklearn import datasets

from support.repository import Repository


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

    def command(self, folder: Path) -> list[str]:
        """Write the table into a folder, and give the words that adopt it."""
        self.write(folder / self.name)
        options = [*(["--key", self.key] if self.key else []), *(["--time", self.time] if self.time else [])]
        return ["adopt", str(folder / self.name), "--target", self.target, *options]

    def check(self, repository: Repository, printed: str) -> None:
        """Say what of the contract and of what `adopt` printed is not as it has to be."""
        columns = read_columns(repository)
        assert columns[self.target]["role"] == "target"
        assert {column: columns[column]["role"] for column in self.roles} == self.roles, printed
        assert {column: columns[column]["type"] for column in self.types} == self.types, printed
        for column, facts in columns.items():
            assert facts["role"] != "ignored" or f"ignored: {column} {facts['reason']}" in printed
        assert not (repository.path / "example").exists()
        assert (repository.path / f"data/{self.name}.dvc").exists()
        assert "src/" not in repository.run("git", "status", "--porcelain")

    def check_metrics(self, repository: Repository) -> None:
        """Say where the model is no better than guessing, though it should be."""
        metrics = pd.read_csv(repository.path / "reports/intervals.csv", index_col="metric")
        if self.better_than_guessing:
            is_classification = "roc_auc" in metrics.index
            leading = metrics.loc["roc_auc" if is_classification else "mae"]
            assert (leading["value"] > leading["baseline"]) == is_classification, metrics


def read_columns(repository: Repository) -> dict[str, dict]:
    """Give the columns of contract.yaml."""
    return YAML(typ="safe", pure=True).load(repository.read("contract.yaml"))["columns"]


def bundled(load: Callable, rows: int | None = None) -> Callable[[Path], None]:
    """Give what writes a table of scikit-learn's."""
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
    rows = customers * months
    frame = pd.DataFrame(
        {
            "customer": np.repeat([f"C{i:04}" for i in range(customers)], months),
            "month": np.tile(pd.date_range("2024-01-01", periods=months, freq="MS").strftime("%Y-%m-%d"), customers),
            "visits": random.poisson(5, rows),
            "age": np.where(random.random(rows) < 0.1, np.nan, random.normal(45, 12, rows).round()),
        }
    )
    frame["revenue"] = frame["visits"] * 12.5 + random.normal(0, 10, rows)
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
