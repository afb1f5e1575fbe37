"""Predict files of any size: chunk by chunk, resumable, each output written atomically.

The predictions of a file are collected in .OUTPUT.parts, chunk by chunk, until they are complete. Next to an output
lies its manifest, which says what it was made from; it is written first, so that no output is ever without one.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import rich.progress
from filelock import FileLock, Timeout

from modelcycle.core.contract import Contract, find_violations, require_columns, select_rejects
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import content_md5, md5, progress_console, report_line, track_progress, write_atomically
from modelcycle.core.params import read_params
from modelcycle.core.table import csv_options, interpret_texts, refuse_surplus_fields, tidy
from modelcycle.pipeline.cluster import connect_to_cluster, map_on_cluster, require_shared_folder
from modelcycle.tracking import store
from modelcycle.versions.bundle import Bundle, load_named
from modelcycle.versions.manifest import MANIFEST_TAGS, manifest_path, read_manifest, write_manifest

WRITERS = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}
NULLABLE_INTEGERS = {kind: pd.Int64Dtype() for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())}
ARROW_TYPES = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "datetime": pa.timestamp("us")}


def companion_paths(output: Path) -> tuple[Path, Path, Path]:
    """Name the files of an output: its manifest, its list of rejected rows, its folder of parts."""
    return (
        manifest_path(output),
        output.with_name(f"{output.name}.rejects.csv"),
        output.with_name(f".{output.name}.parts"),
    )


def make_input_contract(contract: Contract, column_names: "pd.Index[str]") -> Contract:
    """Make the contract that rows to predict have to keep: the inputs, and the keys that are there.

    These keys are features here, because only training data may not repeat a row.
    """
    columns = {
        name: column.model_copy(update={"role": "feature"}) if column.role == "key" else column
        for name, column in contract.columns.items()
        if name in contract.inputs or (column.role == "key" and name in column_names)
    }
    return contract.model_copy(update={"columns": columns})


def make_output_schema(bundle: Bundle, keys: list[str]) -> pa.Schema:
    """Make the schema of an output: the keys, the prediction, for classes the probability of each."""
    columns, classes = bundle.contract.columns, bundle.classes
    types = {name: ARROW_TYPES.get(columns[name].type, pa.string()) for name in keys}
    target_type = columns[bundle.contract.target].type if classes else "number"
    types["prediction"] = ARROW_TYPES.get(target_type, pa.string())
    return pa.schema(types | {f"probability_{name}": pa.float64() for name in classes})


def read_chunks(
    content: BinaryIO, path: Path, contract: Contract, csv: dict[str, Any], chunk_rows: int
) -> Iterator[pd.DataFrame]:
    """Read an open table in chunks of (chunk_rows, m), indexed by row number; one of (0, m) when it has no row.

    csv: keyword arguments of pandas.read_csv. Raises InputError when the table can't be read.
    """
    n_read = 0
    try:
        if path.suffix.lower() == ".csv":
            tables = pd.read_csv(content, **csv_options(csv, content), chunksize=chunk_rows)
            chunks = (interpret_texts(table, csv, contract) for table in tables)
        else:
            file = pq.ParquetFile(content, pre_buffer=False, buffer_size=1 << 20)  # or memory grows with the file
            names = file.schema_arrow.names
            used = [name for name in names if name.strip() in contract.requested]
            if not set(contract.inputs) <= {name.strip() for name in used}:
                used = names  # so that the error can list them all
            empty = [file.schema_arrow.empty_table()]
            batches = file.iter_batches(chunk_rows, columns=used) if file.metadata.num_rows else empty
            chunks = (batch.to_pandas(types_mapper=NULLABLE_INTEGERS.get, ignore_metadata=True) for batch in batches)
        with refuse_surplus_fields(path):
            for chunk in chunks:
                rows = tidy(chunk, path)
                rows.index += n_read
                n_read += len(rows)
                yield rows
    except InputError:
        raise
    except Exception as error:  # each reader and codec has exceptions of its own
        raise InputError(f"{path} can't be read: {first_line(error)}") from None


def check_rows(rows: pd.DataFrame, contract: Contract, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split (n, m) raw rows into those that keep the contract, in its types, and the others with the reason.

    Raises InputError when a column is missing.
    """
    expected = make_input_contract(contract, rows.columns)
    require_columns(rows.columns, expected, str(path))
    typed, broken = find_violations(rows, expected)
    rejects = select_rejects(rows, broken)
    return typed.drop(index=rejects.index), rejects


def write_part(rows: pd.DataFrame, rejects: pd.DataFrame, bundle: Bundle, part: Path) -> None:
    """Predict (n, m) rows and write keys and predictions; first the rejects, so that no part is without them."""
    if len(rejects):
        with write_atomically(part.with_suffix(".csv")) as draft:
            rejects.to_csv(draft, index_label="row")
    keys = [name for name in bundle.contract.names("key") if name in rows]
    table = make_output_schema(bundle, keys).empty_table()
    if len(rows):
        predictions = pd.concat([rows[keys], bundle.predict(rows)], axis=1)
        table = pa.Table.from_pandas(predictions, table.schema).replace_schema_metadata()
    with write_atomically(part) as draft:
        pq.write_table(table, draft)


def write_parts(chunks: Iterator[pd.DataFrame], folder: Path, bundle: Bundle, path: Path) -> None:
    """Write the parts that are missing. While one chunk is predicted, the next one is read and checked."""
    with ThreadPoolExecutor(1) as worker:
        pending: Future[None] | None = None
        for number, rows in enumerate(chunks):
            part = folder / f"{number:06}.parquet"
            if not part.exists():
                valid_rows, rejects = check_rows(rows, bundle.contract, path)
                if pending:
                    pending.result()
                pending = worker.submit(write_part, valid_rows, rejects, bundle, part)
        if pending:
            pending.result()


def join_parts(folder: Path, draft: Path, output: Path) -> dict[str, Any]:
    """Write the predictions of all parts into a draft of the output, and the list of rejects; count the rows."""
    # A run that was killed leaves a draft, whose name begins with a dot.
    parts, reject_lists = sorted(folder.glob("[!.]*.parquet")), sorted(folder.glob("[!.]*.csv"))
    n_predicted = 0
    with WRITERS[output.suffix.lower()](draft, pq.read_schema(parts[0])) as writer:
        for part in parts:
            table = pq.read_table(part)
            writer.write_table(table)
            n_predicted += table.num_rows
    reasons: Counter[str] = Counter()
    _, rejects_path, _ = companion_paths(output)
    rejects_path.unlink(missing_ok=True)
    if reject_lists:
        with (
            write_atomically(rejects_path) as rejects_draft,
            rejects_draft.open("w", encoding="utf-8", newline="") as file,
        ):
            for path in reject_lists:
                rejects = pd.read_csv(path, dtype="str", keep_default_na=False)
                rejects.to_csv(file, index=False, header=path == reject_lists[0], lineterminator="\n")
                reasons.update(rejects["reason"])
    return {"rows": n_predicted + reasons.total(), "predicted": n_predicted, "rejected": dict(reasons.most_common())}


@contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Let no other run write an output or touch its parts. Raises InputError while one does."""
    lock = companion_paths(output)[2].with_suffix(".lock")
    try:
        held = FileLock(lock).acquire(timeout=0)
    except Timeout:
        raise InputError(f"Another run is writing {output}; wait until it is done.") from None
    with held:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # while it is held: a run that has opened it meanwhile sees that it is gone


def drop(folder: Path) -> None:
    """Delete the parts of a run, and the folder that they lie in unless a stopped run of another kind has some too."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


def predict_file(
    source: Path, output: Path, source_name: str, task: str, bundle: Bundle, csv: dict[str, Any], chunk_rows: int
) -> tuple[dict[str, Any], bool]:
    """Predict one file and give its manifest, and whether the output is new.

    source_name: as in the manifest. task: the label of the progress bar. csv: keyword arguments of pandas.read_csv.
    Raises InputError when the source can't be read, or while another run writes the same output.
    """
    _, _, parts = companion_paths(output)
    made_from = {"version": bundle.version, "input_md5": md5(source), "csv": str(csv)}
    made_from |= {name: bundle.facts[name] for name in MANIFEST_TAGS}
    folder = parts / content_md5(json.dumps([made_from, chunk_rows]))
    console = progress_console()
    with only_run(output):
        manifest = read_manifest(output)
        if made_from.items() <= manifest.items() and output.exists() and md5(output) == manifest["output_md5"]:
            drop(folder)
            return manifest, False
        folder.mkdir(parents=True, exist_ok=True)
        with rich.progress.open(
            source, "rb", description=task, transient=True, console=console, disable=console is None
        ) as content:
            try:
                chunks = read_chunks(content, source, bundle.contract, csv, chunk_rows)
                write_parts(chunks, folder, bundle, source)
                if md5(source) != made_from["input_md5"]:
                    raise InputError(f"{source} was changed while it was read; predict it again.")
            except InputError:  # there is nothing to resume
                drop(folder)
                raise
        with write_atomically(output, folder) as draft:
            counts = join_parts(folder, draft, output)
            now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
            manifest = made_from | {"input": source_name, "when": now, "output_md5": md5(draft)} | counts
            write_manifest(output, manifest)
        shutil.rmtree(parts)  # also the parts that stopped runs of other versions or inputs have left
    return manifest, True


def report_result(output: Path, manifest: dict[str, Any], is_new: bool) -> None:
    """Print how many rows of a file were predicted, by the manifest of its output."""
    if not is_new:
        return report_line("predict", f"version {manifest['version']} has predicted this input already", output)
    n_rows, n_rejected = manifest["rows"], manifest["rows"] - manifest["predicted"]
    report_line("predict", f"{n_rows:,} rows, {n_rejected:,} rejected, version {manifest['version']}", output)
    if n_rejected:
        reason, count = next(iter(manifest["rejected"].items()))
        more = ", ..." if len(manifest["rejected"]) > 1 else ""
        report_line("", f"{reason} in {count:,} rows{more}", companion_paths(output)[1])


def predict_on_cluster(
    client: Any, files: list[tuple[Path, Path]], bundle: Bundle, **options: Any
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Predict each file on a cluster, and give what `predict_file` does, in the files' order.

    options: csv and chunk_rows of `predict_file`.
    """
    require_shared_folder(client, files[0][1].parent.absolute())
    sources = [source.absolute() for source, _ in files]
    outputs = [output.absolute() for _, output in files]
    names = [str(source) for source, _ in files]
    results = map_on_cluster(client, predict_file, sources, outputs, names, names, shared={"bundle": bundle}, **options)
    yield from track_progress(results, "predict", len(files))


def pair_files(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """Pair each input file with its output: one file with a file, several or a folder with the same names in a folder.

    Raises InputError where an input is missing, a name has an unknown ending, or a file would be overwritten.
    """
    sources: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a CSV or Parquet file, or a folder of them.")
        tables = sorted(file for file in path.glob("[!.]*") if file.suffix.lower() in WRITERS)
        if path.is_dir() and not tables:
            raise InputError(f"{path} holds no file that ends in .csv or .parquet.")
        sources += tables if path.is_dir() else [path]
    into_folder = len(inputs) > 1 or inputs[0].is_dir()
    if into_folder and (output.is_file() or output.suffix.lower() in WRITERS):
        raise InputError(f"{output} is a file's name; expected a folder's for the outputs of several inputs.")
    outputs = [output / source.name for source in sources] if into_folder else [output]
    for path in [*sources, *outputs]:
        if path.suffix.lower() not in WRITERS or path.is_dir():
            raise InputError(f"{path} is no CSV or Parquet file; expected a name that ends in .csv or .parquet.")
    written = [path for output_path in outputs for path in (output_path, *companion_paths(output_path))]
    for path, count in Counter(path.resolve() for path in [*sources, *written]).items():
        if count > 1:
            raise InputError(f"{path} would be overwritten: it is an input, or two inputs have this name.")
    return list(zip(sources, outputs, strict=True))


def predict(inputs: list[Path], output: Path, version: str, chunk_rows: int) -> None:
    """Predict files with a version, or the champion; an output that is up to date is left as it is."""
    files, client = pair_files(inputs, output), store.connect()
    options: dict[str, Any] = {"csv": read_params().ingest.csv, "chunk_rows": chunk_rows}
    with connect_to_cluster() as cluster:
        bundle = load_named(client, version, apart=cluster is not None)
        if cluster:
            results = predict_on_cluster(cluster, files, bundle, **options)
        else:
            tasks = (f"{source.name}, {number} of {len(files)}" for number, (source, _) in enumerate(files, start=1))
            results = (
                predict_file(source, target, str(source), task, bundle, **options)
                for (source, target), task in zip(files, tasks, strict=True)
            )
        for (_, target), (manifest, is_new) in zip(files, results, strict=True):
            report_result(target, manifest, is_new)
