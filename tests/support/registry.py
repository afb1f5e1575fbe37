"""Ask a repository's registry: with code that has a client of it, or for its ledger."""

import re

from support.repository import Repository


def ask(repository: Repository, code: str, *arguments: str) -> str:
    """Run Python with a client of the registry named `client`; gives what it printed."""
    names = "client, EXPERIMENT = connect(), read_project().registered_name\n"
    lines = f"from modelcycle.versions.registry import *\nfrom modelcycle.tracking.store import connect\n{names}{code}"
    return repository.run("python", "-c", lines, *arguments).strip()


def history(repository: Repository, **environment: str) -> list[str]:
    """List the ledger as `1 promoted`, `1 deployed in staging` and so on."""
    printed = repository.run("modelcycle", "release", "--history", **environment)
    return re.findall(r"version (\d+ [a-z]+(?: in \w+| back)?)", printed)
