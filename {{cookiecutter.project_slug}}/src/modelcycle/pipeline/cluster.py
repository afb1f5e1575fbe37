"""Compute on an existing Dask cluster where DASK_SCHEDULER_ADDRESS names one. Results are the same as without.

Its workers need this package with the same libraries; to predict files, they have to see the same folder.
"""

import importlib
import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import content_md5
from modelcycle.core.team import read_project

REQUIRED_LIBRARIES = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")


@contextmanager
def connect_to_cluster() -> Iterator[Any]:
    """Yield a client of the cluster, None where no address is set. Raises InputError when the cluster can't be used.

    Dask gives the tasks of a lost worker to another one. Its own setting DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT
    says how long it waits for a connection.
    """
    address = os.environ.get("DASK_SCHEDULER_ADDRESS", "")
    if not address:
        yield None
        return
    try:
        import dask
        import distributed  # imported late: it is an extra
    except ImportError:
        raise InputError("DASK_SCHEDULER_ADDRESS is set, but Dask is missing; type `uv sync --extra dask`.") from None
    package = read_project().package
    cluster_name = f"The Dask cluster {address} (DASK_SCHEDULER_ADDRESS)"
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))  # errors are reported once, below
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        try:
            client = stack.enter_context(distributed.Client(address))
            client.wait_for_workers(1, dask.config.get("distributed.comm.timeouts.connect"))
            worker_environments = client.run(describe_environment, package)
        except Exception as error:  # no such scheduler, none of its workers, none with this package
            raise InputError(f"{cluster_name} can't be used: {first_line(error)}") from None
        local = describe_environment(package)
        for worker, remote in worker_environments.items():
            require_same_environment(local, remote, worker)
        try:
            yield client
        except (
            distributed.CancelledError,
            distributed.comm.core.CommClosedError,
            distributed.scheduler.KilledWorker,
        ) as error:
            raise InputError(
                f"{cluster_name} was lost: {first_line(error).rstrip('.')}. Run it again; what is done is kept."
            ) from None


def describe_environment(package: str) -> dict[str, str]:
    """List what a result depends on beside data and parameters: the versions of Python and libraries, and the code.

    package: the team's, which a worker can't know: it has no pyproject.toml.
    """
    libraries = {library.name: library.version for library in reversed(list(distributions()))}  # the first is imported
    versions = libraries | {"Python": platform.python_version()}
    for name in (package, "modelcycle"):
        folder = Path(importlib.import_module(name).__path__[0])
        code = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))
        versions[f"the code in src/{name}"] = f"md5 {content_md5(code)}"
    return versions


def require_same_environment(local: dict[str, str], remote: dict[str, str], worker: str) -> None:
    """Raise InputError where a worker has another version of something, or lacks what every result needs."""
    for name in sorted(local):
        version = remote.get(name, "nothing" if name in REQUIRED_LIBRARIES else local[name])
        if version != local[name]:
            raise InputError(
                f"The worker {worker} has {version} of {name}, this machine {local[name]}; install the same commit "
                "there with `uv sync --frozen --extra dask`, and start it again."
            )


def map_on_cluster(
    client: Any, function: Callable[..., Any], *arguments: Any, shared: dict[str, Any], **keywords: Any
) -> Iterator[Any]:
    """Call a function on the cluster for each set of arguments, as `map` does; yield the results in order.

    arguments: lists of equal length. shared: large keyword arguments that all calls have; each is the result of a task,
    which Dask repeats when the worker that holds it is lost. Scattered data, as of joblib, would be lost with it.
    """
    futures = {name: client.submit(copy, value, pure=False) for name, value in shared.items()}
    for future in client.map(function, *arguments, **futures, **keywords, pure=False):
        yield future.result()


def require_shared_folder(client: Any, folder: Path) -> None:
    """Raise InputError where a worker does not see the same folder as this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f".seen-by-workers-{os.getpid()}"
    marker.touch()
    try:
        for worker, is_visible in client.run(os.path.exists, str(marker)).items():
            if not is_visible:
                raise InputError(f"The worker {worker} does not see {folder}; mount it there under the same path.")
    finally:
        marker.unlink()
