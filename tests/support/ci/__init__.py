"""Read each CI provider's file into the same table: stage -> needs, when it runs, scripts with their variables, files.

The readers know what our files use and raise Unknown for the rest, which could change what runs when. faults.py has
faults for the test that each one is found.
"""

from pathlib import Path

from support.ci.bamboo import read_bamboo
from support.ci.github import read_github
from support.ci.gitlab import read_gitlab
from support.ci.jenkins import read_jenkins
from support.ci.stage import Stage, Unknown

__all__ = ["FILES", "Stage", "Unknown", "list_files", "read"]

FILES = {
    "github": ".github/workflows/*.yml",
    "gitlab": ".gitlab-ci.yml",
    "jenkins": "Jenkinsfile",
    "bamboo": "bamboo-specs/bamboo.yaml",
}


def list_files(provider: str, folder: Path) -> list[Path]:
    """List the files of a repository that its provider reads."""
    return sorted(folder.glob(FILES[provider]))


def read(provider: str, folder: Path) -> dict[str, Stage]:
    """Read the pipeline of a repository."""
    reader = {"github": read_github, "gitlab": read_gitlab, "jenkins": read_jenkins, "bamboo": read_bamboo}[provider]
    try:
        stages = reader(*list_files(provider, folder))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unknown(f"something is missing or has another form: {error!r}") from error
    for stage in stages.values():  # a stage waits only for those that its kind of pipeline has
        stage.needs = {name for name in stage.needs if stages[name].when & stage.when}
        stage.takes = {path for path in stage.takes if any(is_read(path, script) for script, _ in stage.scripts)}
    return stages


def is_read(path: str, script: str) -> bool:
    """Say whether a script reads a file: it names it, or calls the verb that does."""
    return path in script or (path == "reports/update.bundle" and "make propose" in script)
