"""`make dev` bakes after each edit, shows what changed, and goes on after an edit that can't be baked."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TEMPLATE, TREE


@pytest.fixture
def template(tmp_path):
    """A copy of what is baked."""
    for name in ("hooks", TREE.name, "tools"):
        shutil.copytree(TEMPLATE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TEMPLATE / "cookiecutter.json", tmp_path)
    return tmp_path


def expect(log: Path, text: str, times: int = 1) -> None:
    for _ in range(300):
        if log.read_text().count(text) >= times:
            return
        time.sleep(0.1)
    pytest.fail(f"{text!r} was not said:\n{log.read_text()}")


def test_an_edit_shows_in_the_bake_and_a_fault_is_one_line(template):
    page, log = template / TREE.name / "docs/ci.md", template / "log"
    bake = template / "build/dev"
    old = page.read_text(encoding="utf-8")
    author = {f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = [sys.executable, "tools/dev.py", "ci_provider=gitlab"]
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=template, stdout=said, stderr=said, env=os.environ | author)
    try:
        expect(log, "build/dev is baked")
        assert (bake / ".gitlab-ci.yml").exists()
        (bake / "reports").mkdir()
        (bake / "reports/report.html").write_text("made in there")
        time.sleep(1)  # until it watches
        page.write_text(old.replace("# What CI does", "# What our CI does"), encoding="utf-8")
        expect(log, "docs/ci.md | 2 +-")
        assert "What our CI does" in (bake / "docs/ci.md").read_text(encoding="utf-8")
        page.write_text(old + "{% if %}\n", encoding="utf-8")
        expect(log, "not baked: ")
        assert "Traceback" not in log.read_text()
        (page.parent / "scale.md").unlink()
        page.write_text(old, encoding="utf-8")
        expect(log, "docs/scale.md |")
        assert not (bake / "docs/scale.md").exists()
        assert (bake / "docs/ci.md").read_text(encoding="utf-8").startswith("# What CI does")
        assert (bake / "reports/report.html").exists()
    finally:
        process.terminate()
        process.wait()
