"""A template of a few files, and a repository that is updated from it in this process."""

import contextlib
import io
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import update as updater
from support.repository import TEMPLATE, TREE, Repository

# The template's files: as they were in v0.9.0 and as they are in v1.0.0; None: not there.
PAGE = "".join(f"Line {i} of {{{{ cookiecutter.colour }}}}\n" for i in range(9))
CODE = "".join(f"value_{i} = [{i}, {i}]\n" for i in range(9))
FILES = {
    "docs/page.md": (PAGE.replace("Line 2", "Once"), PAGE),
    "docs/gone.md": ("This page was given up.\n", None),
    "docs/new.md": (None, "This page is new.\n"),
    "src/answer.py": (f'"""Once."""\n{CODE}', f'"""Now."""\n{CODE}'),
    "params.yaml": ("seed: 0 # once\n", "seed: 0\n"),
    ".gitignore": ("/reports/\n", "/reports/\n"),
    "team/model.py": ("model = 1\n", "model = 1\n"),
    "team/new.md": (None, "A new page for the team.\n"),
    "pyproject.toml": (skip := '[tool.cruft]\nskip = [".cruft.json", "params.yaml", "team"]\n', skip),
}
TEAMS = ("params.yaml", "team/model.py", "team/new.md")


@dataclass
class Project(Repository):
    """A repository that is updated in this process, by a clone of its template; everything else is as for a user."""

    source: Path

    def attempt(self, *words, **environment):
        """Run the updater with these words; gives the exit status and all it printed."""
        printed = io.StringIO()
        with (
            tempfile.TemporaryDirectory() as template,
            pytest.MonkeyPatch.context() as patch,
            contextlib.chdir(self.path),
        ):
            self.run("git", "clone", "--quiet", str(self.source), template)
            for name, value in environment.items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                status = updater.main(list(words), Path(template))
        return status, printed.getvalue()

    def update(self, *words, fails=False, **environment):
        """Run the updater with these words and give all it printed."""
        status, printed = self.attempt(*words, **environment)
        assert (status != 0) == fails, f"in {self.path}: update {' '.join(words)}: exit {status}\n{printed}"
        return printed


def copy_template(folder):
    """Copy the real template, as it is now, into a folder, which is no git repository yet."""
    for name in Repository(TEMPLATE).run("git", "ls-files", "-coz", "--exclude-standard").split("\0"):
        if name and (TEMPLATE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TEMPLATE / name, folder / name)
    return Repository(folder)


def make_template(folder):
    """Make the template with its releases v0.9.0, v1.0.0, which is main, and the preliminary v2.0.0-rc1."""
    template = Repository(folder)
    tree = template.path / TREE.name
    for i, version in enumerate(("0.9.0", "1.0.0", "2.0.0-rc1")):
        questions = {
            "project_name": "Flights",
            "project_slug": "flights",
            "package_name": "flights",
            "colour": ["red", "blue"],
            "_version": version,
            "_rooms": {},
            "__rooms": "",
        }
        for name, states in FILES.items():
            path, state = tree / name, states[min(i, 1)]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(state) if state else path.unlink(missing_ok=True)
        shutil.copy(TREE / ".cruft.json", tree)
        shutil.copytree(TEMPLATE / "hooks", template.path / "hooks", dirs_exist_ok=True)
        (template.path / "hooks/pre_gen_project.py").unlink()
        (template.path / "cookiecutter.json").write_text(json.dumps(questions))
        template.commit(version)
        template.run("git", "tag", f"v{version}")
    template.run("git", "reset", "--quiet", "--hard", "v1.0.0")
    return template


def read_record(repository):
    """Read a repository's .cruft.json."""
    return json.loads(repository.read(".cruft.json"))


def write_uvx(folder):
    """Write a stand-in for uvx into a folder, which runs what is installed with these tests. Returns the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "uvx").write_text(f'#!/bin/sh\nexec {Path(sys.executable).parent}/"$@"\n', encoding="utf-8")
    (folder / "uvx").chmod(0o755)
    return folder
