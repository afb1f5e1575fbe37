"""How a CSV file is written is found out, and told where it may be wrong."""

import re

import numpy as np
import pandas as pd
import pytest

from modelcycle.adopt.csv_format import (
    describe_number_format,
    detect_csv_format,
    detect_number_format,
    find_missing_words,
    find_sentinels,
    name_columns,
    require_header,
)
from modelcycle.core.errors import InputError
from modelcycle.core.params import Ingest
from modelcycle.core.table import read_source


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


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["1.234,5", "7,25", "8"], "the decimal separator ',': 1.234,5 is 1234.5, 7,25 is 7.25; if that is wrong, "),
        (["1,234", "12,345.5", "8"], "the decimal separator '.': 1,234 is 1234, 12,345.5 is 12345.5; if that is wrong"),
    ],
)
def test_how_numbers_are_read_is_told_with_examples(texts, told):
    rows = pd.DataFrame({"x": texts, "at": ["01.02.2024", "02.02.2024", "a,b"]})
    (line,) = describe_number_format(rows, detect_number_format(rows))
    assert told in line
    assert describe_number_format(pd.DataFrame({"x": ["1", "2.5"]}), {"decimal": ","}) == []


def test_the_format_of_a_messy_file_is_found_out(tmp_path):
    path = tmp_path / "messy.csv"
    path.write_bytes("Größe;Preis;Ort\n1,5;1.000,25;Köln\n2,5;20,00;Bonn\n".encode("latin-1"))
    assert detect_csv_format(path)[0] == {"sep": ";", "encoding": "cp1252"}
    rows = pd.read_csv(path, sep=";", encoding="cp1252", dtype=str)
    assert detect_number_format(rows) == {"decimal": ",", "thousands": "."}
    rows = pd.DataFrame({"age": ["1", "2", "3", "4", "5", "?"], "known": ["?", "no", "yes", "no", "no", "?"]})
    assert find_missing_words(rows, [])[0] == {"age": ["?"]}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a,b\n1,2\n", {"sep": ",", "encoding": "utf-8-sig"}),
        (b"a\tb\n1,5\t2\n2,5\t3\n", {"sep": "\t", "encoding": "utf-8-sig"}),
        (b"a|b\n1|2\n", {"sep": "|", "encoding": "utf-8-sig"}),
        ("Größe;b\n1;2\n".encode("utf-16"), {"sep": ";", "encoding": "utf-16"}),
        ("Größe;b\n1;2\n".encode("utf-16-le"), {"sep": ";", "encoding": "utf-16-le"}),
        (b"sep=|\na|b;c\n1|2;3\n", {"sep": "|", "encoding": "utf-8-sig"}),
        (b"a,b\n1;x;y;z,2\n3,4\n", {"sep": ",", "encoding": "utf-8-sig"}),
        (b"a,b", {"sep": ",", "encoding": "utf-8-sig"}),
        (b"a\n1\n", {"sep": ";", "encoding": "utf-8-sig"}),
        (b"a  b\n1    2\n10   20\n", {"sep": r"\s+", "encoding": "utf-8-sig"}),
        (b"a b\n1\n2\n", {"sep": ";", "encoding": "utf-8-sig"}),
        (b"first name,b\nan other,1\nthe third,2\n", {"sep": ",", "encoding": "utf-8-sig"}),
        (b'a,b\n"' + b"x" * 200_000 + b'",2\n', {"sep": ",", "encoding": "utf-8-sig"}),
    ],
)
def test_encoding_and_delimiter_are_found_out(tmp_path, content, found):
    (tmp_path / "table.csv").write_bytes(content)
    assert detect_csv_format(tmp_path / "table.csv")[0] == found


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
    assert find_missing_words(pd.DataFrame({"x": values}), [])[0] == ({"x": words} if words else {})


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04\x00\x00")
    with pytest.raises(InputError, match="is no text file"):
        detect_csv_format(tmp_path / "table.xlsx")


TEXTS = {
    "cp1252": "Ort;Größe\nKöln;Straße\nMünchen;Übergröße\nSaint-Étienne;où\n",
    "cp1250": "miasto;opis\nŁódź;żółw\nGdańsk;łąka\nKraków;święto i cześć\nPoznań;źdźbło\n",
    "cp1251": "город;улица\nМосква;Тверская улица\nКазань;площадь Свободы\nОмск;проспект Маркса\n",
    "gb18030": "城市,街道,天气\n北京,长安街,晴天\n上海,南京路,下雨\n广州,中山路,多云\n深圳,深南大道,晴天\n",
    "big5": "城市,街道,天氣\n臺北,忠孝東路,晴天\n高雄,中正路,下雨\n臺中,公益路,多雲\n臺南,民生路,晴天\n",
    "shift_jis": "都市,天気\n東京,晴れのち曇り\n大阪,雨が降っています\n京都,とても暑いです\n",
    "euc_kr": "도시,날씨\n서울,맑고 따뜻합니다\n부산,비가 옵니다\n대구,매우 덥습니다\n",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_table_in_any_script_is_read_and_the_guess_is_told(tmp_path, encoding):
    path = tmp_path / "table.csv"
    path.write_bytes((TEXTS[encoding] * 5).encode(encoding))
    options, (told,) = detect_csv_format(path)
    assert path.read_bytes().decode(options["encoding"]) == TEXTS[encoding] * 5
    assert told.startswith(f"read as {options['encoding']}, e.g. ")
    assert detect_csv_format(path, encoding) == ({**options, "encoding": encoding}, [])


def test_an_encoding_or_separator_that_a_person_names_is_taken_or_refused_in_a_sentence(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("a;b,c\nö;1,2\n".encode("cp1252"))
    assert detect_csv_format(path, separator=",")[0]["sep"] == ","
    for wrong in ("utf-8", "klingon"):
        with pytest.raises(InputError, match=f"is not written in {wrong}; expected the name of its encoding"):
            detect_csv_format(path, wrong)


@pytest.mark.parametrize(
    ("content", "is_refused"),
    [
        ("1,14.23,1.71\n1,13.2,1.78\n2,13.16,2.36\n", True),  # UCI wine
        ("39, State-gov, 13\n50, State-gov, 13\n39, Private, 9\n", True),
        ("6,148,72,1\n1,85,66,0\n6,183,72,1\n", True),
        ("1 1 -0.0007 -0.0004 100.0  \n1 2 0.0019 -0.0003 100.0  \n2 1 0.0 0.2 100.0  \n", True),  # NASA C-MAPSS
        ('18.0   8   307.0 "chevrolet"\n15.0   8   350.0 "buick"\n9.5 4 1 "chevrolet"\n', True),
        ("0.31,0.5\n0.7,0.12\n", True),
        ("country,2019,2020\nDE,1,2\nFR,2020,4\n", False),
        ("2018,2019,2020\n2018,1,2\n5,2020,4\n", False),  # years
        ("0,1,2\n1,1,2\n0,2,4\n", False),  # positions
        ("name,name2\nname,b\n", False),
        ("a\na\nb\n", False),
    ],
)
def test_a_file_without_a_header_is_noticed(tmp_path, content, is_refused):
    path = tmp_path / "table.csv"
    path.write_text(content)
    options, _ = detect_csv_format(path)
    rows = read_source(Ingest(source=str(path), csv=options))
    if not is_refused:
        return require_header(path, options, rows)
    with pytest.raises(InputError, match=r"has no header: its first row is data .* by --names a,b,c, or add --no-head"):
        require_header(path, options, rows)
    width = len(rows.columns)
    for names in ([f"n{i}" for i in range(width)], []):
        named = read_source(Ingest(source=str(path), csv=options | name_columns(path, options, names)))
        assert list(named) == (names or [f"column_{i + 1}" for i in range(width)])
        assert len(named) == len(rows) + 1
    with pytest.raises(InputError, match=f"has {width} columns, --names has 1: a"):
        name_columns(path, options, ["a"])


def test_a_word_such_as_na_is_missing_among_numbers_and_dates_and_a_value_among_texts():
    rows = pd.DataFrame(
        {
            "country": ["DE", "NA", "FR", "NA"] * 5,
            "price": ["1", "2", "3", "4"] * 4 + ["5", "NA", "n/a", "6"],
            "at": ["2024-01-02", "2024-01-03", "-", "2024-01-04"] * 5,
        }
    )
    found, told = find_missing_words(rows, [])
    assert found == {"price": ["NA", "n/a"], "at": ["-"]}
    assert told[0] == "country: 'NA' in 10 rows stays a value; if it is a missing one, add --missing NA"
    assert told[1] == "price: 'NA', 'n/a' in 2 rows is missing"
    assert find_missing_words(rows, ["NA"])[0]["country"] == ["NA"]


def test_numbers_that_stand_for_a_missing_value_are_named_and_turned_only_if_a_person_says_so():
    random = np.random.default_rng(0)
    air = pd.Series(random.normal(2, 1, 400).round(2).astype(str)).where(np.arange(400) % 20 > 0, "-200")
    rows = pd.DataFrame({"co": air, "t": random.normal(20, 5, 400).astype(str)})
    (told,) = find_sentinels(rows)
    assert re.fullmatch(r"co: -200 in 20 rows is far outside -?[\d.]+ to [\d.]+; if it .*, add --missing=-200", told)
    assert find_missing_words(rows, [])[0] == {}
    assert find_missing_words(rows, ["-200"])[0] == {"co": ["-200"]}
