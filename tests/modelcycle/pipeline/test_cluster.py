import logging
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from modelcycle.core.contract import find_violations
from modelcycle.core.errors import InputError
from modelcycle.core.params import Search, Train
from modelcycle.pipeline.cluster import (
    REQUIRED_LIBRARIES,
    connect_to_cluster,
    describe_environment,
    map_on_cluster,
    require_same_environment,
    require_shared_folder,
)
from modelcycle.pipeline.train import fit_model

HERE = {"Python": "3.11.7", "pandas": "3.0.1", "ruff": "0.14.2", "the code in src/flight_delays": "md5 1"}


def test_an_environment_holds_the_code_of_both_packages_and_the_libraries():
    here = describe_environment("flight_delays")
    assert {"the code in src/flight_delays", "the code in src/modelcycle", "Python", *REQUIRED_LIBRARIES} <= set(here)


def test_a_worker_with_the_same_environment_is_taken():
    require_same_environment(
        describe_environment("flight_delays"), describe_environment("flight_delays"), "tcp://there:1"
    )
    require_same_environment(HERE, {name: HERE[name] for name in HERE if name != "ruff"}, "tcp://there:1")


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ({"pandas": "3.0.0"}, "has 3.0.0 of pandas, this machine 3.0.1"),
        ({"pandas": None}, "has nothing of pandas"),
        ({"Python": "3.12.1"}, "has 3.12.1 of Python"),
        ({"the code in src/flight_delays": "md5 2"}, "has md5 2 of the code in src/flight_delays"),
        ({"ruff": "0.15.0"}, "has 0.15.0 of ruff"),
    ],
)
def test_a_worker_that_differs_is_named_with_what_to_type(there, sentence):
    changed = {name: value for name, value in (HERE | there).items() if value}
    with pytest.raises(InputError, match=f"The worker tcp://there:1 {sentence}.*uv sync --frozen"):
        require_same_environment(HERE, changed, "tcp://there:1")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Dask cluster of two workers in this process."""
    import distributed

    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    ) as local:
        yield local.scheduler_address


def test_without_an_address_there_is_no_cluster(monkeypatch):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with connect_to_cluster() as client:
        assert client is None


@pytest.mark.slow
def test_a_cluster_gives_the_results_in_order_and_sees_the_same_folder(cluster, monkeypatch, tmp_path):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster)
    with connect_to_cluster() as client:
        results = map_on_cluster(
            client,
            lambda x, y, offset: (x * y + offset).tolist(),
            [1, 2, 3],
            [4, 5, 6],
            shared={"offset": np.arange(2)},
        )
        assert list(results) == [[4, 5], [10, 11], [18, 19]]
        require_shared_folder(client, tmp_path / "days")
        assert list((tmp_path / "days").iterdir()) == []
        monkeypatch.setattr(
            client, "run", lambda function, path: {"tcp://there:1": function(path), "tcp://there:2": False}
        )
        with pytest.raises(
            InputError, match=r"The worker tcp://there:2 does not see .*days; mount it there under the same path"
        ):
            require_shared_folder(client, tmp_path / "days")
        assert list((tmp_path / "days").iterdir()) == []
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.slow
def test_a_search_on_a_cluster_finds_what_it_finds_without_one(cluster, monkeypatch, rows, contract):
    typed, _ = find_violations(rows, contract)
    search = Search(trials=3, folds=2, parameters={"max_depth": [1, 2, 5, 9]})
    params = Train(estimator="sklearn.tree.DecisionTree", seed=0, search=search)
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    alone = fit_model(params, typed, contract)[1]
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster)
    assert fit_model(params, typed, contract)[1] == alone


@pytest.mark.slow
def test_a_cluster_that_can_not_be_used_or_is_lost_is_named(cluster, monkeypatch):
    import distributed

    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster)
    with (
        pytest.raises(
            InputError, match=rf"^The Dask cluster {cluster} \(DASK_SCHEDULER_ADDRESS\) was lost: .*\. Run it again"
        ),
        connect_to_cluster(),
    ):
        raise distributed.CancelledError("gone.")
    describe = "modelcycle.pipeline.cluster.describe_environment"
    monkeypatch.setattr(describe, lambda package: {"Python": threading.current_thread().name})
    with (
        pytest.raises(InputError, match=r"The worker tcp://.* has .* of Python, this machine MainThread"),
        connect_to_cluster(),
    ):
        pass
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "nothing://there")
    with pytest.raises(InputError, match=r"^The Dask cluster nothing://there .* can't be used: "), connect_to_cluster():
        pass


def test_a_missing_dask_is_named_with_what_to_type(monkeypatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(InputError, match=r"but Dask is missing; type `uv sync --extra dask`\.$"), connect_to_cluster():
        pass
