"""The verbs of this room, as the command line has them."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def monitor(
    since: Annotated[str, typer.Option(help="A date or a time, in UTC; without it, 30 days before --until.")] = "",
    until: Annotated[str, typer.Option(help="Answers before this date or time count; without it, now.")] = "",
) -> None:
    """Compare what the champion was asked and answered with the training data, and its answers with the truth.

    Writes reports/monitoring.html and reports/monitoring.json. The limits are in params.yaml under monitor. The exit
    status is 2 when a person should look at something, with the reasons.

    Example: monitor --since 2024-05-01 --until 2024-06-01
    """
    from modelcycle.monitoring.monitor import monitor

    monitor(since, until)


@app.command()
def retrain(
    until: Annotated[str, typer.Option(help="Take the rows before this time, and note it in params.yaml.")] = "",
    if_alert: Annotated[bool, typer.Option("--if-alert", help="Only where monitor has something to say.")] = False,
    propose: Annotated[bool, typer.Option("--propose", help="Push a branch for review, release nothing.")] = False,
) -> None:
    """Bring feedback and new data in, run the pipeline, commit, and release if the gate agrees.

    The cases whose outcome has become known go into data/feedback.parquet, which ingest adds to the source's rows.
    Running it again changes nothing.

    Example: retrain --if-alert
    """
    from modelcycle.monitoring.retrain import retrain

    retrain(until, if_alert, propose)
