"""Read tables, whatever they are written in: CSV, Excel, Parquet, or the rows of a query.

The values stay as they were found, with two exceptions: numbers with a decimal comma or a thousands separator become
what every later step reads, and a word such as NA is missing where numbers or dates belong. In a column of text it is a
value: NA is also a country.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd

from modelcycle.core.contract import Contract
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.params import Ingest

EXCEL = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
NO_VALUE = ["NA", "N/A", "#N/A", "NaN", "NULL", "None", "n.a.", "nil", "?", "-", "--", "."]  # in any case


def read_source(ingest: Ingest, contract: Contract | None = None) -> pd.DataFrame:
    """Read the table that params.yaml names, (n, m), all columns of a CSV file as text.

    contract: says which columns hold numbers; without it any may. See `plain_numbers`.
    Raises InputError when there is no such source, when it can't be read, or when it holds no row.
    """
    path = Path(ingest.source)
    if not path.exists():
        hint = " If DVC tracks it, run `uv run dvc pull`." if Path(f"{path}.dvc").exists() else ""
        raise InputError(f"params.yaml: ingest.source is {path}, which does not exist; expected a file.{hint}")
    try:
        match path.suffix.lower():
            case ".sql":
                rows = read_database(ingest.database, path.read_text(encoding="utf-8"))
            case ".parquet":
                rows = pd.read_parquet(path)
                rows = rows if rows.index.names == [None] else rows.reset_index()
            case suffix if suffix in EXCEL:
                rows = pd.read_excel(path, engine="calamine", keep_default_na=False, na_values=[""], **ingest.csv)
            case _:
                with refuse_surplus_fields(path), path.open("rb") as content:
                    rows = pd.read_csv(content, **csv_options(ingest.csv, content))
                    rows = interpret_texts(rows, ingest.csv, contract)
    except InputError:
        raise
    except Exception as error:  # each reader, codec and database driver has exceptions of its own
        raise InputError(f"{path} can't be read: {first_line(error)}") from None
    if rows.empty:
        raise InputError(f"{path} holds no row; expected a table with at least one.")
    return tidy(rows, path)


def tidy(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Give (n, m) rows plain types and names without blanks. Raises InputError when a name is there twice."""
    rows.columns = rows.columns.map(str).str.strip()
    if not rows.columns.is_unique:
        twice = rows.columns[rows.columns.duplicated()][0]
        raise InputError(f"{path} has more than one column '{twice}'; expected a name for each.")
    return rows.apply(plain).reset_index(drop=True)


def plain(values: pd.Series) -> pd.Series:
    """Give (n,) values a type that every file format has: durations in seconds; lists, bytes and mixtures as text."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype("object").infer_objects()
    if pd.api.types.is_timedelta64_dtype(values):
        return pd.Series(values.dt.total_seconds())
    if pd.api.types.infer_dtype(values, skipna=True) in ("mixed", "mixed-integer", "bytes"):
        return values.map(str, na_action="ignore").astype("str")
    return values


@contextmanager
def refuse_surplus_fields(path: Path) -> Iterator[None]:
    """Raise InputError where pandas reads rows with more fields than the header has: it warns, and leaves some out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Length of header", pd.errors.ParserWarning)
        try:
            yield
        except pd.errors.ParserWarning:
            raise InputError(
                f"{path} has rows with more fields than its header has names; expected a name for each field."
            ) from None


def csv_options(options: dict[str, Any], content: IO[bytes]) -> dict[str, Any]:
    """Say how pandas.read_csv gives every value as text: the options without those that `interpret_texts` follows.

    content: the open file; a first line `sep=;`, which Excel writes, is skipped.
    """
    as_text = {name: value for name, value in options.items() if name not in ("decimal", "thousands", "na_values")}
    usual: dict[str, Any] = {"dtype": str, "skipinitialspace": True, "index_col": False}
    usual |= {"keep_default_na": False, "na_values": [""]}
    if separator := read_separator_line(content, options.get("encoding", "utf-8")):
        usual |= {"sep": separator, "skiprows": 1}
    return usual | as_text


def read_separator_line(content: IO[bytes], encoding: str) -> str | None:
    """Read the separator from Excel's first line `sep=;`, None where the open file has no such line."""
    start = content.read(24).decode(encoding, errors="ignore")
    content.seek(0)
    found = re.match(r'\ufeff?"?sep=(.)"?\r?\n', start)
    return found[1] if found else None


def interpret_texts(rows: pd.DataFrame, options: dict[str, Any], contract: Contract | None) -> pd.DataFrame:
    """Make (n, m) columns of text what every later step reads, see the top of this module."""
    missing = options.get("na_values", [])
    for name in rows:
        words = missing.get(str(name).strip(), []) if isinstance(missing, dict) else missing
        words = [str(word) for word in (words if isinstance(words, list) else [words])]
        column = contract.columns.get(str(name).strip()) if contract else None
        is_missing = rows[name].isin(words)
        if column and column.type not in ("category", "text"):
            is_missing |= is_no_value(rows[name])
        rows[name] = rows[name].mask(is_missing)
    return plain_numbers(rows, options, contract)


def is_no_value(texts: pd.Series) -> pd.Series:
    """Say which of (n,) texts is a word for a missing value."""
    return texts.str.strip().str.casefold().isin([word.casefold() for word in NO_VALUE])


def plain_numbers(rows: pd.DataFrame, options: dict[str, Any], contract: Contract | None) -> pd.DataFrame:
    """Write the numbers in (n, m) columns of text with a decimal point and without a thousands separator.

    A column whose numbers are not all written with that separator and that comma stays as it is: 01.02.2024 and 1.2 are
    no 1022024 and 12. So does one that is no number by the contract, such as a key.
    """
    thousands, decimal = options.get("thousands", ""), options.get("decimal", ".")
    if not thousands and decimal == ".":
        return rows
    group, point = re.escape(thousands), re.escape(decimal)
    form = rf"[+-]?(\d{{1,3}}({group}\d{{3}})+|\d*)({point}\d*)?([eE][+-]?\d+)?"
    for name in rows:
        column = contract.columns.get(str(name).strip()) if contract else None
        if contract and (column is None or column.type not in ("number", "integer")):
            continue
        number = rows[name].str.replace(thousands, "", regex=False).str.replace(decimal, ".", regex=False)
        is_number = pd.to_numeric(number, errors="coerce").notna() & number.str.contains(r"\d", na=False)
        if rows[name][is_number].str.strip().str.fullmatch(form).all():
            rows[name] = number.where(is_number, rows[name])
    return rows


def read_database(url: str | None, query: str) -> pd.DataFrame:
    """Run a query in the database that a SQLAlchemy URL names; $VARIABLES in the URL come from the environment."""
    import sqlalchemy

    if not url:
        raise InputError("params.yaml: ingest.database is empty; expected a SQLAlchemy URL for the query to run in.")
    engine = sqlalchemy.create_engine(os.path.expandvars(url))
    with engine.connect() as connection:
        return pd.DataFrame(pd.read_sql_query(sqlalchemy.text(query), connection))
