"""The merge of an update by git's cherry-pick, in the repository or in a copy of it, and what a kill leaves of it."""

from pathlib import Path

from updater.git import Conflict, InputError, Stopped, git, report

RESOLVE = (
    "Edit what is between <<<<<<< and >>>>>>>, `git rm` what is to go, then `git add .` and "
    "`git cherry-pick --continue`; or take all back: `git cherry-pick --abort`."
)


def git_path(name: str) -> Path:
    """Give the path of a file of git's."""
    return Path(git("rev-parse", "--git-path", name))


def require_no_changes() -> None:
    """Raise Conflict where an update is unfinished, InputError where a tracked file has changes."""
    if git_path("CHERRY_PICK_HEAD").exists():
        raise Conflict(f"git has not finished a cherry-pick here, such as an update with a conflict. {RESOLVE}")
    mark, changes = git_path("update-in-progress"), git("status", "--porcelain", "--untracked-files=no")
    if mark.exists():
        head, lock = mark.read_text(encoding="ascii"), git_path("index.lock")
        is_complete = git("rev-parse", "HEAD") != head
        if lock.exists() or git_path("sequencer").exists() or (changes and not is_complete):
            commands = [f"rm -f {lock}", "git cherry-pick --quit", "git reset --quiet", "git stash --include-untracked"]
            raise Conflict(
                "The last update was stopped while git was writing its files. Type "
                f"`{' && '.join([*commands, f'git reset --hard {head}'])}`, which puts aside what is not committed "
                "(`git stash show --include-untracked`), then update again."
            )
        report("update", "the last one was stopped when it was " + ("complete" if is_complete else "about to begin"))
        mark.unlink()
    if changes:
        raise InputError("Something is not committed; commit it first, so that the update can be told from it.")


def require_free_paths(base: str, commit: str) -> None:
    """Raise InputError where an update writes to a path at which there is something that git does not have."""
    changed = list_paths("diff", "--name-only", "--no-renames", "--diff-filter=d", "--relative", base, commit)
    tracked = set(list_paths("ls-files"))
    present = [path for path in changed if Path(path).exists() or Path(path).is_symlink()]
    if taken := sorted(set(present) - tracked):
        raise InputError(
            f"The update brings {', '.join(taken)}, which is here without git: commit it, or move it away."
        )


def list_paths(*arguments: str, place: Path = Path()) -> list[str]:
    """List the paths that git prints."""
    return [path for path in git("-C", place, *arguments, "-z").split("\0") if path]


def copy_repository(folder: Path) -> Path:
    """Copy the commit that is checked out into a folder, to try there. Returns what is there like this folder."""
    top, prefix = git("rev-parse", "--show-toplevel"), git("rev-parse", "--show-prefix")
    git("clone", "--quiet", "--shared", "--no-checkout", top, folder)
    git("-C", folder, "checkout", "--quiet", "--detach", git("rev-parse", "HEAD"))
    for key in ("user.name", "user.email"):
        if value := git("config", key):
            git("-C", folder, "config", key, value)
    return folder / prefix


def pick(place: Path, commits: list[str]) -> str:
    """Merge commits as git does it; what the team has deleted stays so. Returns the conflicts, in a sentence.

    Raises InputError, with nothing changed, when git can't begin.
    """
    failure = None
    try:
        git("-C", place, "cherry-pick", "--keep-redundant-commits", *commits)
    except Stopped:
        raise
    except InputError as error:  # a conflict, or it can't begin
        failure = error
    stages = read_unmerged_stages(place)
    deleted = [path for path, stage in stages.items() if stage == "13"]
    if deleted:
        git("-C", place, "rm", "-f", "--quiet", "--", *deleted)
        report("update", "left out, as not here (deleted, or moved and much changed):", ", ".join(deleted))
        report("", "what the template has changed there:", f"git show {commits[-1][:10]} -- {' '.join(deleted)}")
    retired = sorted(path for path, stage in stages.items() if stage == "12")
    both = sorted(set(stages) - {*deleted, *retired})
    conflicts = [f"The template and you have both changed {', '.join(both)}."] if both else []
    conflicts += [f"The template has given up {', '.join(retired)}, which you have changed."] if retired else []
    if conflicts:
        return " ".join(conflicts)
    if deleted:
        git("-C", place, "commit", "--quiet", "--no-verify", "--reuse-message", commits[-1])
    elif failure:
        if len(commits) > 1:  # of one, git keeps nothing
            git("-C", place, "cherry-pick", "--abort")
        raise InputError(f"git can't pick the update: {failure}")
    return ""


def read_unmerged_stages(place: Path) -> dict[str, str]:
    """Read which stages of each unmerged path git has, such as 123; 1: as it was, 2: the team's, 3: the template's."""
    stages: dict[str, str] = {}
    for line in list_paths("ls-files", "--unmerged", place=place):
        facts, path = line.split("\t")
        stages[path] = stages.get(path, "") + facts[-1]
    return stages


def pick_here(commits: list[str]) -> None:
    """Merge commits here, with a mark while git writes. Raises Conflict where a person has to decide."""
    mark = git_path("update-in-progress")
    mark.write_text(git("rev-parse", "HEAD"), encoding="ascii")
    try:
        conflicts = pick(Path(), commits)
    except Stopped:
        raise
    except InputError:
        mark.unlink()
        raise
    mark.unlink()
    if conflicts:
        raise Conflict(f"{conflicts} {RESOLVE}")
