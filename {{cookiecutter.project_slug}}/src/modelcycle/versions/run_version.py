"""Let a version answer: its model and the team's code that it was trained with.

The working tree's own version answers in this process. Every other one runs as a child, from its own src/, which knows
nothing of the working tree. A child is asked over standard input and answers on standard output: a line of JSON, then
as many bytes as it names, which are a table as an Arrow IPC stream:

    {"ask": "describe"}                   {"classes": ["False", "True"]}
    {"ask": "predict", "bytes": 1234}     {"bytes": 567}       rows with the contract's inputs; predictions
                                          {"error": "KeyError", "sentence": "...", "place": "features.py:12 ..."}

This protocol and the child's arguments have to stay as they are: today's code asks versions of years ago.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import IO, Any

import pandas as pd
from sklearn.pipeline import Pipeline

from modelcycle.core.config import read_config
from modelcycle.core.contract import Contract, convert_columns
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.model_file import load_model, predict
from modelcycle.core.paths import CONTRACT, MODEL
from modelcycle.core.team import Project

MakeFeatures = Callable[[pd.DataFrame, Contract], pd.DataFrame]


@dataclass
class RunningVersion:
    """A version whose code runs in this process."""

    contract: Contract
    model: Pipeline
    make_features: MakeFeatures

    @property
    def classes(self) -> list[Any]:
        """The classes that the model knows, in the order of its probabilities; none where it predicts amounts."""
        return list(getattr(self.model, "classes_", []))

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Predict (n, m) rows that hold at least the contract's inputs: (n, 1 + c), as `model_file.predict` does."""
        inputs = convert_columns(rows, self.contract.inputs, self.contract)
        return predict(self.model, self.make_features(inputs, self.contract))


def load_running_version(folder: Path, project: Project) -> RunningVersion:
    """Load a version from the folder of its files, to be run with the code of this process.

    Raises InputError where the model can't be loaded or the team's package does not import.
    """
    name = f"{project.package}.features"
    try:
        make_features: MakeFeatures = importlib.import_module(name).make_features
    except (ImportError, AttributeError, SyntaxError) as error:
        raise InputError(f"{name} can't be imported: {first_line(error)}.") from None
    contract = read_config(Contract, folder / CONTRACT.name)
    return RunningVersion(contract, load_model(folder / MODEL.name, project.trusted_types), make_features)


def write_table(table: pd.DataFrame) -> bytes:
    """Write a table, without its index, as an Arrow IPC stream."""
    import pyarrow as pa  # the service's image has none, and no child

    content = pa.Table.from_pandas(table, preserve_index=False)
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, content.schema) as writer:
        writer.write_table(content)
    return bytes(stream.getvalue())


def read_table(stream: bytes) -> pd.DataFrame:
    """Read a table from an Arrow IPC stream; whole numbers stay so, also where some are missing."""
    import pyarrow as pa

    table: pd.DataFrame = pa.ipc.open_stream(stream).read_all().to_pandas(integer_object_nulls=True)
    return table


def answer(version: RunningVersion, question: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    """Answer a question of the protocol: the line, and the bytes that follow it."""
    if question["ask"] == "describe":
        return {"classes": [getattr(name, "item", lambda name=name: name)() for name in version.classes]}, b""
    table = write_table(version.predict(read_table(content)))
    return {"bytes": len(table)}, table


def main(folder: str, project: str) -> None:
    """Answer questions about the version in a folder until standard input ends. project: its `Project`, as JSON."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the team's code prints is no answer
    version: RunningVersion | None = None
    while line := questions.readline():
        question = json.loads(line)
        content = questions.read(question.get("bytes", 0))
        try:
            version = version or load_running_version(Path(folder), Project.model_validate_json(project))
            reply, table = answer(version, question, content)
        except Exception as error:
            faults = {"error": type(error).__name__, "sentence": first_line(error), "place": describe_place(error)}
            reply, table = faults, b""
        send(answers, reply, table)


def describe_place(error: BaseException) -> str:
    """Name the lines of the team's code, or else of ours, that led to an error, and the line that raised it."""
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "importlib" not in Path(frame.filename).parts
    ]
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    team = [frame for frame in own if "modelcycle" not in Path(frame.filename).parts]
    shown = (team or own)[-3:]
    shown += [frame for frame in frames[-1:] if frame not in shown]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in shown)


def send(stream: IO[bytes], line: dict[str, Any], content: bytes) -> None:
    """Send a line and the bytes that follow it."""
    stream.write(json.dumps(line).encode() + b"\n" + content)
    stream.flush()
