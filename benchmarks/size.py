"""Count what a bake of the default answers holds: files, lines by kind, and the arrows between the machinery's rooms.

Blank lines count, data and pictures do not. An arrow is there where a module of one room imports one of another.
"""

import sys
from collections import Counter
from pathlib import Path

from baked import HERE, baked

SOURCE = HERE / "{{cookiecutter.project_slug}}/src"
KINDS = {".py": "Python", ".html": "HTML, CSS", ".css": "HTML, CSS", ".yaml": "YAML", ".yml": "YAML", ".md": "Markdown"}


def lines(paths: list[Path]) -> Counter[str]:
    """Count lines by kind."""
    counts: Counter[str] = Counter()
    for path in paths:
        if path.suffix not in (".csv", ".svg"):
            counts[KINDS.get(path.suffix, "other")] += len(path.read_text(encoding="utf-8").splitlines())
    return counts


def arrows() -> set[tuple[str, str]]:
    """List which room imports which."""
    sys.path.insert(0, str(SOURCE))
    import grimp  # comes with import-linter

    graph = grimp.build_graph("modelcycle", cache_dir=None)
    pairs = [
        (module.split(".")[1], imported.split(".")[1])
        for module in graph.modules - {"modelcycle"}
        for imported in graph.find_modules_directly_imported_by(module) - {"modelcycle"}
    ]
    return {(room, other) for room, other in pairs if room != other}


def main() -> None:
    """Bake and count."""
    with baked() as folder:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        print(f"files of a bake       {len(files)}")
        for name, part in [("a bake", folder), ("src/modelcycle", folder / "src/modelcycle")]:
            inside = [path for path in files if path.is_relative_to(part)]
            print(f"{name:<21} {len(inside)} files; lines: {dict(lines(inside).most_common())}")
        own = [path for path in files if path.is_relative_to(folder / "src/flight_delays")]
        print(f"src/flight_delays     {len(own)} files; lines: {dict(lines(own))}")
    print(f"arrows between rooms  {len(arrows())}")


if __name__ == "__main__":
    main()
