"""Start programs of a repository's environment as forks of one process that has imported the libraries already.

To start Python and import pandas, scikit-learn and MLflow is five sixths of most commands, of which the tests run a
thousand. In repositories that share another one's environment the programs below are this file. It hands its arguments,
folder, variables and open files to a server, where a fork runs the real program with them; it passes signals on, and
ends as that ends. Without TESTS_FORKS, and for all else that Python may do, the real program takes its place; so it has
to where a library reads a variable when it is imported. The server ends with the run of the tests.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("dvc", "mlflow", "modelcycle", "pytest", "python")
LIBRARIES = """alembic.command anyio.pytest_plugin dvc.api dvc.cli.parser dvc.commands.repro dvc.data_cloud dvc.repo
dvc.repo.experiments fastapi_offline git hydra.extra.pytest_plugin ipykernel.kernelapp jinja2 markdown_it
matplotlib.backends.backend_svg matplotlib.figure mlflow.cli mlflow.store.model_registry.sqlalchemy_store
mlflow.store.tracking.sqlalchemy_store mlflow.tracing.processor.otel narwhals.stable.v2 networkx
opentelemetry.sdk.metrics.export pandas pandera.backends.pandas.register pandera.pandas
pandera.strategies.pandas_strategies pyarrow.csv pyarrow.dataset pyarrow.json pyarrow.parquet pydantic_settings pygit2
ruamel.yaml scipy.stats sklearn.ensemble sklearn.model_selection sklearn.pipeline skops.io sqlalchemy.dialects.sqlite
typer uvicorn"""


def ask(words: list[str], place: str) -> None:
    """Let the server run a program, and end as it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(place)
        message = json.dumps([words, str(Path.cwd()), dict(os.environ)]).encode()
        socket.send_fds(server, [message], [0, 1, 2])
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: server.send(b"%d" % number))
        status = int(server.recv(9) or 1)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def serve(place: str, run: str) -> None:
    """Import the libraries, then run what is asked for as long as a process, which has this number, is there."""
    import gc
    import importlib
    import multiprocessing

    multiprocessing.set_start_method("fork")
    for name in LIBRARIES.split():
        importlib.import_module(name)
    sys.executable = str(Path(place).with_name("bin") / "python")
    gc.freeze()  # or the forks would copy all of it at their first collection
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(place)
        listener.listen(64)
        listener.settimeout(1)
        while Path(f"/proc/{run}").exists():
            with suppress(TimeoutError):
                client, _ = listener.accept()
                multiprocessing.Process(target=watch, args=(client,)).start()
                client.close()
            multiprocessing.active_children()  # buries those that have ended


def watch(client: socket.socket) -> None:
    """Fork once more for the program, pass signals on to it, and say how it ended."""
    from multiprocessing import Process
    from multiprocessing.connection import wait

    message, files, _, _ = socket.recv_fds(client, 1 << 20, 3)
    program = Process(target=run, args=(*json.loads(message), files))
    program.start()
    for file in files:
        os.close(file)
    while client in wait([client, program.sentinel]):
        asked = client.recv(9)
        os.kill(program.pid, int(asked or signal.SIGKILL))
        if not asked:  # who has asked was killed
            return
    program.join()
    client.send(b"%d" % program.exitcode)


def run(words: list[str], folder: str, variables: dict[str, str], files: list[int]) -> None:
    """Become the program."""
    import runpy

    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  multiprocessing has replaced it
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:1] = [folder, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    match words:
        case ["-m", module, *_]:
            sys.argv = words[1:]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *arguments]:
            sys.argv = ["-c", *arguments]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case _:
            sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    """Be the server at an address, else the program that has been called."""
    if sys.argv[0].endswith(".py"):
        return serve(*sys.argv[1:])
    name, words, environment = Path(sys.argv[0]).name, sys.argv[1:], Path(__file__).resolve().parents[1]
    program = str(environment / "bin" / name)
    if os.environ.get("TESTS_FORKS") and (name != "python" or can_fork(words)):
        ask(words if name == "python" else [program, *words], str(environment / "forks/server"))
    os.execv(program, [program, *words])


def can_fork(words: list[str]) -> bool:
    """Say whether Python is to run a file, a line of code or a module, and no option comes before."""
    return words[:1] in (["-c"], ["-m"]) or "".join(words[:1]).endswith(".py")


if __name__ == "__main__":
    main()
