import logging
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.core.output import (
    configure_logging,
    mask_passwords,
    read_text,
    report_line,
    require_output,
    track_progress,
    write_atomically,
    write_text,
)

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


def test_a_draft_may_lie_in_another_folder_of_the_disk(tmp_path):
    (tmp_path / "drafts").mkdir()
    with write_atomically(tmp_path / "out.csv", tmp_path / "drafts") as draft:
        assert draft.parent == tmp_path / "drafts"
        draft.write_text("new")
    assert (tmp_path / "out.csv").read_text() == "new"
    assert list((tmp_path / "drafts").iterdir()) == []


def test_documents_are_utf8_and_a_missing_one_is_empty(tmp_path):
    assert read_text(tmp_path / "page.md") == ""
    write_text(tmp_path / "page.md", "Köln\n")
    assert (tmp_path / "page.md").read_bytes() == "Köln\n".encode()
    assert read_text(tmp_path / "page.md") == "Köln\n"
    (tmp_path / "page.md").write_bytes(b"K\xf6ln")
    with pytest.raises(InputError, match=r"page\.md is not UTF-8; save it as such\."):
        read_text(tmp_path / "page.md")


def test_what_an_earlier_step_should_have_written_is_named_with_the_step(tmp_path):
    assert require_output(tmp_path, "train") == tmp_path
    with pytest.raises(InputError) as error:
        require_output(Path("models/none"), "train")
    assert str(error.value) == "models/none is missing; `make reproduce` writes it (its step is train)."


def test_results_stand_in_columns(capsys):
    report_line("ingest", "5 rows", Path("data/raw.parquet"))
    report_line("", "all kept")
    assert capsys.readouterr().out == f"ingest    5 rows{' ' * 53}data/raw.parquet\n          all kept\n"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("see https://me:secret@host/x and ftp://a:b:c@host", "see https://me:***@host/x and ftp://a:***@host"),
        ("https://me@host", "https://me@host"),
        ("http://host:8080/x y@z", "http://host:8080/x y@z"),
    ],
)
def test_passwords_in_addresses_are_masked(text, masked):
    assert mask_passwords(text) == masked


def test_records_from_a_level_on_are_sentences_on_the_error_stream(capsys):
    log = logging.getLogger("modelcycle.core.anything")
    configure_logging(logging.INFO)
    log.debug("unheard")
    log.warning("from %s", "https://me:secret@host")
    configure_logging(logging.ERROR)
    log.warning("unheard")
    printed = capsys.readouterr()
    assert printed.err == "from https://me:***@host\n"
    assert printed.out == ""


@pytest.mark.parametrize(
    ("environment", "level", "is_shown"),
    [({"FORCE_COLOR": "1"}, "INFO", True), ({"FORCE_COLOR": "1"}, "ERROR", False), ({}, "INFO", False)],
)
def test_progress_is_shown_in_a_terminal_unless_quiet(capsys, monkeypatch, environment, level, is_shown):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    configure_logging(getattr(logging, level))
    assert list(track_progress(iter("abc"), "search", 3)) == ["a", "b", "c"]
    printed = capsys.readouterr()
    assert ("search" in printed.err) == is_shown
    assert printed.out == ""
