from pathlib import Path

import pytest

from modelcycle.core.errors import InputError
from modelcycle.tracking.feedback import add_dependency, dependencies, remove_dependency

FILE = Path("data/feedback.parquet")
BLOCK = """# The pipeline.
stages:
  ingest:
    cmd:  modelcycle   ingest # as it is
    deps:
      # the table
      - ${ingest.source} # ours
      - "contract.yaml"
  own:
    deps: [a, b]
    cmd: >-
      one
      two
"""


@pytest.mark.parametrize(
    ("text", "added"),
    [
        (BLOCK, "      - data/feedback.parquet\n"),
        (BLOCK.replace("      - ", "    - "), "    - data/feedback.parquet\n"),
        ("stages: {ingest: {cmd: x, deps: [a, b]}}", "data/feedback.parquet, "),
        ("stages:\n  ingest:\n    deps: [a]\n", "data/feedback.parquet, "),
    ],
)
def test_a_dependency_comes_and_goes_and_all_else_stays(tmp_path, monkeypatch, text, added):
    monkeypatch.chdir(tmp_path)
    for written, line in ((text, added), (text.replace("\n", "\r\n"), added.replace("\n", "\r\n"))):
        Path("dvc.yaml").write_bytes(written.encode())
        before = dependencies("ingest")
        add_dependency("ingest", FILE)
        assert dependencies("ingest") == ["data/feedback.parquet", *before]
        content = Path("dvc.yaml").read_bytes()
        assert content.replace(line.encode(), b"") == written.encode()
        add_dependency("ingest", FILE)
        assert Path("dvc.yaml").read_bytes() == content
        remove_dependency("ingest", FILE)
        remove_dependency("ingest", FILE)
        assert Path("dvc.yaml").read_bytes() == written.encode()


@pytest.mark.parametrize("text", ["", "stages:\n  ingest: {cmd: x}\n", "stages:\n  other: {cmd: x, deps: [a]}\n"])
def test_a_stage_without_a_list_is_left_to_a_person(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(text)
    with pytest.raises(InputError, match=r"add data/feedback\.parquet to the deps of the stage ingest"):
        add_dependency("ingest", FILE)
    assert Path("dvc.yaml").read_text() == text


def test_without_a_pipeline_there_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dependencies("ingest") == []
