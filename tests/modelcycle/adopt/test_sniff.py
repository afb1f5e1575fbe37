import pandas as pd
import pytest

from modelcycle.adopt.infer import detect_csv_format, detect_number_format, find_missing_words
from modelcycle.core.errors import InputError


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        (["1,5", "1.000,25"], {"decimal": ",", "thousands": "."}),
        (["5,863", "455", "1,214,703"], {"thousands": ","}),
        (["5,20", "3,99", "1.234", "12.500"], {"decimal": ",", "thousands": "."}),
        (["0,123", "1,456"], {"decimal": ","}),
        (["52.123", "13.456", "0.5"], {}),
        (["1", "2"], {}),
        (["1,5", "2.5"], {}),
        (["0,500", "12", None], {"decimal": ","}),
        (["1.234.567", "0,5", "0,7"], {"decimal": ",", "thousands": "."}),
        (["1,234.5", "0.5"], {"thousands": ","}),
    ],
)
def test_decimal_and_thousands_separators_are_told_apart(texts, options):
    assert detect_number_format(pd.DataFrame({"x": texts})) == options


def test_the_format_of_a_messy_file_is_found_out(tmp_path):
    path = tmp_path / "messy.csv"
    path.write_bytes("Größe;Preis;Ort\n1,5;1.000,25;Köln\n2,5;20,00;Bonn\n".encode("latin-1"))
    assert detect_csv_format(path) == {"sep": ";", "encoding": "cp1252"}
    rows = pd.read_csv(path, sep=";", encoding="cp1252", dtype=str)
    assert detect_number_format(rows) == {"decimal": ",", "thousands": "."}
    rows = pd.DataFrame({"age": ["1", "2", "3", "4", "5", "?"], "known": ["?", "no", "yes", "no", "no", "?"]})
    assert find_missing_words(rows) == {"age": ["?"]}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a,b\n1,2\n", {"sep": ",", "encoding": "utf-8-sig"}),
        (b"a\tb\n1,5\t2\n2,5\t3\n", {"sep": "\t", "encoding": "utf-8-sig"}),
        (b"a|b\n1|2\n", {"sep": "|", "encoding": "utf-8-sig"}),
        ("Größe;b\n1;2\n".encode("utf-16"), {"sep": ";", "encoding": "utf-16"}),
        (b"a;b\n\x81;2\n", {"sep": ";", "encoding": "latin-1"}),
        (b"a,b\n1;x;y;z,2\n3,4\n", {"sep": ",", "encoding": "utf-8-sig"}),
        (b"a,b", {"sep": ",", "encoding": "utf-8-sig"}),
        (b"a\n1\n", {"sep": ";", "encoding": "utf-8-sig"}),
        (b'a,b\n"' + b"x" * 200_000 + b'",2\n', {"sep": ",", "encoding": "utf-8-sig"}),
    ],
)
def test_encoding_and_delimiter_are_found_out(tmp_path, content, found):
    (tmp_path / "table.csv").write_bytes(content)
    assert detect_csv_format(tmp_path / "table.csv") == found


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1", "2", "3", "4", "?"], ["?"]),
        (["1", "2", "3", "?"], []),  # a quarter
        ([*"123456789012345", "?", "-", "n"], ["-", "?", "n"]),
        ([*"12345678901234567890", "?", "-", "n", "u"], []),  # four words
        (["1", "2", "3", "4", "5 kg"], []),
        (["1", "2", None], []),
    ],
)
def test_few_words_among_numbers_stand_for_a_missing_one(values, words):
    assert find_missing_words(pd.DataFrame({"x": values})) == ({"x": words} if words else {})


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04\x00\x00")
    with pytest.raises(InputError, match="is no text file"):
        detect_csv_format(tmp_path / "table.xlsx")
