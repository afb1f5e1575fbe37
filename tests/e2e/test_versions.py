"""A version answers and is made again as it was, whatever libraries and database hold today."""

import re
import shutil
import sqlite3

import pandas as pd

BY_LIBRARY = """

from importlib.metadata import version

usual = make_features


def make_features(rows, contract):
    features = usual(rows, contract)
    return features.assign(distance=features["distance"] + 200 * int(version("cowsay").split(".")[0]))
"""


def test_a_champion_is_asked_with_the_libraries_of_its_own_lock(released, tmp_path):
    """What features.py makes depends on a library here, whose version is not the champion's any more."""
    repository = released.copy_to(tmp_path)
    features = repository.path / "src/flight_delays/features.py"
    features.write_text(features.read_text(encoding="utf-8") + BY_LIBRARY, encoding="utf-8")
    for number, version in (("2", "5.0"), ("3", "6.1")):
        repository.run("uv", "add", "--quiet", f"cowsay=={version}")
        repository.run("dvc", "repro", "--force", "train", "evaluate")
        repository.commit(f"cowsay {version}")
        printed = repository.run("modelcycle", "release")
        assert re.search(r"duel with the champion: roc_auc 0\.\d+, version [12] 0\.\d+; at worst", printed)
        assert f"version {number} is the champion" in printed
    shutil.copy(repository.path / "data/test.parquet", tmp_path / "in.parquet")
    for words, version in (([], "6.1"), (["--version", "2"], "5.0")):
        repository.run("modelcycle", "predict", *words, str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))
        found = pd.read_parquet(tmp_path / "out.parquet")["probability_True"]
        commit = repository.run("git", "log", "--format=%h", f"--grep=cowsay {version}").strip()
        output = ["reports/predictions.parquet", "--out", "then.parquet"]
        repository.run("dvc", "get", "--force", "--rev", commit, ".", *output)
        then = pd.read_parquet(repository.path / "then.parquet")["probability_True"]
        assert found.tolist() == then.tolist()
        (tmp_path / "out.parquet").unlink()
    nowhere = {"UV_CACHE_DIR": str(tmp_path / "empty"), "UV_OFFLINE": "1"}
    printed = repository.run("modelcycle", "rollback", fails=True, **nowhere)
    assert re.search(
        r"^error: Version 2 does not answer here .*: uv can't install what uv\.lock names: ", printed, re.M
    )
    assert "version 2 is the champion, 3 was before" in repository.run("modelcycle", "rollback")


def test_what_a_query_gave_is_reproduced_though_the_database_gives_other_rows_today(released, tmp_path):
    repository, database = released.copy_to(tmp_path), {"COMPANY": str(tmp_path / "company.db")}
    with sqlite3.connect(database["COMPANY"]) as company:
        pd.read_csv(repository.path / "example/flights.csv").to_sql("flights", company, index=False)
    (repository.path / "flights.sql").write_text("select * from flights")
    repository.replace("params.yaml", "source: example/flights.csv", "source: flights.sql")
    repository.replace("params.yaml", "database:", "database: sqlite:///$COMPANY #")
    repository.reproduce(**database)
    repository.commit("a query")
    repository.run("modelcycle", "release")
    with sqlite3.connect(database["COMPANY"]) as company:
        company.execute("drop table flights")
    printed = repository.run("modelcycle", "trace", "--reproduce")
    assert "version 2" in printed
    assert "but from those that it gave then" in printed
    assert "broken" not in printed
    printed = repository.run("dvc", "repro", "--force", "ingest", fails=True, **database)
    assert "error: flights.sql can't be read" in printed
    assert "no such table: flights" in printed
