"""Say for each phase whether its page is owned, reviewed, backed by evidence and true to params.yaml.

The pages are docs/crisp-dm/*.md; docs/scrum/done.md says when work of a phase is done. A page that a team has deleted
is not kept, which is no fault unless another page names it as evidence.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcycle.core.config import parse_config
from modelcycle.core.errors import InputError
from modelcycle.core.output import read_text, report_line, write_text
from modelcycle.core.params import Section
from modelcycle.core.paths import PARAMS
from modelcycle.release.cards import replace_generated
from modelcycle.versions.lineage import list_outputs
from modelcycle.versions.params import Params, read_params
from modelcycle.versions.paths import DEFINITION_OF_DONE, PHASE_PAGES, PROCESS_STATE

ROLES = Path("docs/roles.md")
OVERVIEW, TEST_RESULTS = Path("docs/process.md"), Path("reports/tests.xml")
BEFORE_RELEASE = ("business understanding", "data understanding", "data preparation", "modelling", "evaluation")
PHASES = (*BEFORE_RELEASE, "deployment", "operation")
ACCEPTANCE_CRITERION = re.compile(r"^\| *`((?:\w+\.)+\w+)` *\| *([^|\n]+?) *\|", re.MULTILINE)
DONE_ROW = re.compile(r"^\| *([^|\n]+?) *\|[^|\n]+\| *([^|\n]+?) *\|?[ \t]*$", re.MULTILINE)
TABLE_HEAD = "| phase | owner | last review | state |\n|---|---|---|---|"
CARD_PLACEHOLDER = "No version has been released yet."  # as the cards say before `make release` writes them


class FrontMatter(Section):
    """The front matter of a page: its owner, its last review and its evidence."""

    owner: str | None
    status: Literal["example", "draft", "agreed"]
    last_review: date | None
    review_days: int = Field(default=90, ge=1)
    evidence: list[str] = Field(default=[])


@dataclass
class Phase:
    """A phase of the process with its page, if there is one, and what is not in order."""

    name: str
    page: FrontMatter | None
    faults: list[str]

    def to_row(self) -> tuple[str, str, str, str]:
        """Give its row of the table: phase, owner, last review, state."""
        owner, last_review = (self.page.owner, self.page.last_review) if self.page else (None, None)
        state = "; ".join(self.faults) or ("in order" if self.page else "not kept")
        return self.name, owner or "-", str(last_review or "-"), state


def read_front_matter(path: Path) -> tuple[FrontMatter, str]:
    """Split a page into its front matter and its text. Raises InputError with file, key, found and expected."""
    parts = re.split(r"^---\n", read_text(path), maxsplit=2, flags=re.MULTILINE)
    if len(parts) != 3 or parts[0]:
        raise InputError(f"{path} has no front matter; expected owner, status, last_review and evidence between '---'.")
    return parse_config(FrontMatter, parts[1], path), parts[2]


def find_parameter(params: Params, key: str) -> Any:
    """Look up a value of params.yaml by its dotted key; None where it is not set."""
    value: Any = params.model_dump()
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def find_page_faults(page: FrontMatter, text: str, params: Params, today: date) -> Iterator[str]:
    """Say what is not in order on a page: owner, status, review, evidence, acceptance criteria."""
    if not page.owner:
        yield "no owner"
    if page.status == "example":
        yield "still the example"
    age = (today - page.last_review).days if page.last_review else None
    if age is None:
        yield "never reviewed"
    elif not 0 <= age <= page.review_days:
        yield f"review overdue, the last was {age} days ago" if age > 0 else "the last review is yet to come"
    if not page.evidence:
        yield "no evidence"
    yield from filter(None, (find_evidence_fault(name, params) for name in page.evidence))
    for key, agreed in ACCEPTANCE_CRITERION.findall(text):
        actual = find_parameter(params, key)
        expected: str | float = agreed
        with suppress(ValueError):
            expected = float(agreed)
        if expected not in (actual, str(actual), json.dumps(actual, default=str)):
            yield f"{key}: {agreed} on the page, {'not set' if actual is None else actual} in {PARAMS}"


def find_evidence_fault(name: str, params: Params) -> str | None:
    """Say why a piece of evidence is none. It is a path, also of an output that dvc.lock names, or params.yaml:KEY."""
    file, _, key = name.partition(":")
    path = Path(file)
    if key:
        return f"{name} is not set" if path != PARAMS or find_parameter(params, key) is None else None
    if not path.exists():
        return None if name in list_outputs() else f"{name} is missing"
    is_placeholder = path.suffix == ".md" and CARD_PLACEHOLDER in read_text(path)
    return f"{name} is not written yet (make release)" if is_placeholder else None


def find_failed_tests() -> list[str]:
    """List the tests that failed, each as the path of its module without .py; raises InputError with a broken file."""
    try:
        cases = ElementTree.parse(TEST_RESULTS).iter("testcase") if TEST_RESULTS.exists() else ()  # noqa: S314  pytest's, not a stranger's
        failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    except ElementTree.ParseError as error:
        raise InputError(f"{TEST_RESULTS} is not what pytest writes: {error}; type `make test`.") from None
    # A module that can't be imported has only a name.
    return [(case.get("classname") or case.get("name") or "").replace(".", "/") for case in failed]


def find_check_fault(check: str, failed: list[str]) -> str | None:
    """Say why a row of the definition of done is not backed by its check: `make VERB`, `tests/...` or a sign-off."""
    if role := re.match(r"sign-off: (.+)", check):
        is_role = not ROLES.exists() or f"\n| {role[1]} |" in read_text(ROLES)
        return None if is_role else f"definition of done: {role[1]} is no role in {ROLES}"
    if not (code := re.fullmatch(r"`(make (\w+).*|.+)`", check)):
        return f"definition of done: '{check}' is neither a check in `code` nor a sign-off"
    name, verb = code.groups()
    verbs = read_text(Path("Makefile")) + read_text(Path("modelcycle.mk"))
    if not (re.search(rf"^{verb}:.*##", verbs, re.MULTILINE) if verb else Path(name).exists()):
        return f"definition of done: there is no {name}"
    prefix = name.removesuffix(".py").rstrip("/") + "/"
    has_failed = failed if verb == "test" else any(f"{case}/".startswith(prefix) for case in failed)
    return f"definition of done: {name} failed ({TEST_RESULTS})" if has_failed else None


def judge_phases(params: Params, today: date) -> list[Phase]:
    """Judge every phase, whether it has a page or not, and the team's own pages."""
    pages: dict[str, Path] = {}
    for path in sorted(PHASE_PAGES.glob("*.md")):
        name = path.stem.lstrip("0123456789_").replace("_", " ")
        if pages.setdefault(name, path) != path:
            raise InputError(f"{path} and {pages[name].name} are both of the phase {name}; delete or rename one.")
    phases = {name: Phase(name, None, []) for name in [*PHASES, *pages]}
    for name, path in pages.items():
        page, text = read_front_matter(path)
        phases[name] = Phase(name, page, list(find_page_faults(page, text, params, today)))
        if name == PHASES[0] and not ACCEPTANCE_CRITERION.search(text):
            phases[name].faults.append(f"no acceptance criterion, a row such as `gate.bound`, as in {PARAMS}")
    failed = find_failed_tests()
    for name, check in DONE_ROW.findall(read_text(DEFINITION_OF_DONE))[2:]:  # below the table's head
        if name not in phases:
            raise InputError(f"{DEFINITION_OF_DONE}: {name} is no phase; expected one of {', '.join(phases)}.")
        phases[name].faults += filter(None, [find_check_fault(check, failed)])
    return list(phases.values())


def write_process_state() -> None:
    """Write reports/process.json, which tells the gate what is not in order before a release."""
    phases = [phase for phase in judge_phases(read_params(), date.today()) if phase.name in BEFORE_RELEASE]
    faults = [f"{phase.name}: {fault}" for phase in phases for fault in phase.faults]
    if not any(phase.page for phase in phases):
        faults = [f"no page in {PHASE_PAGES}"]
    write_text(PROCESS_STATE, json.dumps({"faults": faults}, indent=1, ensure_ascii=False) + "\n")


def process() -> None:
    """Print the table and write it into docs/process.md. Raises InputError where something is not in order."""
    phases = judge_phases(read_params(), date.today())
    console_table, lines = Table("phase", "owner", "last review", "state", box=None, pad_edge=False), [TABLE_HEAD]
    for phase in phases:
        console_table.add_row(*map(Text, phase.to_row()))
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in phase.to_row())} |")
    Console().print(console_table)
    if OVERVIEW.exists():
        replace_generated(OVERVIEW, "\n".join(lines))
    if wrong := [phase.name for phase in phases if phase.faults]:
        raise InputError(f"{len(wrong)} of {len(phases)} phases are not in order: {', '.join(wrong)}.")
    report_line("process", f"{sum(phase.page is not None for phase in phases)} phases in order", OVERVIEW)
