"""The verbs of this room, as the command line has them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer()


def split_names(text: str) -> list[str]:
    """Split names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command()
def adopt(
    file: Annotated[Path, typer.Argument(help="The table: CSV with any separator and encoding, Excel, or Parquet.")],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    key: Annotated[str, typer.Option(help="The columns that identify a row, with commas between them.")] = "",
    time: Annotated[str, typer.Option(help="The column that says when a row happened.")] = "",
    group: Annotated[str, typer.Option(help="The columns whose rows belong together, such as a machine.")] = "",
    weight: Annotated[str, typer.Option(help="The column that says how much a row counts.")] = "",
    kind: Annotated[Literal["", "class", "amount"], typer.Option("--as", help="What the target is.")] = "",
    holdout: Annotated[Literal["", "key", "group", "time"], typer.Option(help="What keeps test rows apart.")] = "",
    encoding: Annotated[str, typer.Option(help="Of a CSV file, such as utf-8, cp1252 or gb18030.")] = "",
    separator: Annotated[str, typer.Option(help="Between the fields of a CSV file.")] = "",
    decimal: Annotated[str, typer.Option(help="The decimal separator of a CSV file.")] = "",
    names: Annotated[str, typer.Option(help="The columns of a CSV file without a header.")] = "",
    no_header: Annotated[bool, typer.Option("--no-header", help="The same, called column_1 and so on.")] = False,
    missing: Annotated[str, typer.Option(help="Words for a missing value, such as NA,-999.")] = "",
    dates: Annotated[str, typer.Option(help="The format of dates, such as %d/%m/%Y.")] = "",
    sheet: Annotated[str, typer.Option(help="Of an Excel file.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite uncommitted changes of the contract.")] = False,
) -> None:
    """Start from your own table: infer contract.yaml, bring the data under DVC, retire the example.

    Example: adopt orders.csv --target returned --key order_id --time ordered_at
    """
    from modelcycle.adopt.adopt import Format, adopt
    from modelcycle.adopt.infer import Wishes

    wishes = Wishes(target, split_names(key), time, split_names(group), weight, kind, dates)
    as_written = Format(encoding, separator, decimal, split_names(names), no_header, split_names(missing), sheet)
    adopt(file, wishes, as_written, holdout, force)
