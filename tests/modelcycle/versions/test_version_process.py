"""A version in a child process: whatever the team's code is made of, it answers as in this process."""

import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from modelcycle.core.errors import InputError
from modelcycle.core.paths import CONTRACT, MODEL
from modelcycle.core.team import read_project
from modelcycle.versions import code
from modelcycle.versions.questions import make_request_table
from modelcycle.versions.run_version import load_running_version
from modelcycle.versions.version_process import VersionError, VersionProcess

slow = partial(pytest.param, marks=pytest.mark.slow)
FEATURES = "flight_delays/features.py"
FIRST_IMPORT = "import pandas as pd\n"
SHIFTED = """
usual = make_features


def make_features(rows, contract):
    features = usual(rows, contract)
    return features.assign(distance=features["distance"] + SHIFT)
"""
# Ways in which a team may come by a number, and the files that lie beside features.py: nine times 100.
WAYS = """
from __future__ import annotations
SHIFT: Annotation = 100

from flight_delays.absolute import HUNDRED
SHIFT += HUNDRED

from .relative import HUNDRED
SHIFT += HUNDRED

import flight_delays.module
SHIFT += flight_delays.module.HUNDRED

from flight_delays.rules.deep import HUNDRED
SHIFT += HUNDRED

import json
from pathlib import Path
SHIFT += json.loads((Path(__file__).parent / "table.json").read_text())["hundred"]

from importlib.resources import files
SHIFT += float(files("flight_delays").joinpath("table.txt").read_text())

from dataclasses import dataclass
@dataclass
class Hundred:
    value: float = 100
SHIFT += Hundred().value

print("A team may print what it likes.")
import flight_delays
SHIFT += flight_delays.HUNDRED
"""
BESIDE = {
    **dict.fromkeys(["absolute.py", "relative.py", "module.py", "base.py", "__init__.py"], "HUNDRED = 100"),
    "rules/__init__.py": "",
    "rules/deep.py": "from ..base import HUNDRED",
    "table.json": '{"hundred": 100}',
    "table.txt": "100",
}


@pytest.fixture(scope="module")
def files(reproduced):
    """The files of the flights' model."""
    return {path.name: (reproduced.path / path).read_bytes() for path in (MODEL, CONTRACT)}


@pytest.fixture(scope="module")
def here(files, tmp_path_factory, project):
    """The version, run in this process."""
    folder = tmp_path_factory.mktemp("version")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return load_running_version(folder, read_project())


@pytest.fixture(scope="module")
def rows(reproduced):
    return pd.read_parquet(reproduced.path / "data/test.parquet").head(100)


@pytest.fixture
def start(files, here):
    """Start a version with more in features.py and more files; the child ends with the test."""
    children = []

    def start(text="", more=None, **changes):
        source = code.RUNNING_CODE[FEATURES].decode()
        assert FIRST_IMPORT in source
        source = source.replace(FIRST_IMPORT, f"{text}\n{FIRST_IMPORT}", 1) + (SHIFTED if "SHIFT" in text else "")
        made = code.RUNNING_CODE | {FEATURES: source.encode()}
        made |= {f"flight_delays/{name}": content.encode() for name, content in (more or {}).items()}
        children.append(VersionProcess("Version 7", made | changes, files, read_project(), here.contract))
        return children[-1]

    yield start
    for child in children:
        if child._child:
            child._child.stop()


@pytest.mark.slow
def test_whatever_the_team_s_code_is_made_of_answers(start, here, rows):
    answers = start(WAYS, BESIDE).predict(rows)
    assert_frame_equal(answers, here.predict(rows.assign(distance=rows["distance"] + 900)))
    assert not answers.equals(here.predict(rows))


@pytest.mark.slow
def test_rows_of_every_form_are_answered_as_in_this_process(start, here, rows):
    child, inputs = start(), here.contract.inputs
    texts = rows[inputs].astype("str").where(rows[inputs].notna())
    records = rows[inputs].astype(object).where(rows[inputs].notna(), None).to_dict("records")
    requested = make_request_table(records, inputs, here.contract)
    odd = rows.assign(distance=2**53 + 1, temperature=np.nan, wind_gust=None, carrier="Ö")
    odd.index = range(1000, 1100)
    for table in (rows, texts, requested, odd, rows.head(1)):
        assert_frame_equal(child.predict(table), here.predict(table))
    assert child.classes == here.classes == [False, True]
    assert type(child.classes[0]) is bool


@pytest.mark.slow
def test_an_error_names_the_team_s_line_and_the_next_question_is_answered(start, rows):
    broken = start("import numpy as np\nSHIFT = np.array([1.0, 2.0])")
    with pytest.raises(VersionError) as error:
        broken.predict(rows)
    assert str(error.value).startswith("Version 7 fails at ")
    assert re.fullmatch(r"features\.py:\d+ make_features > \S+\.py:\d+ \w+", error.value.place)
    assert error.value.kind == "ValueError"
    assert "\n" not in str(error.value)
    assert len(broken.predict(rows.head(2))) == 2  # as many as the array has


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "import nothing_of_this_name",
            "flight_delays.features can't be imported: No module named 'nothing_of_this_name'.",
        ),
        slow("SHIFT = (", "flight_delays.features can't be imported: '(' was never closed"),
        slow("import sys; sys.exit('out of paper')", "Version 7 does not run, its process has ended: out of paper"),
        slow("import os; os.abort()", "Version 7 does not run, its process has ended: it said nothing"),
    ],
)
def test_code_that_does_not_run_is_told_in_a_sentence(start, rows, text, sentence):
    with pytest.raises(InputError) as error:
        start(text).predict(rows)
    assert sentence in str(error.value)


@pytest.mark.slow
def test_questions_of_many_threads_are_answered_each_with_its_own(start, here, rows):
    child = start()
    parts = [rows.iloc[i : i + 10] for i in range(0, 100, 10)]
    with ThreadPoolExecutor(5) as pool:
        for part, answers in zip(parts, pool.map(child.predict, parts), strict=True):
            assert_frame_equal(answers, here.predict(part))


@pytest.mark.slow
def test_a_process_that_has_ended_is_started_again_for_the_next_question(start, here, rows):
    child = start()
    child.predict(rows)
    first = child._child
    first.process.kill()
    with pytest.raises(InputError, match="Version 7 does not run, its process has ended: it said nothing"):
        child.predict(rows)
    assert not Path(first.scratch.name).exists()
    assert_frame_equal(child.predict(rows), here.predict(rows))


@pytest.mark.slow
def test_a_version_that_travels_brings_its_code_along(start, rows):
    child = start(WAYS, BESIDE)
    expected = child.predict(rows)
    arrived = pickle.loads(pickle.dumps(child))
    assert arrived._child is None
    assert_frame_equal(arrived.predict(rows), expected)
    arrived._child.stop()


@pytest.mark.slow
def test_nothing_is_left_of_a_version_that_is_no_longer_needed(start, rows):
    child = start()
    child.predict(rows)
    process, scratch = child._child.process, Path(child._child.scratch.name)
    assert scratch.is_dir()
    child._child.stop()
    assert process.poll() is not None
    assert not scratch.exists()
