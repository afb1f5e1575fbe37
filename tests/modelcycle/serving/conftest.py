"""What the tests of this room may ask for: versions of small models, the flights' champion, the service in a thread."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from sklearn.dummy import DummyClassifier

from modelcycle.core.contract import Contract
from modelcycle.core.params import Train
from modelcycle.core.team import Project, make_features
from modelcycle.pipeline.train import fit_model
from modelcycle.serving.middleware import close_slow_connections
from modelcycle.serving.serve import create_app
from modelcycle.serving.settings import Settings
from modelcycle.versions.bundle import Bundle, load_folder
from modelcycle.versions.reference import make_profile
from modelcycle.versions.run_version import RunningVersion
from support.repository import Repository
from support.service import Service, wait

ORDERS = Project(package="orders")
FACTS = {"git_commit": "0" * 40, "md5.model": "0" * 32}
COLUMNS: dict[str, dict[str, Any]] = {
    "number": {"role": "key", "type": "integer"},
    "at": {"role": "time", "type": "datetime"},
    "price": {"role": "feature", "type": "number", "unit": "EUR", "min": 0, "max": 100, "nullable": True},
    "pieces": {"role": "feature", "type": "integer"},
    "shop": {"role": "feature", "type": "category", "values": ["Köln", "NO"]},
    "city": {"role": "feature", "type": "category", "description": "Where to"},
    "gift": {"role": "feature", "type": "boolean"},
}
TARGETS = {
    "two classes": {"type": "boolean"},
    "three classes": {"type": "category"},
    "an amount": {"type": "number"},
}


@pytest.fixture
def bundle(contract: Contract, rows: pd.DataFrame) -> Bundle:
    """A version whose answer is always the same."""
    model = DummyClassifier().fit(rows[["order"]], rows["returned"] == "yes")
    return Bundle("1", FACTS, contract, RunningVersion(contract, model, make_features), ORDERS, {}, {})


@pytest.fixture(scope="session")
def train_version(project: Path) -> Callable[..., Bundle]:
    """Train a version on 600 orders with a column of each type; the same arguments give the same one.

    Arguments: the kind of target, estimator, columns to leave out, the model's parameters.
    """
    random, n = np.random.default_rng(0), 600
    table = pd.DataFrame(
        {
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 500_000, n), "min"),
            "price": np.where(random.random(n) < 0.1, np.nan, random.uniform(0, 100, n).round(2)),
            "pieces": random.integers(1, 9, n),
            "shop": random.choice(["Köln", "NO"], n),
            "city": random.choice(["Bonn", "Rome", "Oslo"], n),
            "gift": random.random(n) < 0.3,
        }
    )
    amount = table["price"].fillna(50) + 5 * table["pieces"] + 20 * (table["city"] == "Rome") + table["at"].dt.hour
    targets = {
        "two classes": amount > amount.median(),
        "three classes": pd.cut(amount, [-np.inf, 70, 100, np.inf], labels=["low", "middle", "high"]).astype("str"),
        "an amount": amount,
    }

    @cache
    def train(
        kind: str,
        estimator: str = "sklearn.ensemble.HistGradientBoosting",
        without: tuple[str, ...] = (),
        **parameters: Any,
    ) -> Bundle:
        columns = {name: column for name, column in COLUMNS.items() if name not in without}
        columns["outcome"] = {"role": "target", **TARGETS[kind]}
        contract = Contract.model_validate({"description": "Orders", "columns": columns})
        labelled = table.assign(outcome=targets[kind])
        with contextlib.chdir(project):
            model, _ = fit_model(Train(estimator=estimator, parameters=parameters, seed=0), labelled, contract)
        profile = make_profile(labelled, contract)
        return Bundle("1", FACTS, contract, RunningVersion(contract, model, make_features), ORDERS, profile, {})

    return train


@pytest.fixture(scope="session")
def exported(first_release: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the flights' first version, as `export` writes it. Tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("exported") / "version"
    first_release.verb("export", str(folder))
    return folder


@pytest.fixture(scope="session")
def champion(exported: Path) -> Bundle:
    """The flights' first version."""
    return load_folder(exported)


class LocalService(Service):
    """The service in a thread of this process, asked over HTTP as `modelcycle serve` is."""

    def __init__(self, app: Any, most_seconds: float) -> None:
        protocol = close_slow_connections(most_seconds)
        limits = {"timeout_graceful_shutdown": 5}  # or a test that fails with a request under way would wait for ever
        config = uvicorn.Config(app, port=0, http=protocol, log_config=None, access_log=False, **limits)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        wait(lambda: self.server.started, "the service")
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        """End it and wait until it has ended."""
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="session")
def serve_here() -> Callable[..., AbstractContextManager[LocalService]]:
    """Serve what a function loads until the block ends, with a log in a folder; keywords are settings."""

    @contextlib.contextmanager
    def serving(
        load: Callable[[], Bundle], folder: Path, champion_number: Callable[[], str] | None = None, **settings: Any
    ) -> Iterator[LocalService]:
        address = {"DATABASE_URL": f"sqlite:///{folder}/log.db"}
        chosen = Settings.model_validate(address | {"open": True, "poll_seconds": 0.02} | settings)
        service = LocalService(create_app(chosen, load, champion_number), chosen.most_seconds)
        try:
            yield service
        finally:
            service.stop()

    return serving
