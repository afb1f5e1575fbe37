"""An existing Dask cluster in this machine's place, where DASK_SCHEDULER_ADDRESS names one. Results are the same.

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

from modelcycle.core.digest import content_md5
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.project import read_project
from modelcycle.core.settings import read_settings

REQUIRED_LIBRARIES = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")


@contextmanager
def connect_to_cluster() -> Iterator[Any]:
    """Give a client of the cluster, None where no address is set. Raises InputError when the cluster can't be used.

    Dask gives the tasks of a worker that is lost to another one. How long it waits for a connection is its own setting,
    DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT.
    """
    address = read_settings().dask_scheduler_address
    if not address:
        yield None
        return
    try:
        import dask
        import distributed  # imported late: it is an extra
    except ImportError:
        raise InputError("DASK_SCHEDULER_ADDRESS is set, but Dask is missing; type `uv sync --extra dask`.") from None
    package = read_project().package
    named = f"The Dask cluster {address} (DASK_SCHEDULER_ADDRESS)"
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))  # what goes wrong is said once, below
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        try:
            client = stack.enter_context(distributed.Client(address))
            client.wait_for_workers(1, dask.config.get("distributed.comm.timeouts.connect"))
            found = client.run(describe_environment, package)
        except Exception as error:  # no such scheduler, none of its workers, none with this package
            raise InputError(f"{named} can't be used: {first_line(error)}") from None
        here = describe_environment(package)
        for worker, there in found.items():
            require_same_environment(here, there, worker)
        try:
            yield client
        except (
            distributed.CancelledError,
            distributed.comm.core.CommClosedError,
            distributed.scheduler.KilledWorker,
        ) as error:
            raise InputError(
                f"{named} was lost: {first_line(error).rstrip('.')}. Run it again; what is done is kept."
            ) from None


def describe_environment(package: str) -> dict[str, str]:
    """Say what a result depends on beside data and parameters: the versions of Python and libraries, and the code.

    package: the team's, which a worker can't know: it has no pyproject.toml.
    """
    libraries = {one.name: one.version for one in reversed(list(distributions()))}  # the first is what is imported
    versions = libraries | {"Python": platform.python_version()}
    for name in (package, "modelcycle"):
        folder = Path(importlib.import_module(name).__path__[0])
        code = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))
        versions[f"the code in src/{name}"] = f"md5 {content_md5(code)}"
    return versions


def require_same_environment(here: dict[str, str], there: dict[str, str], worker: str) -> None:
    """Raise InputError where a worker has another version of something, or lacks what every result needs."""
    for name in sorted(here):
        found = there.get(name, "nothing" if name in REQUIRED_LIBRARIES else here[name])
        if found != here[name]:
            raise InputError(
                f"The worker {worker} has {found} of {name}, this machine {here[name]}; install the same commit there "
                "with `uv sync --frozen --extra dask`, and start it again."
            )


def map_on_cluster(
    client: Any, function: Callable[..., Any], *lists: Any, shared: dict[str, Any], **same: Any
) -> Iterator[Any]:
    """Call a function on the cluster for each set of arguments, and give the results in their order.

    shared: large arguments that all calls have. Each is the result of a task, which Dask does again where the worker
    that holds it is lost; what is scattered, as joblib does, would be gone with it.
    """
    held = {name: client.submit(copy, value, pure=False) for name, value in shared.items()}
    for future in client.map(function, *lists, **held, **same, pure=False):
        yield future.result()


def require_shared_folder(client: Any, folder: Path) -> None:
    """Raise InputError where a worker does not see the same folder as this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".seen-by-workers-{os.getpid()}"
    mark.touch()
    try:
        for worker, is_there in client.run(os.path.exists, str(mark)).items():
            if not is_there:
                raise InputError(f"The worker {worker} does not see {folder}; mount it there under the same path.")
    finally:
        mark.unlink()
