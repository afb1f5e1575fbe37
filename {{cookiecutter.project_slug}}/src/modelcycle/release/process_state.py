"""What the process room has found, for the gate: it passes through reports/process.json, since no room imports upwards.

`process` writes the file, and the command line has it written before it calls the gate.
"""

import json
from datetime import date, timedelta

from pydantic import BaseModel, ValidationError

from modelcycle.core.digest import content_md5
from modelcycle.core.output import read_text, write_atomically
from modelcycle.core.params import Params
from modelcycle.core.paths import DEFINITION_OF_DONE, PHASE_PAGES, PROCESS_STATE
from modelcycle.core.verdict import Verdict
from modelcycle.tracking.git import git


class ProcessState(BaseModel):
    """The faults of the phases before a release, the day they were looked for, and the md5 of what was looked at."""

    day: date
    md5: str
    faults: list[str]


def write_process_state(faults: list[str], params: Params) -> None:
    """Write reports/process.json. faults: of the phases before a release, each in words."""
    state = ProcessState(day=date.today(), md5=_inputs_md5(params), faults=faults)
    with write_atomically(PROCESS_STATE) as draft:
        draft.write_text(state.model_dump_json(indent=1) + "\n", encoding="utf-8")


def judge_process(params: Params) -> Verdict:
    """Judge whether every phase before a release is in order, by what `process` has found in today's pages."""
    try:
        state = ProcessState.model_validate_json(read_text(PROCESS_STATE) or "{}")
        outdated = state.md5 != _inputs_md5(params) or date.today() - state.day > timedelta(days=1)
        faults = [f"{PROCESS_STATE} is outdated; `make process` writes it"] if outdated else state.faults
    except ValidationError:
        faults = [f"{PROCESS_STATE} is missing or damaged; `make process` writes it"]
    if git("status", "--porcelain", "--", str(PHASE_PAGES), str(DEFINITION_OF_DONE)):
        faults = [*faults, "pages are not committed"]  # a version names one commit, and what was agreed is in it
    return Verdict(
        "process",
        not faults,
        "; ".join(faults) or "in order",
        "every phase up to evaluation in order",
        "Nobody has agreed what the model is for, or how good it has to be. `make process` says more.",
    )


def _inputs_md5(params: Params) -> str:
    """Digest the pages and the parameters that they are compared with; `retrain` may move ingest.until meanwhile."""
    pages = [read_text(path) for path in [*sorted(PHASE_PAGES.glob("*.md")), DEFINITION_OF_DONE]]
    return content_md5(json.dumps([pages, params.model_dump(mode="json", exclude={"ingest"})]))
