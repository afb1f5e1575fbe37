"""Find out how a CSV file is written: encoding, separator, header, numbers, and words for missing values.

What is guessed can be overruled on the command line; where a guess may be wrong, it is told with examples.
"""

import codecs
import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from charset_normalizer import from_bytes

from modelcycle.core.errors import InputError
from modelcycle.core.table import csv_options, is_no_value, plain_numbers, read_separator_line

SAMPLE_BYTES, SAMPLE_LINES = 1_000_000, 200
# In a word, signs that no word has, or a capital: another code page has its small letters there.
STRANGE_SIGN = re.compile(r"£[^\W\d_]|[a-z][^\x00-\x7fß-öø-ž·\xa0\xad\u2010-\u2019][a-z]")


def detect_csv_format(path: Path, encoding: str = "", separator: str = "") -> tuple[dict[str, Any], list[str]]:
    """Find out the encoding and the separator of a CSV file, as options of pandas.read_csv, with what is to be told.

    encoding, separator: those that a person has given. Raises InputError when it is no text in this encoding.
    """
    content, told = path.read_bytes(), []
    found = encoding or detect_encoding(content, path)
    try:
        text = content.decode(found)
    except (UnicodeDecodeError, LookupError):
        raise InputError(
            f"{path} is not written in {found}; expected the name of its encoding, such as gb18030."
        ) from None
    if not encoding and not found.startswith("utf"):
        words = list(dict.fromkeys(re.findall(r"\w*[^\W\x00-\x7f]\w*|[^\w\x00-\x7f]", text)))[:3]
        told.append(f"read as {found}, e.g. {', '.join(words)}; if that is wrong, name the --encoding")
    with path.open("rb") as opened:
        stated = read_separator_line(opened, found)
    csv.field_size_limit(2**31 - 1)
    lines = text[:SAMPLE_BYTES].splitlines()[bool(stated) :][:SAMPLE_LINES]

    def regularity(delimiter: str) -> int:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if len(row) > 1)
        return max(widths.values(), default=0)

    best = max(";\t|,", key=regularity)
    if not regularity(best) and all(len(line.split()) > 1 for line in lines) and lines:
        best = r"\s+"
    return {"sep": separator or stated or best, "encoding": found}, told


def detect_encoding(content: bytes, path: Path) -> str:
    """Find out the encoding of a file's content. Raises InputError when it is no text."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = content[:SAMPLE_BYTES]
    if b"\0" in start:
        is_wide = min(start[::2].count(0), start[1::2].count(0)) == 0 and start.count(0) > 0.2 * len(start) > 1
        if not is_wide:
            raise InputError(f"{path} is no text file; expected a table as CSV, not compressed, Excel or Parquet.")
        return "utf-16-be" if start[::2].count(0) > start[1::2].count(0) else "utf-16-le"
    try:
        content.decode("utf-8-sig")
        return "utf-8-sig"
    except UnicodeDecodeError:
        lines = b"\n".join(line for line in start.splitlines() if not line.isascii())
    if is_western(lines):
        return "cp1252"
    likely = [match.encoding for match in from_bytes(lines) if not STRANGE_SIGN.search(str(match))]
    return likely[0] if likely else "latin-1"


def is_western(lines: bytes) -> bool:
    """Say whether lines read as Windows-1252 are words of Western Europe: single accented letters among plain ones."""
    try:
        text = lines.decode("cp1252")
    except UnicodeDecodeError:
        return False
    words = re.findall(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*", text)
    accents = sum(not letter.isascii() for word in words for letter in word)
    return accents < 0.5 * sum(map(len, words)) + 0.5 and not STRANGE_SIGN.search(text)


def require_header(path: Path, options: dict[str, Any], rows: pd.DataFrame) -> None:
    """Raise InputError where the names of (n, m) columns look like a row of data: the file has no header."""
    names = read_first_row(path, options)
    numbers = pd.to_numeric(pd.Series(names, dtype="str"), errors="coerce")
    is_repeated = [name in set(rows.iloc[:, i]) for i, name in enumerate(names[: len(rows.columns)])]
    is_data = [bool(number == number) or again for number, again in zip(numbers, is_repeated, strict=False)]
    is_measured = any(is_repeated) or (numbers % 1 > 0).any()
    counts_up = (numbers % 1 == 0).all() and (
        numbers.diff().dropna() == numbers.diff().iloc[-1]
    ).all()  # years, positions
    if len(names) > 1 and all(is_data) and is_measured and not counts_up:
        raise InputError(
            f"{path} has no header: its first row is data ({', '.join(names[:4])}, ...). Name its {len(names)} columns "
            f"by --names a,b,c, or add --no-header, which calls them column_1 to column_{len(names)}."
        )


def name_columns(path: Path, options: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Give the options for a file without a header. Raises InputError where it has more or fewer columns than names."""
    width = len(read_first_row(path, options))
    names = names or [f"column_{number}" for number in range(1, width + 1)]
    if len(names) != width:
        raise InputError(f"{path} has {width} columns, --names has {len(names)}: {', '.join(names)}.")
    return {"header": None, "names": names}


def read_first_row(path: Path, options: dict[str, Any]) -> list[str]:
    """Read the first row of a CSV file, be it a header or not."""
    with path.open("rb") as content:
        row = pd.read_csv(content, **csv_options(options, content), header=None, nrows=1)
    return [str(name).strip() for name in row.fillna("").iloc[0]]


def detect_number_format(rows: pd.DataFrame) -> dict[str, Any]:
    """Find out how (n, m) columns of text write numbers, as options of pandas.read_csv."""
    texts = pd.concat([rows[name].dropna().head(1000) for name in rows])
    by_comma = texts.str.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")  # 1,234 and 1,234.5
    by_point = texts.str.fullmatch(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?")
    commas = texts.str.fullmatch(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+") & ~by_comma
    points = texts.str.fullmatch(r"[+-]?(\d+|\d{1,3}(,\d{3})+)\.\d+") & ~by_point
    if commas.sum() > points.sum():
        return {"decimal": ","} | ({"thousands": "."} if by_point.any() else {})
    return {"thousands": ","} if by_comma.any() else {}


def describe_number_format(rows: pd.DataFrame, options: dict[str, Any]) -> list[str]:
    """Tell how numbers in (n, m) columns of text are read by the options of pandas.read_csv, with examples."""
    decimal, thousands = options.get("decimal", "."), options.get("thousands", "")
    signs = [sign for sign in (decimal, thousands) if sign and sign != "."] or [thousands]
    texts = pd.concat([rows[name].dropna().head(1000) for name in rows])
    turned = texts[texts.str.fullmatch(r"[+-]?[\d.,]*") & texts.str.contains("|".join(map(re.escape, signs)))]
    turned = turned.reset_index(drop=True)
    if turned.empty:
        return []
    plain = plain_numbers(turned.to_frame("number"), options, None)["number"]
    shown = ", ".join(f"{text} is {number}" for text, number in list(zip(turned, plain, strict=True))[:3])
    return [f"numbers have the decimal separator '{decimal}': {shown}; if that is wrong, name the --decimal"]


def find_missing_words(rows: pd.DataFrame, given: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Find words that stand for a missing value in (n, m) columns of text, column by column, with what is to be told.

    given: those that a person has named. Others are missing among numbers, dates and booleans; in a column of other
    texts they stay values, since NA is also a country.
    """
    found, told = dict[str, list[str]](), []
    for name in rows:
        values = rows[name].dropna()
        if not pd.api.types.is_string_dtype(values):
            continue
        numbers = pd.to_numeric(values, errors="coerce")
        wanted = {
            word for word in given if pd.to_numeric(word, errors="coerce") == pd.to_numeric(word, errors="coerce")
        }
        is_given = values.isin(given) | numbers.isin([float(word) for word in wanted])
        words = sorted(values[is_given].unique())
        strange = values[numbers.isna() & ~is_given]
        if len(strange) < len(values) and not strange.str.contains(r"\d").any():
            if len(strange) <= len(values) / 5 and strange.nunique() <= 3:
                words += sorted(strange.unique())
        elif len(no_values := strange[is_no_value(strange)]):
            rest = strange[~is_no_value(strange)]
            if len(rest.drop_duplicates()) > 0 and rest.str.contains(r"\d").all():  # dates
                words += sorted(no_values.unique())
            else:
                shown = ", ".join(f"{word!r} in {count:,} rows" for word, count in no_values.value_counts().items())
                told.append(f"{name}: {shown} stays a value; if it is a missing one, add --missing {no_values.iloc[0]}")
        if words:
            found[str(name)] = words
            told.append(f"{name}: {', '.join(map(repr, words))} in {values.isin(words).sum():,} rows is missing")
    return found, told


def find_sentinels(rows: pd.DataFrame) -> list[str]:
    """Tell of frequent numbers far outside all others in (n, m) columns, such as -999: they may stand for missing."""
    told = []
    for name in rows:
        numbers = pd.to_numeric(rows[name], errors="coerce").dropna()
        for extreme in {numbers.min(), numbers.max()} if numbers.nunique() > 10 else set():
            others = numbers[numbers != extreme]
            count, spread = len(numbers) - len(others), others.quantile(0.99) - others.quantile(0.01)
            distance = (others - extreme).abs().min()
            if count >= max(5, 0.005 * len(numbers)) and distance > max(spread, 1):
                told.append(
                    f"{name}: {extreme:g} in {count:,} rows is far outside {others.min():g} to {others.max():g}; if it "
                    f"stands for a missing value, add --missing={extreme:g}"
                )
    return told
