import pandas as pd
import pytest

from modelcycle.adopt.sniff import detect_csv_format, detect_number_format, find_missing_words
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


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04\x00\x00")
    with pytest.raises(InputError, match="is no text file"):
        detect_csv_format(tmp_path / "table.xlsx")
