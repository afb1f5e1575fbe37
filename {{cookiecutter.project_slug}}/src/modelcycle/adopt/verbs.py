"""The verbs of this room, as the command line has them."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def adopt(
    file: Annotated[Path, typer.Argument(help="The table: CSV with any delimiter and encoding, or Parquet.")],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    key: Annotated[str, typer.Option(help="The columns that identify a case, with commas between them.")] = "",
    time: Annotated[str, typer.Option(help="The column that says when a row happened.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite uncommitted changes of the contract.")] = False,
) -> None:
    """Start from your own table: infer contract.yaml, bring the data under DVC, retire the example.

    Example: adopt orders.csv --target returned --key order_id --time ordered_at
    """
    from modelcycle.adopt.adopt import adopt

    adopt(file, target, [name.strip() for name in key.split(",") if name.strip()], time or None, force)
