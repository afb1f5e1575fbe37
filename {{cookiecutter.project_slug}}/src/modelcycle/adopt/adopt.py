"""Start from the team's own table: infer the contract, bring the data under DVC, retire the example."""

import os
import shutil
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from modelcycle.adopt.choose_model import choose_model
from modelcycle.adopt.infer import (
    describe_sample,
    detect_csv_format,
    detect_number_format,
    find_left_out_parts,
    find_missing_words,
    infer_contract,
)
from modelcycle.core.config import edit_params, explain_validation_error, make_yaml
from modelcycle.core.contract import Contract, convert_columns, require_unique_keys
from modelcycle.core.errors import InputError
from modelcycle.core.output import md5, read_text, report_line, write_atomically
from modelcycle.core.params import Ingest, read_params
from modelcycle.core.paths import CONTRACT, EXAMPLE, FEEDBACK, PARAMS, PROFILE, RAW, REJECTS, TEST, TRAIN
from modelcycle.core.table import read_source
from modelcycle.tracking.git import git, run


def write_contract(contract: Contract, rows: pd.DataFrame) -> None:
    """Write contract.yaml, each column with the facts that differ from the defaults.

    rows: (n, m) as read from the source. What they held is a comment and no rule: others will come.
    """
    columns = {}
    for name, column in contract.columns.items():
        columns[name] = CommentedMap(column.model_dump(exclude_defaults=True))
        columns[name].fa.set_block_style()  # a comment would cut a mapping on one line short
        if not column.values and (sample := describe_sample(rows[name], column)):
            columns[name].yaml_add_eol_comment(sample, "type", column=0)
    with write_atomically(CONTRACT) as draft, draft.open("w", encoding="utf-8") as text:
        text.write("# Inferred from a sample: correct what is wrong, add `unit` and `description`.\n")
        text.write("# What the sample held refuses nothing: write `min`, `max` or `values` where it is a rule.\n")
        text.write("# Roles: key, time, feature, target, ignored.\n")
        text.write("# Types: number, integer, boolean, category, datetime, text.\n")
        make_yaml().dump({"description": contract.description, "columns": columns}, text)


def write_params(source: Path, options: dict[str, Any], contract: Contract, rows: pd.DataFrame) -> str:
    """Point params.yaml at the new source. Returns what is said about the model that is chosen for its (n, m) rows."""
    said = ""
    with edit_params() as params:
        if Path(params["ingest"]["source"]).is_relative_to(EXAMPLE):
            # The model and what the gate demands were found for the example.
            params["train"]["estimator"], params["train"]["parameters"], said = choose_model(rows, contract)
            if "gate" in params:
                params["gate"].update({"bound": None, "too_good": None, "accepted_leaks": {}, "behaviour": []})
        params["ingest"].update({"source": source.as_posix(), "database": None, "csv": options, "until": None})
        groups = [name for name in contract.names("feature") if contract.columns[name].type in ("boolean", "category")]
        params["evaluate"]["slices"] = groups[:2]
    return said


def choose_destination(file: Path) -> Path:
    """Say where a table goes. Raises InputError where it is none, or where its name is that of a pipeline's file."""
    data = Path("data") / file.name
    if not file.is_file():
        raise InputError(f"{file} is no file; expected a table as CSV or Parquet.")
    if file.suffix.lower() == ".sql":
        raise InputError(
            "adopt takes a table, not a query: adopt an extract, then set ingest.source and ingest.database."
        )
    if data in (RAW, FEEDBACK, TRAIN, TEST, REJECTS, PROFILE):
        raise InputError(f"{data} is a file that the pipeline writes; give {file.name} another name.")
    return data


def require_nothing_lost(file: Path, data: Path) -> None:
    """Raise InputError where something would be overwritten or deleted that neither git nor DVC holds as it is.

    Files in example/ that git does not know are not deleted, so they don't count.
    """
    changes = git("status", "--porcelain", "--no-renames", "--", str(CONTRACT), str(PARAMS)).splitlines()
    changes += git("status", "--porcelain", "--no-renames", "--untracked-files=no", "--", str(EXAMPLE)).splitlines()
    if names := [change.split(maxsplit=1)[1] for change in changes if "D" not in change.split(maxsplit=1)[0]]:
        raise InputError(f"What is not committed of {' and '.join(names)} would be lost; commit it, or add --force.")
    if data.is_file() and md5(data) not in (md5(file), *read_text(Path(f"{data}.dvc")).split()):
        raise InputError(f"{data} would be overwritten and DVC does not hold it as it is; rename it, or add --force.")


def read_with_format(file: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a table as the source will be read, (n, m), and give the options of pandas.read_csv that this takes."""
    if file.suffix.lower() == ".parquet":
        return read_source(Ingest(source=str(file))), {}
    options = detect_csv_format(file)
    rows = read_source(Ingest(source=str(file), csv=options))
    if number_format := detect_number_format(rows):
        options |= number_format
        rows = read_source(Ingest(source=str(file), csv=options))
    if words := find_missing_words(rows):
        options["na_values"] = words
        rows = rows.mask(rows.isin(words))
    return rows, options


def count_copies(rows: pd.DataFrame, contract: Contract) -> int:
    """Count those of (n, m) rows that equal an earlier one in target and features, but not in the key."""
    typed = convert_columns(rows, contract.used, contract)
    return int(typed.drop_duplicates().duplicated(contract.names("feature", "target")).sum())


def delete_example() -> list[str]:
    """Delete what git has of example/. Returns the files that it does not have: they stay."""
    for name in git("ls-files", "-z", "--", str(EXAMPLE)).split("\0")[:-1]:
        Path(name).unlink(missing_ok=True)
    for folder, _, _ in os.walk(EXAMPLE, topdown=False):
        with suppress(OSError):  # it is not empty
            Path(folder).rmdir()
    return sorted(path.as_posix() for path in EXAMPLE.rglob("*") if not path.is_dir())


def adopt(file: Path, target: str, key: list[str], time: str | None, force: bool) -> None:
    """Make `file` this repository's data: contract.yaml, params.yaml and DVC follow it, example/ goes."""
    before = Path(read_params().ingest.source)  # also refuses params.yaml, which is edited, before anything is changed
    data = choose_destination(file)
    if not force:
        require_nothing_lost(file, data)
    rows, options = read_with_format(file)
    try:
        contract, leaks = infer_contract(rows, str(file), target, key, time)
    except ValidationError as error:
        raise InputError(f"{file}: {explain_validation_error(error)}") from None
    distinct = rows[~convert_columns(rows, contract.used, contract).duplicated()]
    require_unique_keys(distinct.dropna(subset=contract.names("key")), contract)

    if file.resolve() != data.resolve():
        with write_atomically(data) as draft:
            shutil.copyfile(file, draft)
    run("dvc", "add", "--quiet", str(data))
    write_contract(contract, rows)
    choice = write_params(data, options, contract, rows)
    if data != before and find_spec("modelcycle.tracking.feedback"):  # the scope exploration has none
        from modelcycle.tracking.feedback import delete_feedback

        delete_feedback()
    stays = delete_example()
    Path("dvc.lock").unlink(missing_ok=True)  # of the earlier data, with which nothing is to be compared

    kind = "classes" if contract.is_classification else "an amount"
    report_line("adopt", f"{len(rows):,} rows, {len(rows.columns)} columns", data)
    report_line("", f"{target} as {kind}, {len(contract.names('feature'))} features", CONTRACT)
    if key and len(distinct) < len(rows):
        report_line("", f"{len(rows) - len(distinct):,} rows repeat an earlier one; prepare will reject them")
    for name in [name for name in contract.inputs if contract.columns[name].type == "datetime"]:
        column = contract.columns[name]
        reasons = find_left_out_parts(rows[name], column, contract.time not in (None, name)).items()
        left_out = "; ".join(f"{', '.join(parts)} ({reason})" for reason, parts in reasons)
        report_line("", f"{name}: {', '.join(column.parts or []) or 'nothing'}; left out: {left_out or 'nothing'}")
    for name in contract.names("ignored"):
        report_line("", f"ignored: {name} {contract.columns[name].reason}")
    if choice:
        report_line("", choice, PARAMS)
    for leak in [leak for leak in leaks if not leak.blocks]:
        report_line("", f"look into it: {leak}. Is it known before {target} is?")
    if copies := count_copies(rows, contract):
        report_line("", f"{copies:,} rows equal an earlier one in all but the key: are they copies?")
    if stays:
        more = f" and {len(stays) - 5:,} more" if len(stays) > 5 else ""
        report_line("", "left where it is, since git does not have it:", ", ".join(stays[:5]) + more)
    report_line("", "read contract.yaml and commit, then `make cycle`")
