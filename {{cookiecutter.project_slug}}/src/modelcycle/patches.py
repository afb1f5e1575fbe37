"""List the files of the machinery that are not as the last bake or update has made them; `make check` runs it.

.modelcycle.sha256 holds their digests, as `sha256sum --check` reads them. docs/updates.md says what the list is for.
"""

from hashlib import sha256
from pathlib import Path

from modelcycle.core.output import read_text, report_line


def list_patched() -> list[str]:
    """List the files that have changed or are gone."""
    made = [line.split("  ", 1) for line in read_text(Path(".modelcycle.sha256")).splitlines()]
    found = {name: sha256(Path(name).read_bytes()).hexdigest() for _, name in made if Path(name).is_file()}
    return [name for digest, name in made if found.get(name) != digest]


if __name__ == "__main__":
    for name in list_patched():
        report_line("patched", name, "to keep it, drop it or send it back: docs/updates.md")
