"""Find out how a CSV file is written: encoding, delimiter, numbers, words for missing values."""

import codecs
import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from modelcycle.core.errors import InputError


def detect_csv_format(path: Path) -> dict[str, Any]:
    """Find out the encoding and the delimiter of a CSV file, as options of pandas.read_csv.

    Raises InputError when it is no text.
    """
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in content[:1_000_000] and not wide:
        raise InputError(f"{path} is no text file; expected a table as CSV, not compressed, or Parquet.")
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    csv.field_size_limit(2**31 - 1)
    lines = text[:1_000_000].splitlines()[:200]

    def regularity(delimiter: str) -> int:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if len(row) > 1)
        return max(widths.values(), default=0)

    return {"sep": max(";\t|,", key=regularity), "encoding": encoding}


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


def find_missing_words(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Find words such as '?' that stand for a missing number in (n, m) columns of text, column by column."""
    found: dict[str, list[str]] = {}
    for name in rows:
        values = rows[name].dropna()
        strange = values[pd.to_numeric(values, errors="coerce").isna()]
        words = sorted(word for word in strange.unique() if not re.search(r"\d", word))
        if len(strange) <= len(values) / 5 and strange.nunique() <= 3 and words:
            found[str(name)] = words
    return found
