"""A version whose answers differ from those at its release."""

import json
from pathlib import Path


def change_an_answer(path: Path) -> None:
    """Change one of the answers in the questions.json of a version of the flights."""
    asked = json.loads(path.read_text(encoding="utf-8"))
    asked["answers"]["probability_True"][3] += 0.25
    path.write_text(json.dumps(asked), encoding="utf-8")
