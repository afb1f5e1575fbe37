"""Whatever a team writes into features.py: the service, batch prediction and the pipeline give the same answers."""

import importlib
import json
from itertools import cycle

import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from modelcycle.core.contract import extract_target, read_contract
from modelcycle.core.model_file import predict
from modelcycle.core.team import Project
from modelcycle.serving.predict import predict_file
from modelcycle.versions import code
from modelcycle.versions.bundle import Bundle
from modelcycle.versions.reference import make_profile
from modelcycle.versions.run_version import RunningVersion

RULE = """
usual = make_features


def make_features(rows, contract):
    features, time = usual(rows, contract), rows["scheduled_departure"]
    return features.assign(own=({rule}).astype("float64"))
"""
# What each adds to features.py: imports, and a rule about cases of which there are few; and files beside it.
OWN = {
    "a carrier at night": ("", '(rows["carrier"] == "B6") & (time.dt.hour < 6)', {}),
    "what is missing": ("", 'rows["wind_gust"].isna() & (rows["wind_speed"] > 20) & rows["temperature"].notna()', {}),
    "the letters of a name": ("", 'rows["dest"].str.startswith("S") & rows["carrier"].isin(["WN", "VX"])', {}),
    "the calendar": (
        "",
        '(time.dt.is_month_end & (rows["distance"] > 2000)) * (time - pd.Timestamp("2013-07-04")).dt.days',
        {},
    ),
    "whole numbers": (
        "",
        '(rows["wind_direction"] // 45 * 8 + rows["humidity"] % 7).where(rows["visibility"] < 1)',
        {},
    ),
    "row by row": (
        "",
        'rows.apply(lambda row: 1 if row["origin"] == "JFK" and row["pressure"] < 1000 else 0, axis=1)',
        {},
    ),
    "a helper module": (
        "from .winds import is_storm",
        "is_storm(rows)",
        {"winds.py": 'def is_storm(rows):\n    return (rows["wind_speed"] > 30) & (rows["precipitation"] > 0)\n'},
    ),
    "a table to look up": (
        "from pathlib import Path\nFAR = pd.read_csv(Path(__file__).parent / 'far.csv')\n",
        'rows[["dest", "origin"]].merge(FAR, how="left").set_axis(rows.index)["far"]',
        {"far.csv": "dest,origin,far\nSFO,JFK,3\nLAX,EWR,2\nMIA,LGA,0.1\n"},
    ),
}


@pytest.fixture(scope="module")
def tables(first_release):
    """The flights' training and test rows."""
    return [pd.read_parquet(first_release.path / f"data/{name}.parquet") for name in ("train", "test")]


@pytest.mark.slow
@pytest.mark.parametrize(("own", "kind"), [*((name, "trees") for name in OWN), ("a table to look up", "a sum")])
def test_every_test_row_has_one_answer(tables, serve_here, tmp_path, monkeypatch, own, kind):
    (more_imports, rule, files), (train, test), contract = OWN[own], tables, read_contract()
    package = f"{own}_{kind}".replace(" ", "_")
    text = code.RUNNING_CODE["flight_delays/features.py"].decode() + RULE.format(rule=rule)
    made = {f"{package}/{name}": content.encode() for name, content in files.items()}
    made |= {f"{package}/__init__.py": b"", f"{package}/model.py": code.RUNNING_CODE["flight_delays/model.py"]}
    made[f"{package}/features.py"] = text.replace(
        "import pandas as pd\n", f"import pandas as pd\n{more_imports}\n", 1
    ).encode()
    code.write_code(made, tmp_path / "src")
    monkeypatch.syspath_prepend(tmp_path / "src")
    make_features = importlib.import_module(f"{package}.features").make_features

    features = make_features(train, contract)
    rare = make_features(test, contract)["own"].fillna(0) != 0
    assert 0 < rare.sum() < len(test) / 4
    estimator = HistGradientBoostingClassifier(max_iter=20, random_state=0) if kind == "trees" else LogisticRegression()
    model = importlib.import_module(f"{package}.model").make_model(estimator, features)
    model.fit(features, extract_target(train, contract))
    bundle = Bundle(
        "1",
        {"git_commit": "0" * 40, "md5.model": "0" * 32},
        contract,
        RunningVersion(contract, model, make_features),
        Project(package=package),
        make_profile(train, contract),
        {},
    )

    expected = predict(model, make_features(test, contract))["probability_True"].tolist()
    asked = test.drop(columns=["late"])
    asked.to_csv(tmp_path / "asked.csv", index=False)
    predict_file(tmp_path / "asked.csv", tmp_path / "batch.parquet", "asked.csv", "", bundle, {}, 1000)
    batch = pd.read_parquet(tmp_path / "batch.parquet")["probability_True"].tolist()

    rows, served = json.loads(asked.to_json(orient="records", date_format="iso")), []
    sizes = cycle([1, 7, 60, 900])
    with serve_here(lambda: bundle, tmp_path) as service:
        while len(served) < len(rows):
            part = rows[len(served) : len(served) + next(sizes)]
            status, answers = service.ask("/predict", part)
            assert status == 200, answers
            served += [answer["probabilities"]["True"] for answer in answers]
    if kind == "trees":
        assert batch == served == expected  # bit for bit
    else:
        assert served == pytest.approx(expected, rel=1e-9)
        assert batch == pytest.approx(expected, rel=1e-9)
