"""The verbs of this room, as the command line has them."""

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def serve(
    check: Annotated[bool, typer.Option("--check", help="Only ask it whether it answers as at its release.")] = False,
) -> None:
    """Answer requests with the champion; settings are environment variables (SERVE_PORT, DATABASE_URL ...)."""
    # A call for a few rows takes longer the more threads share it. The libraries read this when they are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from modelcycle.serving.serve import check_answers, serve

    (check_answers if check else serve)()


@app.command()
def predict(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="CSV or Parquet files, or a folder of them.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="The file to write, CSV or Parquet; for several inputs a folder.")
    ],
    version: Annotated[str, typer.Option(help="The version to predict with; without it, the champion.")] = "",
    chunk_rows: Annotated[int, typer.Option(min=1, help="How many rows are in memory at once.")] = 100_000,
) -> None:
    """Predict files of any size with the champion; a run that was stopped goes on where it was.

    Rows that break the contract go to OUTPUT.rejects.csv with the reason. OUTPUT.manifest.json says what OUTPUT was
    made from, for `trace OUTPUT`. Example: predict new.csv predictions.csv
    """
    from modelcycle.serving.predict import predict

    predict(inputs, output, version, chunk_rows)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    version: Annotated[str, typer.Option(help="A version or an alias.")] = "champion",
) -> None:
    """Write a version into a folder, from which it is served without MLflow, DVC and git: SERVE_MODEL=FOLDER."""
    from modelcycle.versions.bundle import export

    export(version, folder)
