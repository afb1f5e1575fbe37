"""The template: which commits are newer than the recorded one, and how a repository looks as one of them makes it."""

import json
import re
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from updater.git import InputError, find_commit, git, git_bytes, report, run

RECORD = Path(".cruft.json")
RELEASE = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")  # no preliminary ones, such as v1.0.0-rc1


@dataclass
class Record:
    """What .cruft.json holds: the template's address, the commit that this repository has of it, and the answers."""

    template: str
    commit: str
    answers: dict[str, str]


def read_record(template: Path) -> Record:
    """Read .cruft.json as committed. Raises InputError where it is missing, broken or has no known commit."""
    if not git("ls-tree", "--name-only", "HEAD", RECORD):
        raise InputError(
            f"git has no {RECORD} in {Path.cwd()}, so nobody knows which template this comes from. "
            "Type `uvx cruft link TEMPLATE` with its address, give the answers of that time, and commit."
        )
    try:
        record = json.loads(git_bytes("show", f"HEAD:./{RECORD}"))
        answers = {name: str(value) for name, value in record["context"]["cookiecutter"].items() if name[0] != "_"}
        address, name = record["template"], record["commit"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{RECORD} is not what cruft writes ({error!r}); take it back from git.") from None
    if not name:
        raise InputError(
            f'{RECORD} names no commit of the template: write the release that this was made from into "commit", '
            f"or the commit, and commit it. Releases: {describe_releases(template)}."
        )
    if not (commit := find_commit(template, name)):
        raise InputError(
            f"{address} has no commit {name}, which {RECORD} names. Releases: {describe_releases(template)}."
        )
    return Record(address, commit, answers)


def list_releases(template: Path) -> list[str]:
    """List the tags that are releases, the newest first."""
    tags = filter(RELEASE.fullmatch, git("-C", template, "tag").splitlines())
    return sorted(tags, key=lambda tag: [int(part) for part in re.findall(r"\d+", tag)], reverse=True)


def describe_releases(template: Path) -> str:
    """List the releases in words."""
    return ", ".join(list_releases(template)) or "none"


def name_commit(template: Path, commit: str) -> str:
    """Name a commit by its release, or by the beginning of its hash."""
    tags = git("-C", template, "tag", "--points-at", commit).splitlines()
    return next(filter(RELEASE.fullmatch, tags), commit[:10])


def find_newest(template: Path) -> str:
    """Name the newest release; where the template has no release, the branch that its address leads to."""
    branch = git("-C", template, "symbolic-ref", "--quiet", "--short", "HEAD")
    return next(iter(list_releases(template)), branch or find_commit(template, "HEAD"))


def find_newer(template: Path, commit: str) -> str:
    """Name the newest release or the branch, see find_newest; empty where a commit has all of it."""
    newest = find_newest(template)
    return "" if has_commit(template, commit, newest) else newest


def has_commit(template: Path, commit: str, other: str) -> bool:
    """Say whether a commit is, or descends from, another one."""
    return git("-C", template, "merge-base", commit, other) == find_commit(template, other)


def find_target(template: Path, record: Record, target: str, answers: dict[str, str]) -> str:
    """Find the commit of a target. Raises InputError where there is none, or an answer has no question."""
    if not (commit := find_commit(template, target)):
        raise InputError(f"The template has no {target}; its releases: {describe_releases(template)}.")
    defaults = json.loads(git("-C", template, "show", f"{commit}:cookiecutter.json"))
    questions = [name for name in defaults if not name.startswith("_")]
    if unknown := sorted(set(answers) - set(questions)):
        raise InputError(f"{unknown[0]} is no question; expected one of {', '.join(questions)}.")
    if "package_name" in answers:
        raise InputError("package_name can't be changed by an update: features.py and model.py would stay behind.")
    if commit != record.commit and has_commit(template, record.commit, commit):
        known = name_commit(template, record.commit)
        report("update", f"{target} is older than what you have, {known}: what has come since is taken away")
    return commit


def describe(template: Path, name: str, commit: str) -> str:
    """Name a commit that a release, a branch or the beginning of its hash stands for; a branch with the hash."""
    tags = git("-C", template, "tag", "--points-at", commit).splitlines()
    return name if name in tags or commit.startswith(name) else f"{name} ({commit[:10]})"


def describe_newest(template: Path) -> str:
    """Say that nothing is newer than what a repository has, and what the template's newest is."""
    newest = find_newest(template)
    commit = find_commit(template, newest)
    return f"Nothing is newer: the template's newest {'release' if RELEASE.fullmatch(newest) else 'commit'} is " + (
        newest if RELEASE.fullmatch(newest) else describe(template, newest, commit)
    )


def check_out(template: Path, commit: str, folder: Path) -> Path:
    """Check a commit of the template out into a folder of its own."""
    git("clone", "--quiet", "--shared", "--no-checkout", template, folder)
    git("-C", folder, "checkout", "--quiet", "--detach", commit)
    return folder


def render(template: Path, commit: str, answers: dict[str, str], folder: Path) -> Path:
    """Render the template at a commit into a folder. Raises InputError with its reason to refuse the answers."""
    copy = check_out(template, commit, folder / "template")
    config = folder / "config.yaml"
    config.write_text(f"cookiecutters_dir: {folder}\nreplay_dir: {folder}\n", encoding="utf-8")
    options = ("--no-input", "--config-file", config, "--output-dir", folder / "rendering")
    run("-m", "cookiecutter", *options, copy, *[f"{name}={value}" for name, value in answers.items()], scratch=folder)
    (rendering,) = (folder / "rendering").iterdir()
    return rendering


def render_both(
    template: Path, record: Record, answers: dict[str, str], commit: str, target: str, folder: Path
) -> tuple[Path, Path]:
    """Render the template as it was and as it is at a commit, both formatted as the team formats its code."""
    before = render(template, record.commit, record.answers, folder / "before")
    (before / RECORD).write_bytes(git_bytes("show", f"HEAD:./{RECORD}"))
    after = render(template, commit, record.answers | answers, folder / "after")
    new = json.loads((after / RECORD).read_text(encoding="utf-8"))
    new |= {"template": record.template, "commit": commit, "checkout": None if commit.startswith(target) else target}
    (after / RECORD).write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    own, templates = (read_tool_settings(root).get("ruff") for root in (Path(), before))
    if own != templates:  # or each reformatted line would be a change
        for rendering in (before, after):
            format_rendering(rendering)
    return before, after


def read_tool_settings(folder: Path) -> dict[str, Any]:
    """Read the section [tool] of a pyproject.toml."""
    pyproject = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(pyproject.get("tool", {}))


def format_rendering(rendering: Path) -> None:
    """Format a rendering with this repository's settings of ruff, without what they leave out, such as the machinery.

    ruff takes the paths that are left out from the folder that it is started in.
    """
    config = Path("pyproject.toml").resolve()
    run("-m", "ruff", "format", "--no-cache", "--config", config, folder=rendering)


def list_team_files(rendering: Path) -> list[str]:
    """List the files of a rendering that belong to the team, as [tool.cruft] in pyproject.toml says."""
    patterns = read_tool_settings(Path()).get("cruft", {}).get("skip", [])
    paths = [path for pattern in patterns for path in rendering.glob(pattern)]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sorted({file.relative_to(rendering).as_posix() for file in files} - {RECORD.as_posix()})


def list_stale_files(team_files: list[str], before: Path, after: Path) -> list[str]:
    """List the team's files that the template has changed since, or given up."""
    read = [
        {path: (root / path).read_bytes() for path in team_files if (root / path).exists()} for root in (before, after)
    ]
    return [path for path in team_files if read[0].get(path) != read[1].get(path)]


def merge_into_team_files(team_files: list[str], before: Path, after: Path) -> list[str]:
    """Let another answer add its paragraphs to the team's files, such as README.md, and take away what is unchanged.

    Where the team has changed the same lines, its own stay. In both renderings a file becomes what is here, before and
    after the merge, so that there is no conflict. Returns the files that are left alone.
    """
    merged, removed = [], []
    for path in list_stale_files(team_files, before, after):
        here, old, new = Path(path), before / path, after / path
        if here.exists() and new.exists():
            text = git_bytes("merge-file", "-p", "--ours", "--quiet", here, old, new)
            old.write_bytes(here.read_bytes())
            new.write_bytes(text)
            merged.append(path)
        elif here.exists() and here.read_bytes() == old.read_bytes():
            removed.append(path)
    if merged:
        report("update", "yours, and given what the answer brings:", ", ".join(merged))
    return [path for path in team_files if path not in (*merged, *removed)]


def commit_rendering(place: Path, rendering: Path, excluded: list[str], message: str, *parents: str) -> str:
    """Make a commit, on no branch of a repository, of a rendering without the excluded files. Returns the commit.

    place: the folder of the repository that the rendering is like; it may be one of a larger repository.
    """
    environment = {"GIT_DIR": git("-C", place, "rev-parse", "--absolute-git-dir"), "GIT_WORK_TREE": str(rendering)}
    environment["GIT_INDEX_FILE"] = str(rendering.parents[1] / "index")
    run_git = partial(git, "-C", rendering, "-c", "core.autocrlf=false", environment=environment)
    run_git("add", "--all", "--force", ".")
    if excluded:
        run_git("rm", "-rf", "--cached", "--quiet", "--ignore-unmatch", "--", *excluded)
    tree = run_git("write-tree")
    if prefix := git("-C", place, "rev-parse", "--show-prefix"):
        run_git("read-tree", "--empty")
        run_git("read-tree", f"--prefix={prefix}", tree)
        tree = run_git("write-tree")
    words = [word for parent in parents for word in ("-p", parent)]
    return git("-C", place, "commit-tree", tree, "-m", message, *words)
