"""What a merge can't do: scripts of the template that edit a team's files, such as their imports; tools/migrations/."""

import ast
from pathlib import Path

from updater.git import git, report, run
from updater.merge import list_paths

FOLDER = "tools/migrations/"


def list_new(template: Path, known: str, commit: str) -> list[str]:
    """List the scripts that a commit of the template has and the known one has not, in the order of their names."""
    old, new = (git("-C", template, "ls-tree", "--name-only", name, FOLDER).splitlines() for name in (known, commit))
    return sorted(path for path in set(new) - set(old) if path.endswith(".py"))


def run_scripts(source: Path, scripts: list[str], copy: Path, title: str) -> str:
    """Run scripts in a copy of the repository, and commit what they change. Returns the commit, empty without one."""
    reasons = []
    for script in scripts:
        run(source / script, folder=copy)
        reasons.append(first_line(source / script))
    if not scripts or not git("-C", copy, "status", "--porcelain"):
        return ""
    git("-C", copy, "add", "--all", ".")
    git("-C", copy, "commit", "--quiet", "--no-verify", "--message", "\n".join([title, "", *reasons]))
    report("update", "yours, and migrated:", ", ".join(list_paths("diff", "--name-only", "HEAD^", place=copy)))
    return git("-C", copy, "rev-parse", "HEAD")


def first_line(script: Path) -> str:
    """Give the first line of a script's docstring."""
    return (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or script.name).split("\n")[0]
