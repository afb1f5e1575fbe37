"""A version that runs as a child process, from its own src/: see run_version.py for what it is asked and how."""

import json
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pandas as pd

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError
from modelcycle.core.team import Project
from modelcycle.versions.code import Code, write_code
from modelcycle.versions.environment import make_environment
from modelcycle.versions.run_version import read_table, send, write_table

# Of all that has a package `modelcycle`, such as the working tree by the editable install, only the version's remains.
START = """
import importlib
import sys
from pathlib import Path
source, folder, project, hidden, *modules = sys.argv[1:]
sys.path[:] = [source, *(path for path in sys.path if path and not Path(path, "modelcycle").is_dir())]
seen = (str(Path(source).parent), sys.prefix, sys.base_prefix)
def refuse(event, arguments):
    path = str(arguments[0]) if event in ("open", "os.listdir", "os.scandir") else ""
    if hidden and path.startswith(hidden) and not path.startswith(seen):
        raise FileNotFoundError(f"{path} is not in the commit's src/")
sys.addaudithook(refuse)
for name in modules:
    try:
        importlib.import_module(name)
    except BaseException as error:
        from modelcycle.versions.run_version import describe_place
        sys.exit(f"{name}: {type(error).__name__}: {error} ({describe_place(error)})")
from modelcycle.versions.run_version import main
main(folder, project)
"""


class VersionError(InputError):
    """A version's own code has failed. place: the lines that led to it; kind: the error's type."""

    def __init__(self, name: str, kind: str, sentence: str, place: str) -> None:
        """Say which version, what was raised, and where."""
        super().__init__(f"{name} fails at {place}: {kind}: {sentence}")
        self.kind, self.place = kind, place

    def __reduce__(self) -> Any:
        """Be an InputError elsewhere: a cluster sends errors from one process to another."""
        return InputError, self.args


class Child:
    """A child process, its scratch folder and what it has said last on standard error."""

    def __init__(self, version: "VersionProcess") -> None:
        """Write a version into a scratch folder, with an environment where it has a lock, and start the child."""
        self.scratch = tempfile.TemporaryDirectory(prefix="version-", ignore_cleanup_errors=True)
        source, folder = Path(self.scratch.name) / "src", Path(self.scratch.name) / "version"
        write_code(version.code, source)
        write_code(version.files, folder)
        python = make_environment(Path(self.scratch.name), version.lock) if version.lock else sys.executable
        pipe = subprocess.PIPE
        arguments = [
            str(source),
            str(folder),
            json.dumps(version.project.travelling()),
            version.hidden,
            *version.imports,
        ]
        command = [str(python), "-I", "-c", START, *arguments]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=self.scratch.name)
        self.said: deque[str] = deque(maxlen=50)
        self.reader = Thread(target=self._read_errors, daemon=True)
        self.reader.start()

    def _read_errors(self) -> None:
        for line in self.process.stderr or []:
            self.said.append(line.decode("utf-8", "replace").rstrip())

    def ask(self, question: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Give the child's reply to a question. Raises BrokenPipeError or EOFError where the child has ended."""
        assert self.process.stdin and self.process.stdout  # noqa: S101  both are pipes
        send(self.process.stdin, question, content)
        if not (line := self.process.stdout.readline()):
            raise EOFError
        reply = json.loads(line)
        answer = self.process.stdout.read(size := reply.get("bytes", 0))
        if len(answer) < size:
            raise EOFError
        return reply, answer

    def stop(self) -> None:
        """End the child, whose standard input ends, and delete its folder."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        self.scratch.cleanup()


@dataclass
class VersionProcess:
    """A version that is asked in a child process, which is started with the first question.

    name: for messages, such as "Version 3". files: by name, contract and model. lock: by name, the pyproject.toml and
    the uv.lock that its environment is made from; empty where it is that of this process.
    hidden: a folder of which it may open nothing but its environment. imports: modules that it has to import first.
    """

    name: str
    code: Code
    files: dict[str, bytes]
    project: Project
    contract: Contract
    lock: dict[str, bytes] = field(default_factory=dict)
    hidden: str = ""
    imports: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Start nothing yet."""
        self._lock = Lock()
        self._child: Child | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another machine without process and environment: there are others there."""
        state = self.__dict__ | {"lock": {}}
        return {name: value for name, value in state.items() if not name.startswith("_") and name != "classes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive."""
        self.__dict__.update(state)
        self.__post_init__()

    def start(self) -> None:
        """Start the child, which would otherwise start with the first question. Raises InputError as `predict` does."""
        self._ask({"ask": "describe"}, b"")

    @cached_property
    def classes(self) -> list[Any]:
        """The classes that the model knows, in the order of its probabilities; none where it predicts amounts."""
        return list(self._ask({"ask": "describe"}, b"")[0]["classes"])

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Predict (n, m) rows that hold at least the contract's inputs: (n, 1 + c), as `model_file.predict` does.

        Raises VersionError where the version's own code fails.
        """
        table = write_table(rows[self.contract.inputs])
        _, answer = self._ask({"ask": "predict", "bytes": len(table)}, table)
        return read_table(answer).set_index(rows.index)

    def _ask(self, question: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        with self._lock:
            if self._child is None:
                self._child = Child(self)
                weakref.finalize(self, self._child.stop)
            try:
                reply, answer = self._child.ask(question, content)
            except (BrokenPipeError, EOFError):
                child, self._child = self._child, None  # the next question starts another one
                child.reader.join(5)
                child.stop()
                last = next(iter(reversed(child.said)), "it said nothing")
                raise InputError(f"{self.name} does not run, its process has ended: {last}") from None
        if "error" in reply:
            raise VersionError(self.name, reply["error"], reply["sentence"], reply["place"])
        return reply, answer
