"""The verbs of this room, as the command line has them."""

import typer

app = typer.Typer()


@app.command()
def ingest() -> None:
    """Read the source that params.yaml names into data/raw.parquet.

    The source is a CSV or Parquet file, or a .sql file with a query for ingest.database. Rows from ingest.until on
    are left out.
    """
    from modelcycle.pipeline.ingest import ingest

    ingest()


@app.command()
def prepare() -> None:
    """Check the rows against contract.yaml and split them into training and test data.

    Rows that break the contract go to data/rejects.csv with the reason. A row's side follows from its key, for ever.
    """
    from modelcycle.pipeline.prepare import prepare

    prepare()


@app.command()
def train() -> None:
    """Fit the model that params.yaml describes, write models/model.skops and log the run to MLflow.

    What the model sees is made in features.py, the model itself in model.py.
    """
    from modelcycle.pipeline.train import train

    train()


@app.command()
def evaluate() -> None:
    """Judge the model on the test data and write reports/report.html.

    Figures with intervals, weak slices, calibration, and what matters to the model.
    """
    from modelcycle.pipeline.evaluate import evaluate

    evaluate()
