import os
import signal
import stat
import subprocess
import sys

import pytest

from modelcycle.core.output import write_atomically

WRITE = """
import sys
from pathlib import Path
from modelcycle.core.output import write_atomically
path, letter = Path(sys.argv[1]), sys.argv[2]
for _ in range(60):
    with write_atomically(path) as draft, draft.open("w") as text:
        for _ in range(40):
            text.write(letter * 1000)
            text.flush()
"""
STOP_IN_THE_MIDDLE = """
import sys
from pathlib import Path
from modelcycle.core.output import write_atomically
with write_atomically(Path(sys.argv[1])) as draft, draft.open("w") as text:
    text.write("half")
    text.flush()
    print("half", flush=True)
    input()
"""


def start(code, *arguments):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], **pipes)


def test_of_several_writers_at_once_one_file_stays_whole(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("0" * 40_000)
    writers = [start(WRITE, path, letter) for letter in "abcd"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = path.read_text()
        assert len(content) == 40_000
        assert len(set(content)) == 1, "a mixture"
        seen.add(content[0])
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(seen & set("abcd")) > 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_is_killed_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with start(STOP_IN_THE_MIDDLE, path) as writer:
        assert writer.stdout.readline() == "half\n"
        assert path.read_text() == "old"
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    with write_atomically(path) as draft:
        draft.write_text("new")
    assert path.read_text() == "new"


def test_a_writer_that_fails_leaves_the_file_as_it_was_and_no_draft(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), write_atomically(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_as_if_it_had_been_written_in_place(tmp_path):
    path = tmp_path / "new/out.csv.gz"
    with write_atomically(path) as draft:
        assert draft.suffix == ".gz"
        assert draft.name.startswith(".")
        draft.write_text("new")
    assert path.read_text() == "new"
    (tmp_path / "other").write_text("other")
    assert stat.filemode(path.stat().st_mode) == stat.filemode((tmp_path / "other").stat().st_mode)


def test_the_disk_has_the_file_before_it_is_there_and_then_its_name(tmp_path, monkeypatch):
    path, written = tmp_path / "out.csv", []
    fsync = os.fsync

    def noting(descriptor):
        written.append((os.fstat(descriptor).st_ino, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with write_atomically(path) as draft:
        draft.write_text("new")
    assert written == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]
