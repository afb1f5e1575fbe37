"""The model card and the data card in docs/: what stands between two marks is generated, the rest is the team's."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from .contract import Contract
from .files import DATA_CARD, MODEL_CARD, PROFILE, InputError, whole
from .gate import Verdict

GENERATED = re.compile(r"(<!-- generated[^>]*-->\n).*?(<!-- end of generated -->)", re.DOTALL)


def write_cards(version: Any, verdicts: list[Verdict], contract: Contract, tables: list[pd.DataFrame]) -> None:
    """Write both cards for a version. tables: intervals, slices, calibration and importance, as in reports/."""
    intervals, slices, _, importance = tables
    page = Environment(loader=PackageLoader(__package__), undefined=StrictUndefined, trim_blocks=True)  # noqa: S701  Markdown
    facts = {
        "version": version,
        "verdicts": verdicts,
        "contract": contract,
        "figures": intervals.to_dict("records"),
        "slices": slices.to_dict("records"),
        "importance": importance.head(10).to_dict("records"),
        "profile": json.loads(PROFILE.read_text(encoding="utf-8")),
    }
    for path in (MODEL_CARD, DATA_CARD):
        write_generated(path, page.get_template(path.name).render(facts))


def write_generated(path: Path, text: str) -> None:
    """Replace what stands between the marks of a document. Raises InputError when the marks are gone."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if not GENERATED.search(old):
        raise InputError(
            f"{path} has no lines '<!-- generated ... -->' and '<!-- end of generated -->'; "
            "put them where the figures are to stand."
        )
    with whole(path) as draft:
        draft.write_text(GENERATED.sub(lambda marks: f"{marks[1]}{text}\n{marks[2]}", old, count=1), encoding="utf-8")
