"""The manifest beside a file of predictions: what it was made from."""

import json
from pathlib import Path
from typing import Any

from modelcycle.core.errors import InputError

MADE_BY = ("git_commit", "md5.model")  # of a version's facts, what the manifest of predictions repeats


def manifest_path(output: Path) -> Path:
    """Say where the manifest of a file with predictions lies: beside it."""
    return output.with_name(f"{output.name}.manifest.json")


def read_manifest(output: Path) -> dict[str, Any]:
    """Read what an output was made from; empty where there is no manifest. Raises InputError when it is none."""
    path = manifest_path(output)
    try:
        if not path.exists():
            return {}
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        if not {"version", "when", "input", "input_md5", "output_md5", *MADE_BY} <= set(found):
            raise ValueError
        return found
    except (ValueError, TypeError):
        raise InputError(f"{path} is not the manifest of a prediction; delete it and predict again.") from None
