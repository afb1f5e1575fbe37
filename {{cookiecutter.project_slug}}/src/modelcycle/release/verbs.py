"""The verbs of this room, as the command line has them."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def gate() -> None:
    """Check the model against the gate as release does, without releasing it: for changes under review."""
    from modelcycle.release.release import gate

    gate()


@app.command()
def release(
    no_duel: Annotated[
        str, typer.Option(metavar="REASON", help="Do without the duel with the champion; the reason, for the ledger.")
    ] = "",
    undecided: Annotated[
        str,
        typer.Option(metavar="REASON", help="Release it even if the gate can't decide; the reason, for the ledger."),
    ] = "",
    history: Annotated[bool, typer.Option("--history", help="Only print what has been decided so far.")] = False,
) -> None:
    """Check the committed model against the gate; if it passes, it becomes the champion.

    The rules are in params.yaml under gate. A model that fails is registered as rejected, and the exit status is 1. It
    is 3 where there is too little data to decide.
    """
    if history:
        # Without what a release needs: this takes half the time.
        from modelcycle.tracking.store import connect
        from modelcycle.versions.ledger import print_ledger, read_ledger

        return print_ledger(read_ledger(connect()))
    from modelcycle.release.release import release

    release(no_duel, undecided)


@app.command()
def rollback(
    version: Annotated[str, typer.Argument(help="The version to go back to; without it, the previous champion.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "no reason given",
    force: Annotated[bool, typer.Option("--force", help="Take a version that the gate rejected.")] = False,
) -> None:
    """Make an earlier version the champion again, in seconds."""
    from modelcycle.release.rollback import rollback

    rollback(version or None, reason, force)


@app.command()
def trace(
    name: Annotated[
        str, typer.Argument(help="A version, an alias, an image's digest, a prediction's id or a file of predictions.")
    ] = "champion",
    reproduce: Annotated[bool, typer.Option("--reproduce", help="Also run the pipeline again and compare.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the chain for machines.")] = False,
    data: Annotated[str, typer.Option(help="List the versions that come from this file or md5 instead.")] = "",
) -> None:
    """Follow a version back to the bytes that it came from, and check every link of the chain.

    The exit status is 1 when a link is broken: something is missing, or differs from what was noted.
    """
    from modelcycle.release.trace import print_versions_from, trace

    print_versions_from(data) if data else trace(name, reproduce, as_json)
