"""What an update would change, tried in a copy of the repository: files, stages of the pipeline, conflicts."""

from pathlib import Path
from typing import Any

import yaml

from updater import merge
from updater.git import InputError, git, report


def tell(copy: Path, commit: str, message: str) -> None:
    """Try a commit in a copy of the repository, and say what it would change here."""
    start = git("rev-parse", "HEAD")
    conflict = merge.pick(copy, [commit])
    changes = git("-C", copy, "diff", "--name-status", "--no-renames", "--relative", start).splitlines()
    changes = sorted({line for line in changes if not line.startswith("U")}, key=lambda line: line.split("\t")[1])
    report("preview", f"{message}: {len(changes)} files would change", "(A: new, D: gone)")
    print("\n".join(f"          {line}" for line in changes))
    stages = list_stages_to_run(copy, start, {line.split("\t")[1] for line in changes})
    report("preview", "stages that would run again:", ", ".join(stages) or "none")
    report("preview", f"a person would decide: {conflict}" if conflict else "no conflicts")
    report("preview", "nothing is written")


def list_stages_to_run(copy: Path, start: str, changed: set[str]) -> list[str]:
    """List the stages of dvc.yaml whose command, files or parameters change, and those that read what they write."""
    old, new = ([read_at(copy, revision, name) for name in ("dvc.yaml", "params.yaml")] for revision in (start, ""))
    stages = new[0].get("stages", {})
    hit: list[str] = []
    for _ in stages:  # each round goes one stage on
        for name, stage in stages.items():
            stage = stage.get("do", stage)
            is_other = stage != old[0].get("stages", {}).get(name) or any(
                new[1].get(key) != old[1].get(key) for key in stage.get("params", []) if isinstance(key, str)
            )
            reads = [path for path in stage.get("deps", []) if isinstance(path, str)]
            if name not in hit and (is_other or any(is_below(path, other) for path in changed for other in reads)):
                hit.append(name)
                outputs = (out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, []))
                changed = changed | {out if isinstance(out, str) else next(iter(out)) for out in outputs}
    return [name for name in stages if name in hit]


def read_at(copy: Path, revision: str, name: str) -> dict[str, Any]:
    """Read a YAML file at a revision, or in the work tree; empty where it is missing or has marks of a conflict."""
    try:
        text = (
            git("-C", copy, "show", f"{revision}:./{name}") if revision else (copy / name).read_text(encoding="utf-8")
        )
        return dict(yaml.safe_load(text) or {})
    except (InputError, OSError, yaml.YAMLError):
        return {}


def is_below(path: str, folder: str) -> bool:
    """Say whether a path is a file, or lies in a folder."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
