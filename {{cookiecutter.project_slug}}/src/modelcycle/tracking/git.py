"""Ask git about commits and the files in them."""

import subprocess


def git(*arguments: str) -> str:
    """Return what git prints; empty where there is no repository or no such commit."""
    return subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False).stdout.strip()


def describe_head() -> str:
    """Name the commit that the work tree is at, with '-dirty' when tracked files have changed since."""
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "nothing committed yet"


def read_file_at(revision: str, path: str) -> bytes | None:
    """Read a file of this folder as it is in a commit; None where the commit has no such file."""
    process = subprocess.run(["git", "cat-file", "blob", f"{revision}:./{path}"], capture_output=True, check=False)
    return process.stdout if process.returncode == 0 else None


def is_shallow() -> bool:
    """Say whether this is a clone without its older commits."""
    return git("rev-parse", "--is-shallow-repository") == "true"


def fetch_command() -> str:
    """Return the command that fetches a missing commit; git refuses --unshallow in a complete clone."""
    return "git fetch --unshallow" if is_shallow() else "git fetch"


def find_root_commits() -> list[str]:
    """List the commits without a parent, the oldest last; empty in a shallow clone, which does not have them."""
    return [] if is_shallow() else git("rev-list", "--max-parents=0", "HEAD").splitlines()


def is_on_a_branch(revision: str) -> bool:
    """Say whether a commit belongs to a branch or a tag, here or as last fetched: git keeps it then."""
    return bool(git("for-each-ref", "--contains", revision, "--count=1", "refs/heads", "refs/remotes", "refs/tags"))
