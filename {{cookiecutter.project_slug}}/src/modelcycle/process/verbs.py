"""The verbs of this room, as the command line has them."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def process(
    state: Annotated[bool, typer.Option("--state", help="Only write reports/process.json, for the gate.")] = False,
) -> None:
    """Say for each phase who owns its page, when it was reviewed, and what it lacks.

    Compares docs/crisp-dm/ and docs/scrum/done.md with files, params.yaml and the last tests, and writes the table into
    docs/process.md. The exit status is 1 where something is not in order, as in a new repository: nobody owns it yet.
    """
    from modelcycle.process.process import process, write_process_state

    write_process_state() if state else process()


@app.command()
def review(
    since: Annotated[
        str, typer.Option(help="A tag, a commit, or a date or time in UTC; without it, 14 days ago.")
    ] = "",
) -> None:
    """Write reports/review.html for the sprint review: what was tried since then, and what came of it.

    Shows changes and trainings, quality, data, decisions of the ledger with their reasons, what users said, and open
    risks. Example: review --since 2024-05-01
    """
    from modelcycle.process.review import review

    review(since)
