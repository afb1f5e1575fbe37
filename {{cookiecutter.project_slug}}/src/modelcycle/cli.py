"""The commands: the verbs that work on data, model and documents. Most are modules of the same name."""

import gc
import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from modelcycle.core.errors import Alert, Conflict, InputError, first_line

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

    Figures with intervals, weak slices, calibration, what matters to the model, and what changed.
    """
    from modelcycle.pipeline.evaluate import evaluate

    evaluate()


@app.command()
def release(
    history: Annotated[bool, typer.Option("--history", help="Only print what has been decided so far.")] = False,
) -> None:
    """Put the committed model before the gate; if it passes, it becomes the champion.

    The rules are in params.yaml under gate. A model that fails is registered as rejected, and the exit status is 1.
    """
    if history:
        # Without what a release needs: this takes half the time.
        from modelcycle.tracking.ledger import print_ledger, read_ledger
        from modelcycle.tracking.registry import connect

        return print_ledger(read_ledger(connect()))
    from modelcycle.release.release import release

    tell_gate_of_process()
    release()


@app.command()
def gate() -> None:
    """Put the model before the gate as release does, and release nothing: for changes under review."""
    from modelcycle.release.release import gate

    tell_gate_of_process()
    gate()


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
    from modelcycle.release.trace import trace, versions_from

    versions_from(data) if data else trace(name, reproduce, as_json)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    version: Annotated[str, typer.Option(help="A version or an alias.")] = "champion",
) -> None:
    """Write a version into a folder, from which it is served without MLflow, DVC and git: SERVE_MODEL=FOLDER."""
    from modelcycle.tracking.bundle import export

    export(version, folder)


@app.command()
def image(
    version: Annotated[str, typer.Argument(help="A version or an alias.")] = "champion",
    pipeline: Annotated[bool, typer.Option("--pipeline", help="The image that runs monitor and retrain.")] = False,
) -> None:
    """Build the image of a version with docker, podman or buildah, and list what it holds (SBOM).

    It is called $IMAGE:VERSION. The builder's own options go into BUILD_OPTIONS; BUILDER chooses one of them.
    """
    from modelcycle.delivery.image import image

    image(version, "pipeline" if pipeline else "service")


@app.command()
def push(
    version: Annotated[str, typer.Argument(help="A version or an alias.")] = "champion",
    pipeline: Annotated[bool, typer.Option("--pipeline", help="The image that runs monitor and retrain.")] = False,
) -> None:
    """Push the image of a version to the container registry, and enter its digest into the ledger.

    Log in with the builder's own command before. Its options go into PUSH_OPTIONS.
    """
    from modelcycle.delivery.image import push

    push(version, "pipeline" if pipeline else "service")


@app.command()
def deploy(
    environment: Annotated[str, typer.Argument(help="staging or production.")],
    digest: Annotated[str, typer.Option(help="A pushed image; without it, the champion's.")] = "",
) -> None:
    """Deploy a pushed image: deploy/PLATFORM/apply.sh does it, the ledger notes it.

    Only a version that was the champion goes into production. The way back is the digest that was replaced, which is
    printed. Example: deploy staging
    """
    from modelcycle.delivery.deploy import deploy

    deploy(environment, digest)


@app.command()
def undeploy(environment: Annotated[str, typer.Argument(help="staging or production.")]) -> None:
    """Take what runs in an environment away: deploy/PLATFORM/remove.sh does it, the ledger notes it."""
    from modelcycle.delivery.deploy import undeploy

    undeploy(environment)


@app.command()
def serve() -> None:
    """Answer requests with the champion; settings are environment variables (SERVE_PORT, DATABASE_URL ...)."""
    from modelcycle.serving.serve import serve

    serve()


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

    The cases whose outcome has become known are added to the source. Running it again changes nothing.

    Example: retrain --if-alert
    """
    from modelcycle.monitoring.retrain import retrain

    tell_gate_of_process()
    retrain(until, if_alert, propose)


@app.command()
def process() -> None:
    """Say for each phase who owns its page, when it was reviewed, and what it lacks.

    Compares docs/crisp-dm/ and docs/scrum/done.md with files, params.yaml and the last tests, and writes the table into
    docs/process.md. The exit status is 1 where something is not in order, as in a new repository: nobody owns it yet.
    """
    from modelcycle.process.process import process

    process()


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


@app.command()
def update(
    to: Annotated[str, typer.Argument(help="Release, branch or commit of the template; the newest release.")] = "",
    answer: Annotated[list[str] | None, typer.Option("--set", help="Another answer: deployment=kubernetes.")] = None,
    propose: Annotated[bool, typer.Option("--propose", help="Push it as a branch for review instead.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say whether there is one: exit status 1.")] = False,
) -> None:
    """Bring in a newer release of the template, merged with your changes, as a commit; exit status 3 on a conflict."""
    from modelcycle import update

    if not check:
        return update.update(to, answer or [], propose)
    try:
        newest = update.check()
    except (InputError, OSError) as error:
        print(f"error: {in_words(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"The template's {newest} is newer: make update" if newest else "This is the newest release of the template.")
    raise typer.Exit(1 if newest else 0)


def tell_gate_of_process() -> None:
    """Have reports/process.json written where params.yaml says that the gate reads it."""
    from datetime import date

    from modelcycle.core.params import read_params

    params = read_params()
    if params.gate.process:
        from modelcycle.process.process import judge_phases, write_state

        write_state(judge_phases(params, date.today()), params)


def main() -> None:
    """Run a command; what a person can correct becomes one sentence and exit status 1, an alert 2, a conflict 3."""
    gc.set_threshold(100_000)  # what imports make stays: to look through it again and again takes a fifth of `trace`
    try:
        app()
    except InputError as error:
        fail(str(error))
    except Alert as alert:
        print(alert, file=sys.stderr)
        sys.exit(2)
    except Conflict as conflict:
        print(f"conflict: {conflict}", file=sys.stderr)
        sys.exit(3)
    except Exception as error:
        if type(error).__module__.startswith("mlflow."):  # the store went away meanwhile
            fail(f"the tracking store: {first_line(error)}")
        if not isinstance(error, OSError):
            raise
        fail(in_words(error))


def in_words(error: OSError) -> str:
    """Say what the system has refused."""
    if error.filename == "git":
        return "git is not installed, or not on the PATH."
    return f"{error.filename or 'input and output'}: {error.strerror or error}"


def fail(sentence: str) -> NoReturn:
    """Print what went wrong, without the passwords of addresses, and end with exit status 1."""
    sys.exit("error: " + re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", sentence))
