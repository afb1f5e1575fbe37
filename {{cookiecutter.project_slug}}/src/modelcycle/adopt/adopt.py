"""Start from the team's own table: infer the contract, bring the data under DVC, retire the example."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from modelcycle.adopt.choose_holdout import choose_holdout, repeats_in_blocks
from modelcycle.adopt.choose_model import choose_model
from modelcycle.adopt.csv_format import (
    describe_number_format,
    detect_csv_format,
    detect_number_format,
    find_missing_words,
    find_sentinels,
    name_columns,
    require_header,
)
from modelcycle.adopt.infer import Wishes, describe_doubts, describe_sample, find_left_out_parts, infer_contract
from modelcycle.core.config import edit_params, explain_validation_error, make_yaml
from modelcycle.core.contract import Contract, convert_columns, require_unique_keys
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import md5, read_text, report_line, write_atomically
from modelcycle.core.params import Holdout, Ingest, read_params
from modelcycle.core.paths import CONTRACT, EXAMPLE, FEEDBACK, PARAMS, PROFILE, RAW, REJECTS, TEST, TRAIN
from modelcycle.core.table import EXCEL, read_source
from modelcycle.tracking.git import git, run


@dataclass
class Format:
    """How a file is written, as far as a person has said so."""

    encoding: str = ""
    separator: str = ""
    decimal: str = ""
    names: list[str] = field(default_factory=list)
    no_header: bool = False
    missing: list[str] = field(default_factory=list)
    sheet: str = ""


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
        text.write("# Roles: key, time, group, weight, feature, target, ignored.\n")
        text.write("# Types: number, integer, boolean, category, datetime, text.\n")
        make_yaml().dump({"description": contract.description, "columns": columns}, text)


def write_params(
    source: Path, options: dict[str, Any], contract: Contract, rows: pd.DataFrame, holdout: dict[str, Any]
) -> str:
    """Point params.yaml at the new source. Returns what is said about the model that is chosen for its (n, m) rows."""
    said = ""
    with edit_params() as params:
        if Path(params["ingest"]["source"]).is_relative_to(EXAMPLE):
            # The model and what the gate demands were found for the example.
            params["train"]["estimator"], params["train"]["parameters"], said = choose_model(
                rows, contract, Holdout.model_validate(holdout)
            )
            if "gate" in params:
                params["gate"].update({"bound": None, "too_good": None, "accepted_leaks": {}, "behaviour": []})
        params["prepare"]["holdout"] = holdout
        params["ingest"].update({"source": source.as_posix(), "database": None, "csv": options, "until": None})
        groups = [name for name in contract.names("feature") if contract.columns[name].type in ("boolean", "category")]
        params["evaluate"]["slices"] = groups[:2]
    return said


def choose_destination(file: Path) -> Path:
    """Say where a table goes. Raises InputError where it is none, or where its name is that of a pipeline's file."""
    data = Path("data") / file.name
    if not file.is_file():
        raise InputError(f"{file} is no file; expected a table as CSV, Excel or Parquet.")
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


def read_with_format(file: Path, format_: Format) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """Read a table as the source will be read, (n, m), with the options that this takes and what is to be told."""
    if file.suffix.lower() == ".parquet":
        return read_source(Ingest(source=str(file))), {}, []
    if file.suffix.lower() in EXCEL:
        return read_sheet(file, format_.sheet)
    options, told = detect_csv_format(file, format_.encoding, format_.separator)
    if format_.names or format_.no_header:
        options |= name_columns(file, options, format_.names)
    rows = read_source(Ingest(source=str(file), csv=options))
    if not format_.names and not format_.no_header:
        require_header(file, options, rows)
    number_format = {"decimal": format_.decimal} if format_.decimal else detect_number_format(rows)
    if number_format:
        told += describe_number_format(rows, number_format)
        options |= number_format
        rows = read_source(Ingest(source=str(file), csv=options))
    words, told_words = find_missing_words(rows, format_.missing)
    if words:
        options["na_values"] = words
        rows = read_source(Ingest(source=str(file), csv=options))
    return rows, options, told + told_words + find_sentinels(rows)


def read_sheet(file: Path, sheet: str) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """Read the first or the named sheet of an Excel file, as `read_with_format` does."""
    try:
        sheets = pd.ExcelFile(file, engine="calamine").sheet_names
    except Exception as error:  # each format has exceptions of its own
        raise InputError(f"{file} can't be read: {first_line(error)}") from None
    chosen = sheet or str(sheets[0])
    if chosen not in sheets:
        raise InputError(f"{file} has no sheet '{chosen}'. Sheets: {', '.join(map(str, sheets))}.")
    options = {"sheet_name": chosen}
    told = [f"sheet '{chosen}' of {', '.join(map(str, sheets))}; --sheet names another"] if len(sheets) > 1 else []
    return read_source(Ingest(source=str(file), csv=options)), options, told


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


def adopt(file: Path, wishes: Wishes, format_: Format, holdout: str, force: bool) -> None:
    """Make `file` this repository's data: contract.yaml, params.yaml and DVC follow it, example/ goes.

    holdout: by what the hold-out set is drawn; empty to choose.
    """
    before = Path(read_params().ingest.source)  # also refuses params.yaml, which is edited, before anything is changed
    git("rev-parse", "--git-dir")  # so is a folder without git
    data = choose_destination(file)
    if not force:
        require_nothing_lost(file, data)
    rows, options, told = read_with_format(file, format_)
    try:
        contract, leaks = infer_contract(rows, str(file), wishes)
    except ValidationError as error:
        raise InputError(f"{file}: {explain_validation_error(error)}") from None
    distinct = rows[~convert_columns(rows, contract.used, contract).duplicated()]
    require_unique_keys(distinct.dropna(subset=contract.names("key")), contract)
    chosen, why = choose_holdout(rows, contract, holdout)

    if file.resolve() != data.resolve():
        with write_atomically(data) as draft:
            shutil.copyfile(file, draft)
    run("dvc", "add", "--quiet", str(data))
    write_contract(contract, rows)
    choice = write_params(data, options, contract, rows, chosen)
    if data != before and find_spec("modelcycle.tracking.feedback"):  # the scope exploration has none
        from modelcycle.tracking.feedback import delete_feedback

        delete_feedback()
    stays = delete_example()
    Path("dvc.lock").unlink(missing_ok=True)  # of the earlier data, with which nothing is to be compared

    kind = "classes" if contract.is_classification else "an amount"
    report_line("adopt", f"{len(rows):,} rows, {len(rows.columns)} columns", data)
    report_line("", f"{wishes.target} as {kind}, {len(contract.names('feature'))} features", CONTRACT)
    if contract.time and not wishes.time:
        told.append(f"{contract.time}: is the rows' time, since they are in its order; --time names another")
    told += describe_guesses(rows, contract, len(distinct) if wishes.key else len(rows))
    told += [f"look into it: {leak}. Is it known before {wishes.target} is?" for leak in leaks if not leak.blocks]
    for sentence in filter(None, [*told, why, choice]):
        report_line("", sentence)
    if stays:
        more = f" and {len(stays) - 5:,} more" if len(stays) > 5 else ""
        report_line("", "left where it is, since git does not have it:", ", ".join(stays[:5]) + more)
    report_line("", "read contract.yaml and commit, then `make cycle`")


def describe_guesses(rows: pd.DataFrame, contract: Contract, n_distinct: int) -> list[str]:
    """Tell what was guessed about (n, m) rows, column by column, and which of them are repeated."""
    told, target = [], contract.columns[contract.target]
    if target.type == "category" and pd.to_numeric(pd.Series(target.values), errors="coerce").notna().all():
        told.append(f"{contract.target}: the numbers {', '.join(target.values or [])} are classes; if not, --as amount")
    for name in contract.used:
        told += [f"{name}: {doubt}" for doubt in describe_doubts(rows[name], contract.columns[name])]
    for name in [name for name in contract.inputs if contract.columns[name].type == "datetime"]:
        column = contract.columns[name]
        reasons = find_left_out_parts(rows[name], column, contract.time not in (None, name)).items()
        left_out = "; ".join(f"{', '.join(parts)} ({reason})" for reason, parts in reasons)
        told.append(f"{name}: {', '.join(column.parts or []) or 'nothing'}; left out: {left_out or 'nothing'}")
    for name in [] if contract.names("group") else contract.names("feature"):
        if contract.columns[name].type in ("category", "integer") and repeats_in_blocks(rows[name]):
            told.append(
                f"{name}: its values follow one another in blocks; if each is a case of its own, --group {name}"
            )
    if n_distinct < len(rows):
        told.append(f"{len(rows) - n_distinct:,} rows repeat an earlier one; prepare will reject them")
    if copies := count_copies(rows, contract):
        told.append(f"{copies:,} rows equal an earlier one in all but the key: are they copies?")
    return told + [f"ignored: {name} {contract.columns[name].reason}" for name in contract.names("ignored")]
