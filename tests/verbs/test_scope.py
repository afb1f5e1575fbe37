"""A repository grows from an exploration to a product and back, with edits in every file that is the team's."""

import sys

import pandas as pd
import pytest

from support.repository import render
from support.updates import Project, copy_template

SCOPES = ("exploration", "product")
EDITED = {  # file: what is replaced, by what
    "README.md": ("**What it does:** ", "**What it does, and for whom:** "),
    "params.yaml": ("test_share: 0.2 ", "test_share: 0.3 "),
    "contract.yaml": ("columns:", "# ours\ncolumns:"),
    "Makefile": ("##@ Yours\n", "##@ Yours\nours: setup ## a verb of ours\n\t@echo ours\n"),
    "docs/crisp-dm/1_business_understanding.md": ("status: example", "status: draft"),
    "docs/crisp-dm/5_evaluation.md": ("For the domain expert, ", "For the domain expert, our customers, "),
    "notebooks/1_data_understanding.ipynb": ("import pandas", 'import pandas as ours\\n",\n    "import pandas'),
    "src/flight_delays/features.py": ("    features: dict", "    # ours\n    features: dict"),
    "src/flight_delays/model.py": ("def make_model", "# ours\ndef make_model"),
    # a job below the mark, with which the template shares the file
    ".github/workflows/change.yml": ("(docs/updates.md).\n", "(docs/updates.md).\n  ours:\n    needs: test\n"),
    "example/README.md": ("# The example", "# Our example"),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The template as it is now, in git."""
    template = copy_template(tmp_path_factory.mktemp("template"))
    template.run("git", "init", "--quiet", "--initial-branch=main")
    template.commit("as it is now")
    return template


def content(repository):
    return {path.as_posix(): repository.read(path) for path in repository.files() if path.name != ".cruft.json"}


@pytest.mark.parametrize("first", SCOPES)
def test_a_scope_is_changed_and_changed_back_over_edits_in_every_file_of_the_team_s(template, tmp_path, first):
    fresh, edited = {}, {}
    for scope in SCOPES:
        (tmp_path / scope).mkdir()
        fresh[scope] = content(Project(render(template.path, tmp_path / scope, scope=scope), template.path))
        edited[scope] = {**fresh[scope]}
        for name, (old, new) in EDITED.items():
            assert old in fresh[scope][name], name
            edited[scope][name] = fresh[scope][name].replace(old, new)
    (tmp_path / "here").mkdir()
    repository = Project(render(template.path, tmp_path / "here", scope=first), template.path)
    for name, (old, new) in EDITED.items():
        repository.replace(name, old, new)
    repository.commit("bake and edit")
    other = next(scope for scope in SCOPES if scope != first)
    for scope in (other, first):
        printed = repository.update(f"--set=scope={scope}")
        assert "conflict" not in printed
        assert "yours, and given what the answer brings: README.md" in " ".join(printed.split())
        assert repository.run("git", "status", "--porcelain") == ""
        assert content(repository) == edited[scope]


def test_where_the_team_has_changed_the_same_lines_its_own_stay(template, tmp_path):
    repository = Project(render(template.path, tmp_path, scope="exploration"), template.path)
    line = next(line for line in repository.read("README.md").splitlines() if line.startswith("| `adopt` |"))
    repository.replace("README.md", line, "| `adopt` | ours | |")
    repository.commit("bake and edit")
    repository.update("--set=scope=product")
    readme = repository.read("README.md")
    assert "| `adopt` | ours | |" in readme
    assert "## Serve\n" in readme
    assert "<<<<<<<" not in readme


def test_feedback_needs_the_scope_that_reads_it(template, tmp_path):
    """Rows of a product that has become an exploration again: left out without a word, they would change the model."""
    repository = Project(render(template.path, tmp_path, scope="exploration"), template.path)
    (repository.path / "data").mkdir()
    (repository.path / "data/feedback.parquet.dvc").write_text("outs: []\n")
    pd.read_csv(repository.path / "example/flights.csv", nrows=3).to_parquet(repository.path / "data/feedback.parquet")
    repository.commit("bake and feedback")
    ingest = [sys.executable, "-m", "modelcycle", "ingest"]
    printed = repository.run(*ingest, fails=True, PYTHONPATH="src")
    assert printed == (
        "error: data/feedback.parquet is read by the scope product alone: type `make update SET=scope=product`.\n"
    )
    repository.update("--set=scope=product")
    assert "18,330 rows" in repository.run(*ingest, PYTHONPATH="src")
