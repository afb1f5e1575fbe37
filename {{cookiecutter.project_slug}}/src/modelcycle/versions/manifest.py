"""The manifest beside a file of predictions: what it was made from."""

import json
from pathlib import Path
from typing import Any

from modelcycle.core.errors import InputError
from modelcycle.core.output import write_text

MANIFEST_TAGS = ("git_commit", "md5.model")  # those of a version's tags that the manifest repeats


def manifest_path(output: Path) -> Path:
    """Return the path of the manifest of a file with predictions: beside it."""
    return output.with_name(f"{output.name}.manifest.json")


def read_manifest(output: Path) -> dict[str, Any]:
    """Read the manifest of an output; empty where there is none. Raises InputError when it lacks an entry."""
    path = manifest_path(output)
    try:
        if not path.exists():
            return {}
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        if not {"version", "when", "input", "input_md5", "output_md5", *MANIFEST_TAGS} <= set(manifest):
            raise ValueError
        return manifest
    except (ValueError, TypeError):
        raise InputError(f"{path} is not the manifest of a prediction; delete it and predict again.") from None


def write_manifest(output: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of an output, atomically."""
    write_text(manifest_path(output), json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
