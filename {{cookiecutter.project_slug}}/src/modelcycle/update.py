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
from modelcycle.tracking.git import find_commit, git, read_file_at

log = logging.getLogger(__name__)
RECORD = Path(".cruft.json")
RELEASE = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")  # no preliminary ones, such as v1.0.0-rc1
RESOLVE = (
    "Edit what is between <<<<<<< and >>>>>>>, `git rm` what is to go, then `git add .` and "
    "`git cherry-pick --continue`; or take all back: `git cherry-pick --abort`."
)


@dataclass
class Record:
    """What .cruft.json holds: the template's address, a commit of it, and the answers."""

    template: str
    commit: str
    answers: dict[str, str]


def read_record() -> Record:
    """Read .cruft.json as committed. Raises InputError where it is missing or is not what cruft writes."""
    if (text := read_file_at("HEAD", RECORD.as_posix())) is None:
        raise InputError(
            f"git has no {RECORD} in {Path.cwd()}, so nobody knows which template this comes from. "
            "Type `uvx cruft link TEMPLATE` with its address, give the answers of that time, and commit."
        )
    try:
        record = json.loads(text)
        answers = {name: str(value) for name, value in record["context"]["cookiecutter"].items() if name[0] != "_"}
        return Record(record["template"], record["commit"], answers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{RECORD} is not what cruft writes ({error!r}); take it back from git.") from None


def clone_template(record: Record, folder: Path) -> Path:
    """Clone the template. Raises InputError when it is out of reach or does not have the recorded commit."""
    relative = Path.cwd().parent / record.template  # typed where this repository was made
    if ":" not in record.template and not relative.exists():
        raise InputError(f"{RECORD} says that the template is in {record.template}; write its address there, commit.")
    git("clone", "--quiet", str(relative) if relative.exists() else record.template, folder)
    if not resolve_commit(folder, record.commit):
        raise InputError(f"{record.template} has no commit {record.commit}, which {RECORD} names.")
    return folder


def resolve_commit(template: Path, name: str) -> str:
    """Resolve a tag, a branch or a commit in a clone to its commit; empty where there is none."""
    return find_commit(name, template) or find_commit(f"origin/{name}", template)


def list_releases(template: Path) -> list[str]:
    """List the tags of a clone that are releases, the newest first."""
    tags = filter(RELEASE.fullmatch, git("-C", template, "tag").splitlines())
    return sorted(tags, key=lambda tag: [int(part) for part in re.findall(r"\d+", tag)], reverse=True)


def name_commit(template: Path, commit: str) -> str:
    """Name a commit of a clone by its release, or by the beginning of its hash."""
    tags = git("-C", template, "tag", "--points-at", commit).splitlines()
    return next(filter(RELEASE.fullmatch, tags), commit[:10])


def find_newer_release(template: Path, commit: str) -> str:
    """Find the newest release in a clone; empty where a commit has all of it already, or there is no release."""
    newest = next(iter(list_releases(template)), "")
    return "" if newest and has_commit(template, commit, newest) else newest


def has_commit(template: Path, commit: str, other: str) -> bool:
    """Say whether a commit of a clone is, or descends from, another one."""
    return git("-C", template, "merge-base", commit, other) == resolve_commit(template, other)


def render_template(template: Path, commit: str, answers: dict[str, str], folder: Path) -> Path:
    """Render the template at a commit into a folder. Raises InputError with its reason to refuse the answers."""
    git("-C", template, "checkout", "--quiet", "--detach", commit)
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(f"cookiecutters_dir: {folder}\nreplay_dir: {folder}\n", encoding="utf-8")
    options = ("--no-input", "--config-file", config, "--output-dir", folder / "rendering")
    assignments = [f"{name}={value}" for name, value in answers.items()]
    run(sys.executable, "-m", "cookiecutter", *options, template, *assignments)
    (rendering,) = (folder / "rendering").iterdir()
    return rendering


def list_team_files(rendering: Path) -> list[str]:
    """List the files of a rendering that belong to the team, as [tool.cruft] in pyproject.toml says."""
    patterns = read_tool_settings(Path()).get("cruft", {}).get("skip", [])
    paths = [path for pattern in patterns for path in rendering.glob(pattern)]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sorted({file.relative_to(rendering).as_posix() for file in files} - {RECORD.as_posix()})


def format_rendering(rendering: Path) -> None:
    """Format a rendering with this repository's settings of ruff, without what they leave out, such as the machinery.

    ruff takes the paths that are left out from the folder that it is started in.
    """
    config = Path("pyproject.toml").resolve()
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--config", config, folder=rendering)


def commit_rendering(rendering: Path, excluded: list[str], message: str, *parents: str) -> str:
    """Make a commit, on no branch, of a rendering without the excluded files. Returns the commit."""
    environment = {"GIT_DIR": git("rev-parse", "--absolute-git-dir"), "GIT_WORK_TREE": str(rendering)}
    environment["GIT_INDEX_FILE"] = str(rendering.parents[1] / "index")
    run_git = partial(git, "-C", rendering, "-c", "core.autocrlf=false", environment=environment)
    run_git("add", "--all", "--force", ".")
    if excluded:
        run_git("rm", "-rf", "--cached", "--quiet", "--ignore-unmatch", "--", *excluded)
    tree = run_git("write-tree")
    if prefix := git("rev-parse", "--show-prefix"):  # this is a folder of a larger repository
        run_git("read-tree", "--empty")
        run_git("read-tree", f"--prefix={prefix}", tree)
        tree = run_git("write-tree")
    return git("commit-tree", tree, "-m", message, *[word for parent in parents for word in ("-p", parent)])


def cherry_pick(commit: str) -> None:
    """Merge a commit as git does it; what the team has deleted stays so.

    Raises Conflict where a person has to decide. Raises InputError, with nothing changed, when git can't begin.
    """
    failure = None
    try:
        git("cherry-pick", "--keep-redundant-commits", commit)
    except InputError as error:  # a conflict, or it can't begin
        failure = error
    stages = read_unmerged_stages()
    deleted = [path for path, stage in stages.items() if stage == "13"]
    if deleted:
        git("rm", "-f", "--quiet", "--", *deleted)
        report_line("update", "left out, as not here (deleted, or moved and much changed):", ", ".join(deleted))
        report_line("", "what the template has changed there:", f"git show {commit[:10]} -- {' '.join(deleted)}")
    retired = sorted(path for path, stage in stages.items() if stage == "12")
    both = sorted(set(stages) - {*deleted, *retired})
    conflicts = [f"The template and you have both changed {', '.join(both)}."] if both else []
    conflicts += [f"The template has given up {', '.join(retired)}, which you have changed."] if retired else []
    if conflicts:
        raise Conflict(" ".join([*conflicts, RESOLVE]))
    if deleted:
        git("commit", "--quiet", "--no-verify", "--reuse-message", commit)
    elif failure:
        raise InputError(f"git can't pick the update: {failure}")


def read_unmerged_stages() -> dict[str, str]:
    """Read which stages of each unmerged path git has, such as 123; 1: as it was, 2: the team's, 3: the template's."""
    stages: dict[str, str] = {}
    for line in filter(None, git("ls-files", "--unmerged", "-z").split("\0")):
        facts, path = line.split("\t")
        stages[path] = stages.get(path, "") + facts[-1]
    return stages


def propose(commit: str, branch: str, title: str) -> None:
    """Pick a commit on a branch of its own and push it; where a person has to decide, with git's marks in the files.

    GitLab opens a merge request for what is pushed, GitHub's `gh` a pull request: where a person has to decide, a draft
    with a label. Elsewhere one opens it from the branch. The branch that is checked out stays as it is.
    """
    conflict = ""
    git("checkout", "--quiet", "-B", branch)
    try:
        try:
            cherry_pick(commit)
        except Conflict as error:
            conflict = str(error).removesuffix(f" {RESOLVE}")
            message = f"{title}: conflicts to be resolved\n\n{conflict}"
            git("commit", "--quiet", "--no-verify", "--all", "--message", message)
        request = ["create", f"title={'Draft: ' if conflict else ''}{title}", *(["label=conflict"] if conflict else [])]
        options = [f"--push-option=merge_request.{option}" for option in request] if "GITLAB_CI" in os.environ else []
        git("push", "--quiet", *options, "origin", branch)
    finally:
        git("checkout", "--quiet", "-")
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


def require_no_changes() -> None:
    """Raise Conflict where an update with a conflict is unfinished, InputError where something is not committed."""
    if git("rev-parse", "--quiet", "--verify", "CHERRY_PICK_HEAD"):
        raise Conflict(f"git has not finished a cherry-pick here, such as an update with a conflict. {RESOLVE}")
    if git("status", "--porcelain"):
        raise InputError("Something is not committed; commit it first, so that the update can be told from it.")


def update(to: str, assignments: list[str], as_proposal: bool = False) -> None:
    """Merge the newest release of the template, or `to`, and commit.

    assignments: other answers, each as name=value; with these alone the release stays.
    as_proposal: leave the branch as it is and push the update as another one, for review; once for each release.
    Raises InputError, with nothing changed, when it can't begin; Conflict where a person has to decide.
    """
    require_no_changes()
    record, answers = read_record(), dict(pair.partition("=")[::2] for pair in assignments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        template = clone_template(record, folder / "template")
        known = name_commit(template, record.commit)
        target = to or (known if answers else find_newer_release(template, record.commit))
        if not target:
            return report_line("update", "this is the newest release of the template already")
        target_commit = find_target(template, record, target, answers)
        branch = re.sub(r"[^\w.]+", "-", "-".join(["update", target, *assignments]))
        if as_proposal and git("ls-remote", "origin", f"refs/heads/{branch}"):
            return report_line("update", f"{target} is proposed already", branch)
        log.info("rendering the template as it was and as %s has it", target)
        before, after = render_both(template, record, answers, target_commit, target)
        title = f"Update the template to {target}" if to or not answers else "Render the template"
        message = " with ".join([title, *filter(None, [", ".join(assignments)])])
        team_files = list_team_files(before)  # a new page among them is brought in
        base = commit_rendering(before, team_files, "The template as it was")
        commit = commit_rendering(after, team_files, message, base)
        stale = [path for path in team_files if read_bytes(before / path) != read_bytes(after / path)]
    if not git("diff", "--name-only", base, commit):
        return report_line("update", f"{target} would change nothing")
    if stale:
        report_line("update", "yours and left as they are, changed in the template:", ", ".join(stale))
    if as_proposal:
        return propose(commit, branch, message)
    cherry_pick(commit)
    report_line("update", f"{message}: {git('diff', '--shortstat', 'HEAD^', 'HEAD')}")
    report_line("", "look at it with git show, then: make cycle test")


def find_target(template: Path, record: Record, target: str, answers: dict[str, str]) -> str:
    """Find the commit of a target in a clone. Raises InputError where there is none, or an answer has no question."""
    if not (commit := resolve_commit(template, target)):
        raise InputError(f"The template has no {target}; its releases: {', '.join(list_releases(template)) or 'none'}.")
    defaults = json.loads(git("-C", template, "show", f"{commit}:cookiecutter.json"))
    questions = [name for name in defaults if not name.startswith("_")]
    if unknown := sorted(set(answers) - set(questions)):
        raise InputError(f"{unknown[0]} is no question; expected one of {', '.join(questions)}.")
    if "package_name" in answers:
        raise InputError("package_name can't be changed by an update: features.py and model.py would stay behind.")
    if commit != resolve_commit(template, record.commit) and has_commit(template, record.commit, commit):
        known = name_commit(template, record.commit)
        report_line("update", f"{target} is older than what you have, {known}: what has come since is taken away")
    return commit


def render_both(template: Path, record: Record, answers: dict[str, str], commit: str, target: str) -> tuple[Path, Path]:
    """Render the template as it was and as it is at a commit, both formatted as the team formats its code."""
    folder = template.parent
    before = render_template(template, resolve_commit(template, record.commit), record.answers, folder / "before")
    (before / RECORD).write_bytes(read_file_at("HEAD", RECORD.as_posix()) or b"")
    after = render_template(template, commit, record.answers | answers, folder / "after")
    new_record = json.loads((after / RECORD).read_text(encoding="utf-8"))
    new_record |= {"template": record.template, "commit": commit, "checkout": target if target != commit else None}
    (after / RECORD).write_text(json.dumps(new_record, indent=2) + "\n", encoding="utf-8")
    own, templates = (read_tool_settings(root).get("ruff") for root in (Path(), before))
    if own != templates:  # or each reformatted line would be a change
        for rendering in (before, after):
            format_rendering(rendering)
    return before, after


def read_bytes(path: Path) -> bytes:
    """Read a file, empty where there is none."""
    return path.read_bytes() if path.exists() else b""


def read_tool_settings(folder: Path) -> dict[str, Any]:
    """Read the section [tool] of a pyproject.toml."""
    pyproject = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(pyproject.get("tool", {}))


def check_for_release() -> str:
    """Find the template's newest release, empty where this repository has it. Raises InputError when it can't tell."""
    record = read_record()
    with tempfile.TemporaryDirectory() as name:
        return find_newer_release(clone_template(record, Path(name) / "template"), record.commit)
