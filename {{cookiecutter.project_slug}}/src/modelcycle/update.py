"""Bring in a newer release of the template, or other answers to its questions, and keep what the team has changed.

.cruft.json says where the template is, at which commit, and with which answers this repository was made; cruft reads it
as well. The template is rendered twice, as it was and as it is to be, and the difference is a commit that git picks: it
merges as always, follows files that were moved, and stops at a conflict in its usual way. (`cruft update` applies the
difference as a patch: it does not follow moved files, and its exit status is 0 where it does not fit.)
"""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modelcycle.core.errors import Conflict, InputError
from modelcycle.core.output import report_line
from modelcycle.tracking.command import run
from modelcycle.tracking.git import git, read_file_at

log = logging.getLogger(__name__)
RECORD = Path(".cruft.json")
RELEASE = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")  # no preliminary ones, such as v1.0.0-rc1
RESOLVE = (
    "Edit what is between <<<<<<< and >>>>>>>, `git rm` what is to go, then `git add .` and "
    "`git cherry-pick --continue`; or take all back: `git cherry-pick --abort`."
)


@dataclass
class Record:
    """What .cruft.json says: the template's address, a commit of it, the answers."""

    template: str
    commit: str
    answers: dict[str, str]


def read_record() -> Record:
    """Read .cruft.json as committed. Raises InputError where it is missing or is not what cruft writes."""
    if (noted := read_file_at("HEAD", RECORD.as_posix())) is None:
        raise InputError(
            f"git has no {RECORD} in {Path.cwd()}, so nobody knows which template this comes from. "
            "Type `uvx cruft link TEMPLATE` with its address, give the answers of that time, and commit."
        )
    try:
        found = json.loads(noted)
        answers = {name: str(value) for name, value in found["context"]["cookiecutter"].items() if name[0] != "_"}
        return Record(found["template"], found["commit"], answers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{RECORD} is not what cruft writes ({error!r}); take it back from git.") from None


def clone(record: Record, folder: Path) -> Path:
    """Clone the template. Raises InputError when it is out of reach or does not have the recorded commit."""
    beside = Path.cwd().parent / record.template  # what was typed where this repository was made
    if ":" not in record.template and not beside.exists():
        raise InputError(f"{RECORD} says that the template is in {record.template}; write its address there, commit.")
    run("git", "clone", "--quiet", str(beside) if beside.exists() else record.template, folder)
    if not commit_of(folder, record.commit):
        raise InputError(f"{record.template} has no commit {record.commit}, which {RECORD} names.")
    return folder


def commit_of(template: Path, name: str) -> str:
    """Give the commit that a tag, a branch or a commit names in a clone; empty where there is none."""
    ask = ("-C", str(template), "rev-parse", "--quiet", "--verify")
    return git(*ask, f"{name}^{{commit}}") or git(*ask, f"origin/{name}^{{commit}}")


def releases(template: Path) -> list[str]:
    """List the tags of a clone that are releases, the newest first."""
    found = filter(RELEASE.fullmatch, git("-C", str(template), "tag").splitlines())
    return sorted(found, key=lambda tag: [int(part) for part in re.findall(r"\d+", tag)], reverse=True)


def newer(template: Path, commit: str) -> str:
    """Name the newest release in a clone; empty where a commit has all of it already, or there is no release."""
    newest = next(iter(releases(template)), "")
    return "" if newest and contains(template, commit, newest) else newest


def contains(template: Path, commit: str, other: str) -> bool:
    """Say whether a commit of a clone has all of another one."""
    return git("-C", str(template), "merge-base", commit, other) == commit_of(template, other)


def render(template: Path, commit: str, answers: dict[str, str], folder: Path) -> Path:
    """Render the template at a commit into a folder. Raises InputError with what it says of the answers."""
    run("git", "-C", template, "checkout", "--quiet", "--detach", commit)
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(f"cookiecutters_dir: {folder}\nreplay_dir: {folder}\n", encoding="utf-8")
    how = ("--no-input", "--config-file", config, "--output-dir", folder / "made")
    given = [f"{name}={value}" for name, value in answers.items()]
    run(sys.executable, "-m", "cookiecutter", *how, template, *given)
    (made,) = (folder / "made").iterdir()
    return made


def team_owned(made: Path) -> list[str]:
    """List the files of a rendering that are the team's, as [tool.cruft] in pyproject.toml says."""
    patterns = settings(Path()).get("cruft", {}).get("skip", [])
    found = [path for pattern in patterns for path in made.glob(pattern)]
    files = [file for path in found for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sorted({file.relative_to(made).as_posix() for file in files} - {RECORD.as_posix()})


def format_as_here(made: Path) -> None:
    """Format a rendering with this repository's settings of ruff, without what they leave out, such as the machinery.

    ruff takes the paths that are left out from the folder that it is started in.
    """
    config = Path("pyproject.toml").resolve()
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--config", config, folder=made)


def keep(made: Path, skipped: list[str], message: str, *parents: str) -> str:
    """Make a commit, on no branch, of a rendering without some of its files."""
    place = {"GIT_DIR": git("rev-parse", "--absolute-git-dir"), "GIT_WORK_TREE": str(made)}
    place["GIT_INDEX_FILE"] = str(made.parents[1] / "index")
    inside = partial(run, "git", "-C", made, "-c", "core.autocrlf=false", environment=place)
    inside("add", "--all", "--force", ".")
    if skipped:
        inside("rm", "-rf", "--cached", "--quiet", "--ignore-unmatch", "--", *skipped)
    tree = inside("write-tree")
    if prefix := git("rev-parse", "--show-prefix"):  # this is a folder of a larger repository
        inside("read-tree", "--empty")
        inside("read-tree", f"--prefix={prefix}", tree)
        tree = inside("write-tree")
    return run("git", "commit-tree", tree, "-m", message, *[word for parent in parents for word in ("-p", parent)])


def pick(commit: str) -> None:
    """Merge a commit as git does it; what the team has deleted stays so.

    Raises Conflict where a person has to decide. Raises InputError, with nothing changed, when git can't begin.
    """
    command = ["git", "cherry-pick", "--keep-redundant-commits", commit]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    stages: dict[str, str] = {}
    for line in filter(None, git("ls-files", "--unmerged", "-z").split("\0")):
        about, path = line.split("\t")
        stages[path] = stages.get(path, "") + about[-1]  # 1: as it was, 2: the team's, 3: the template's
    deleted = [path for path, found in stages.items() if found == "13"]
    if deleted:
        run("git", "rm", "-f", "--quiet", "--", *deleted)
        report_line("update", "left out, as not here (deleted, or moved and much changed):", ", ".join(deleted))
        report_line("", "what the template has changed there:", f"git show {commit[:10]} -- {' '.join(deleted)}")
    given_up = sorted(path for path, found in stages.items() if found == "12")
    both = sorted(set(stages) - {*deleted, *given_up})
    found = [f"The template and you have both changed {', '.join(both)}."] if both else []
    found += [f"The template has given up {', '.join(given_up)}, which you have changed."] if given_up else []
    if found:
        raise Conflict(" ".join([*found, RESOLVE]))
    if deleted:
        run("git", "commit", "--quiet", "--no-verify", "--reuse-message", commit)
    elif done.returncode:
        raise InputError(f"git can't pick the update: {' '.join(done.stderr.split())}")


def propose(commit: str, branch: str, title: str) -> None:
    """Pick a commit on a branch of its own and push it; where a person has to decide, with git's marks in the files.

    GitLab opens a merge request for what is pushed, GitHub's `gh` a pull request: where a person has to decide, a draft
    with a label. Elsewhere one opens it from the branch. The branch that is checked out stays as it is.
    """
    conflict = ""
    run("git", "checkout", "--quiet", "-B", branch)
    try:
        try:
            pick(commit)
        except Conflict as found:
            conflict = str(found).removesuffix(f" {RESOLVE}")
            message = f"{title}: conflicts to be resolved\n\n{conflict}"
            run("git", "commit", "--quiet", "--no-verify", "--all", "--message", message)
        request = ["create", f"title={'Draft: ' if conflict else ''}{title}", *(["label=conflict"] if conflict else [])]
        options = [f"--push-option=merge_request.{word}" for word in request] if "GITLAB_CI" in os.environ else []
        run("git", "push", "--quiet", *options, "origin", branch)
    finally:
        run("git", "checkout", "--quiet", "-")
    if "GITHUB_ACTIONS" in os.environ:
        draft = ["--draft", "--label", "conflict"] if conflict else []
        try:
            if conflict:
                run("gh", "label", "create", "conflict", "--force")
            run("gh", "pr", "create", "--head", branch, "--title", title, "--body", conflict or "No conflicts.", *draft)
        except InputError:
            git("push", "--quiet", "origin", "--delete", branch)  # or it would count as proposed the next time
            raise
    report_line("update", f"for review{': ' + conflict if conflict else ''}", branch)


def update(to: str, changed: list[str], proposed: bool = False) -> None:
    """Merge the newest release of the template, or `to`, and commit.

    changed: other answers, each as name=value; with these alone the release stays.
    proposed: leave the branch as it is and push the update as another one, for review; once for each release.
    Raises InputError, with nothing changed, when it can't begin; Conflict where a person has to decide.
    """
    if git("rev-parse", "--quiet", "--verify", "CHERRY_PICK_HEAD"):
        raise Conflict(f"git has not finished a cherry-pick here, such as an update with a conflict. {RESOLVE}")
    if git("status", "--porcelain"):
        raise InputError("Something is not committed; commit it first, so that the update can be told from it.")
    record, answers = read_record(), dict(pair.partition("=")[::2] for pair in changed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        template = clone(record, folder / "template")
        target = to or (record.commit if answers else newer(template, record.commit))
        if not target:
            return report_line("update", "this is the newest release of the template already")
        found = find_target(template, record, target, answers)
        branch = re.sub(r"[^\w.]+", "-", "-".join(["update", target, *changed]))
        if proposed and run("git", "ls-remote", "origin", f"refs/heads/{branch}"):
            return report_line("update", f"{target} is proposed already", branch)
        log.info("rendering the template as it was and as %s has it", target)
        before, after = render_both(template, record, answers, found, target)
        title = f"Update the template to {target}" if to or not answers else "Render the template"
        message = " with ".join([title, *filter(None, [", ".join(changed)])])
        skipped = team_owned(before)  # a new page among them is brought in
        base = keep(before, skipped, "The template as it was")
        commit = keep(after, skipped, message, base)
        theirs = [path for path in skipped if content(before / path) != content(after / path)]
    if not git("diff", "--name-only", base, commit):
        return report_line("update", f"{target} would change nothing")
    if theirs:
        report_line("update", "yours, so not touched, but otherwise in the template now:", ", ".join(theirs))
    if proposed:
        return propose(commit, branch, message)
    pick(commit)
    report_line("update", f"{message}: {git('diff', '--shortstat', 'HEAD^', 'HEAD')}")
    report_line("", "look at it with git show, then: make cycle test")


def find_target(template: Path, record: Record, target: str, answers: dict[str, str]) -> str:
    """Give the commit of a target in a clone. Raises InputError where there is none, or an answer has no question."""
    if not (found := commit_of(template, target)):
        raise InputError(f"The template has no {target}; its releases: {', '.join(releases(template)) or 'none'}.")
    asked = json.loads(git("-C", str(template), "show", f"{found}:cookiecutter.json"))
    questions = [name for name in asked if not name.startswith("_")]
    if unknown := sorted(set(answers) - set(questions)):
        raise InputError(f"{unknown[0]} is no question; expected one of {', '.join(questions)}.")
    if "package_name" in answers:
        raise InputError("package_name can't be changed by an update: features.py and model.py would stay behind.")
    if found != commit_of(template, record.commit) and contains(template, record.commit, found):
        report_line(
            "update", f"{target} is older than what you have, {record.commit}: what has come since is taken away"
        )
    return found


def render_both(template: Path, record: Record, answers: dict[str, str], found: str, target: str) -> tuple[Path, Path]:
    """Render the template as it was and as the commit `found` has it, both formatted as the team formats its code."""
    folder = template.parent
    before = render(template, commit_of(template, record.commit), record.answers, folder / "before")
    (before / RECORD).write_bytes(read_file_at("HEAD", RECORD.as_posix()) or b"")
    after = render(template, found, record.answers | answers, folder / "after")
    note = json.loads((after / RECORD).read_text(encoding="utf-8"))
    note |= {"template": record.template, "commit": found, "checkout": target if target != found else None}
    (after / RECORD).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    if settings(Path()).get("ruff") != settings(before).get("ruff"):  # or each reformatted line would be a change
        for made in (before, after):
            format_as_here(made)
    return before, after


def content(path: Path) -> bytes:
    """Read a file, nothing where there is none."""
    return path.read_bytes() if path.exists() else b""


def settings(folder: Path) -> dict[str, Any]:
    """Read the section [tool] of a pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    return found


def check() -> str:
    """Name the template's newest release if this repository lacks it. Raises InputError when nobody can tell."""
    record = read_record()
    with tempfile.TemporaryDirectory() as name:
        return newer(clone(record, Path(name) / "template"), record.commit)
