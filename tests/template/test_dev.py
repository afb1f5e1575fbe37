"""`make dev` bakes after each edit, shows what changed, and goes on after an edit that can't be baked."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.repository import TEMPLATE, TREE


@pytest.fixture
def template(tmp_path):
    """A copy of what is baked."""
    for name in ("hooks", TREE.name, "tools"):
        shutil.copytree(TEMPLATE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TEMPLATE / "cookiecutter.json", tmp_path)
    return tmp_path


@contextmanager
def dev(template: Path, *answers: str):
    """`make dev`; gives a function that waits until a line of what it says from now on matches a pattern."""
    log, read = template / "log", 0

    def expect(pattern: str) -> str:
        nonlocal read
        for _ in range(300):
            said = log.read_text()
            if found := re.compile(pattern, re.MULTILINE).search(said, read):
                read = found.end()
                return found[0]
            time.sleep(0.1)
        pytest.fail(f"{pattern!r} was not said:\n{said}")

    with log.open("w") as output:
        command = [sys.executable, "tools/dev.py", *answers]
        own_home = os.environ | {"HOME": str(template)}
        process = subprocess.Popen(command, cwd=template, stdout=output, stderr=output, env=own_home)
    try:
        yield expect
        assert process.poll() is None, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait()


def diff(template: Path) -> str:
    """Ask git in the bake what is different, as a developer does."""
    command = ["git", "diff", "--name-status"]
    return subprocess.run(command, cwd=template / "build/dev", capture_output=True, check=True, text=True).stdout


@pytest.mark.slow
def test_an_edit_shows_in_the_bake_and_what_is_made_there_stays(template):
    page, bake = template / TREE.name / "docs/ci.md", template / "build/dev"
    text = page.read_text(encoding="utf-8")
    with dev(template, "ci_provider=gitlab") as expect:
        expect("^build/dev is baked")
        assert (bake / ".gitlab-ci.yml").exists()
        (bake / "reports").mkdir()
        (bake / "reports/report.html").write_text("made in there")
        untouched = (bake / "pyproject.toml").stat().st_mtime_ns
        time.sleep(1)  # until it watches
        page.write_text(text.replace("# What CI does", "# What our CI does"), encoding="utf-8")
        expect(r"docs/ci.md \| 2 \+-")
        assert "What our CI does" in (bake / "docs/ci.md").read_text(encoding="utf-8")
        (page.parent / "scale.md").unlink()
        expect(r"docs/scale.md \|")
        (page.parent / "new.md").write_text("A new page\n")
        expect(r"docs/new.md +\| +1 \+")
        assert diff(template) == "M\tdocs/ci.md\nA\tdocs/new.md\nD\tdocs/scale.md\n"
        assert (bake / "reports/report.html").exists()
        assert (bake / "pyproject.toml").stat().st_mtime_ns == untouched
    with dev(template) as expect:  # other answers, the same folder
        expect("^build/dev is baked")
        assert (bake / ".github").exists()
        assert not (bake / ".gitlab-ci.yml").exists()
        assert (bake / "reports/report.html").exists()


FAULTS = [  # file, what is right there, what is wrong, what is said of it
    ("docs/ci.md", "# What", "{% if %} What", r"docs/ci.md, line 1: .*TemplateSyntaxError: Expected an expression.*"),
    ("docs/ci.md", "# What", "{{ nothing }}", r"Unable to create file 'docs/ci.md' .*: 'nothing' is undefined"),
    ("../hooks/pre_gen_project.py", "in RULES:", "in RULE:", r"NameError: .*'RULE' is not defined.*"),
    ("../cookiecutter.json", "{", "{,", r"JSON decoding error .*cookiecutter.json.*"),
]


@pytest.mark.slow
def test_a_fault_is_one_line_also_at_the_start_and_is_repaired(template):
    texts = {name: (template / TREE.name / name).read_text(encoding="utf-8") for name, *_ in FAULTS}

    def plant(name: str, right: str, wrong: str) -> None:
        assert right in texts[name]
        (template / TREE.name / name).write_text(texts[name].replace(right, wrong, 1), encoding="utf-8")

    def repair(name: str) -> None:
        (template / TREE.name / name).write_text(texts[name], encoding="utf-8")

    plant(*FAULTS[0][:3])
    with dev(template) as expect:
        expect(f"^not baked: {FAULTS[0][3]}$")
        time.sleep(1)  # until it watches
        repair(FAULTS[0][0])
        expect("^build/dev is baked")
        for name, right, wrong, said in FAULTS:
            plant(name, right, wrong)
            expect(f"^not baked: {said}$")
            repair(name)
            expect("^as at the start$")


def test_a_refused_answer_is_told_in_the_hook_s_words(template):
    with dev(template, "project_slug=Ours") as expect:
        expect(r"^not baked: project_slug can't be 'Ours': type lower-case letters.*as in flight-delays\.$")
