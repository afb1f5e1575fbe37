"""The commands, one for each verb. Each is also a module, a make target and, where it is one, a stage of dvc.yaml."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .files import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From data to a judged model: ingest, prepare, train, evaluate, or all of them with `make reproduce`. "
    "Start from your own table with adopt.",
)


@app.command()
def ingest() -> None:
    """Read the source that params.yaml names into data/raw.parquet.

    The source is a CSV or Parquet file, or a .sql file with a query for ingest.database. Rows from ingest.until on
    are left out.
    """
    from .ingest import ingest

    ingest()


@app.command()
def prepare() -> None:
    """Check the rows against contract.yaml and split them into training and test data.

    Rows that break the contract go to data/rejects.csv with the reason. A row's side follows from its key, for ever.
    """
    from .prepare import prepare

    prepare()


@app.command()
def train() -> None:
    """Fit the model that params.yaml describes, write models/model.skops and log the run to MLflow.

    What the model sees is made in features.py, the model itself in model.py.
    """
    from .train import train

    train()


@app.command()
def evaluate() -> None:
    """Judge the model on the test data and write reports/report.html.

    Figures with intervals, weak slices, calibration, what matters to the model, and what changed.
    """
    from .evaluate import evaluate

    evaluate()


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
    from .adopt import adopt

    adopt(file, target, [name.strip() for name in key.split(",") if name.strip()], time or None, force)


def main() -> None:
    """Run a command; what a person can correct becomes one sentence and exit status 1."""
    try:
        app()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'input and output'}: {error.strerror or error}")
