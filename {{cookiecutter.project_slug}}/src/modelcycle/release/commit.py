"""Prove that a commit holds what a version is made of: its results, its code, and all that they were made from."""

import os
from pathlib import Path
from shlex import quote
from typing import Any

from modelcycle.core import paths
from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import content_md5, report_line
from modelcycle.core.team import read_project
from modelcycle.release.chain import open_stores
from modelcycle.tracking.git import find_commit, git, has_commit
from modelcycle.versions.code import Code, digest_code, is_on_a_branch, read_code, read_code_at, read_files_at
from modelcycle.versions.lineage import read_lock
from modelcycle.versions.questions import find_changed_answer
from modelcycle.versions.version_process import VersionProcess


def require_clean_tree() -> None:
    """Raise InputError when the work tree holds anything that a branch does not; documents don't count."""
    if not paths.PARAMS.exists():
        raise InputError(f"{paths.PARAMS} is not in {Path.cwd()}; run this in the repository's top folder.")
    if not has_commit():
        raise InputError("Nothing is committed yet; commit the project, then release again.")
    # --no-renames keeps one path to a line; the cards that a release writes lie in docs/.
    changes = git("status", "--porcelain", "--no-renames", "--", ".", ":!docs").splitlines()
    if changes:
        names = ", ".join(change.split(maxsplit=1)[1] for change in changes[:5])
        raise InputError(
            f"The work tree differs from the commit: {names}{' and more' if len(changes) > 5 else ''}. "
            "A version names exactly one commit: commit or stash, then release again."
        )
    if not is_on_a_branch("HEAD"):
        raise InputError(
            "The commit is on no branch, so that git may delete it; check out a branch, then release again."
        )


def require_reproduced() -> None:
    """Raise InputError when a step of the pipeline is not up to date, or its results are not in dvc.lock."""
    from dvc.exceptions import DvcException  # imported late: few commands need it
    from dvc.repo import Repo

    try:
        repository = Repo()
        steps = [stage for stage in repository.index.stages if stage.cmd]
        frozen = [step.addressing for step in steps if getattr(step, "frozen", False)]
        stale = list(repository.status())
    except DvcException as error:
        remedy = " Remove it: a command that was stopped has left it half-written." if "RWLock" in str(error) else ""
        raise InputError(f"DVC can't read the pipeline: {first_line(error).rstrip('.')}.{remedy}") from None
    if frozen:
        raise InputError(f"dvc.yaml: {', '.join(frozen)} is frozen, so its result may be stale; remove `frozen`.")
    if stale:
        raise InputError(
            f"The pipeline is not up to date: {', '.join(stale)} has changed. "
            "Run `make reproduce`, commit dvc.lock, then release again."
        )
    if not git("ls-files", "dvc.lock"):
        raise InputError("dvc.lock is not in git. Commit it, then release again.")


def require_whole_commit(is_served: bool) -> None:
    """Raise InputError where HEAD lacks code or data that its results were made with.

    The work tree is clean and its pipeline up to date. So what git and DVC do not hold has been hidden from them: by a
    personal gitignore, by a setting, or by lying elsewhere.
    is_served: whether the version is for people on other machines, who have to reach the data as well.
    """
    require_all_code(read_code_at("HEAD"))
    require_stored_data(is_served)


def require_pushed_commit() -> None:
    """Raise InputError where no remote has HEAD on a branch, as last pushed or fetched; CI builds what was pushed."""
    if os.environ.get("CI") or git("for-each-ref", "--contains", "HEAD", "--count=1", "refs/remotes"):
        return
    branch, remotes = git("branch", "--show-current") or "BRANCH", git("remote").splitlines()
    add = "" if remotes else "`git remote add origin ADDRESS`, then "
    push = f"`git push --set-upstream {[*remotes, 'origin'][0]} {branch}`"
    raise InputError(
        f"Commit {find_commit('HEAD')[:7]} was not pushed, but MLFLOW_TRACKING_URI names a store that others may use: "
        f"their gate could not ask this version. Type {add}{push}, then release again."
    )


def require_all_code(code: Code) -> None:
    """Raise InputError where src/ in the work tree differs from that of the commit."""
    present = read_code(Path("src"))
    for name in sorted({*code, *present}):
        path = f"src/{name}"
        if name not in code:
            rule = git("check-ignore", "--verbose", "--no-index", "--", path).partition("\t")[0]
            why = f"git ignores it by {rule}" if rule else "git does not know it"
            raise InputError(
                f"{path} is not in the commit: {why}. Type `git add --force {quote(path)}` and commit, or delete it; "
                "then `make reproduce` and release again."
            )
        if code[name] != present.get(name):
            state = git("ls-files", "-v", "--", path)[:1]
            if state == "H":
                raise InputError(
                    f"{path} differs from the commit, though git sees no change: .gitattributes names a filter or line "
                    "ends that turn one into the other. Remove that and commit, then release again."
                )
            flag = "--no-assume-unchanged" if state.islower() else "--no-skip-worktree"
            raise InputError(
                f"{path} differs from the commit and git is told not to look at it; type `git update-index {flag} "
                f"{quote(path)}` and commit, then release again."
            )


def run_alone(contract: Contract) -> VersionProcess:
    """Run the commit's code in a process that has nothing else of this folder. Raises InputError where it can't."""
    project = read_project()
    files = {path.name: path.read_bytes() for path in (paths.MODEL, paths.CONTRACT)}
    imports = (f"{project.package}.features", f"{project.package}.model")
    here = f"{Path.cwd()}{os.sep}"
    alone = VersionProcess("it", read_code_at("HEAD"), files, project, contract, hidden=here, imports=imports)
    try:
        alone.start()
    except InputError as error:
        raise InputError(
            f"Commit {find_commit('HEAD')[:7]} is not whole without the rest of this folder: {error}. What it needs "
            "belongs in src/ and git, or among the dependencies in pyproject.toml; commit it, then release again."
        ) from None
    return alone


def require_same_answers(alone: VersionProcess, asked: dict[str, Any]) -> None:
    """Raise InputError where the commit's code, in a process of its own, answers differently.

    asked: what the model answers here, see `ask_questions`.
    """
    if change := find_changed_answer(alone, asked):
        raise InputError(
            f"Commit {find_commit('HEAD')[:7]} does not answer by itself as it does here: {change}. What features.py "
            "reads has to lie beside it and be found by Path(__file__); commit it, `make reproduce` and release again."
        )


def require_stored_data(is_served: bool) -> None:
    """Raise InputError where a file of dvc.lock is neither in the commit nor in a store of DVC.

    Where the remote lacks some, or can't be asked, the cache of this machine alone has them: says so, or raises where
    others need it, see `require_whole_commit`.
    """
    files = {path: digest for path, digest in read_lock("HEAD").items() if digest and not path.startswith("src/")}
    inside = [path for path in files if not path.startswith(("/", "../"))]
    committed = {path: content_md5(content) for path, content in read_files_at("HEAD", inside).items()}
    committed |= {path: digest_code(read_code_at("HEAD", path)) for path in inside if files[path].endswith(".dir")}
    wanted = {path: digest for path, digest in files.items() if committed.get(path) != digest}
    here, elsewhere = set(), set()
    for name, store in open_stores().items():
        try:
            found = set(store.oids_exist(list(wanted.values())))
        except Exception as error:  # every kind of remote has its own
            report_line("", f"the remote can't be asked: {first_line(error)}")
            found = set()
        here |= found
        elsewhere |= found if name == "remote" else set()
    for path, digest in wanted.items():
        if digest not in here:
            remedy = f"type `uv run dvc add {quote(path)}` or `git add {quote(path)}`, commit"
            if path not in inside:
                remedy = "it lies outside the repository, so move it to data/, and adopt it there or edit dvc.yaml"
            raise InputError(
                f"{path}, md5 {digest}, is neither in the commit nor in DVC's cache or remote, so that nobody can make "
                f"the results again: {remedy}, then release again."
            )
    if missing := [path for path, digest in wanted.items() if digest not in elsewhere]:
        more = f" and {len(missing) - 3} more" if missing[3:] else ""
        where = f"in this machine's cache alone: {', '.join(missing[:3])}{more}"
        if is_served:
            raise InputError(
                f"The store that MLFLOW_TRACKING_URI names is for other machines as well, but what this version was "
                f"made from is {where}. Type `uv run dvc push`, then release again."
            )
        report_line("", f"{where}; `uv run dvc push` shares them")
