"""List the files of the machinery that are not as the template has made them; `make check` runs it.

The digests are those of the last bake or update, in the format of `sha256sum --check`: nothing is fetched, and a clone
without history knows as much. What the list is for is in docs/updates.md.
"""

from hashlib import sha256
from pathlib import Path

from modelcycle.core.output import read_text, report_line

DIGESTS = Path(".modelcycle.sha256")


def list_patched() -> list[str]:
    """List the paths that have changed or are gone."""
    made = dict(line.split("  ", 1)[::-1] for line in read_text(DIGESTS).splitlines())
    return [name for name in made if not (path := Path(name)).is_file() or digest(path) != made[name]]


def digest(path: Path) -> str:
    """Digest a file's content as the template's hook does."""
    return sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    patched = list_patched()
    for name in patched:
        report_line("patched", name)
    if patched:
        report_line("", "updates keep it as long as they merge; to drop it or send it back:", "docs/updates.md")
