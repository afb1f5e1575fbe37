"""What tests of updates share."""

import pytest

from support.repository import render


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A template of a few files with releases, see support/updates.py. Tests must leave it as it is."""
    from support.updates import make_template

    return make_template(tmp_path_factory.mktemp("template") / "ours")


@pytest.fixture
def make(template, tmp_path, monkeypatch):
    """Render a release of the template, in git; cookiecutter runs in this process, which takes a fifth of the time."""
    from cookiecutter import cli

    from support.updates import Project
    from updater import template as rendering

    def run(*command, **options):
        if command[:2] != ("-m", "cookiecutter"):
            return run_program(*command, **options)
        return cli.main([str(word) for word in command[2:]], standalone_mode=False)

    def make(release, source=template, **answers):
        source.run("git", "checkout", "--quiet", "--detach", release)
        (tmp_path / release).mkdir(exist_ok=True)
        repository = Project(render(source.path, tmp_path / release, **answers), source.path)
        source.run("git", "checkout", "--quiet", "main")
        repository.commit("bake")
        return repository

    run_program = rendering.run
    monkeypatch.setattr(rendering, "run", run)
    return make


@pytest.fixture
def old(make):
    return make("v0.9.0")
