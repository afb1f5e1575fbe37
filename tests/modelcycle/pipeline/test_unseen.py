"""What a model is judged on where few rows are held out."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from modelcycle.core.contract import Contract
from modelcycle.core.holdout import split_rows
from modelcycle.core.params import Holdout, read_params
from modelcycle.pipeline.train import fit_model
from modelcycle.pipeline.unseen import predict_unseen

CONTRACT = Contract.model_validate(
    {
        "description": "Sensors",
        "columns": {
            "id": {"role": "key", "type": "integer"},
            "machine": {"role": "group", "type": "text"},
            "at": {"role": "time", "type": "datetime"},
            "heat": {"role": "feature", "type": "number"},
            "fails": {"role": "target", "type": "boolean"},
        },
    }
)


def make_table(n_rows: int, n_machines: int, signal: float = 1.0) -> pd.DataFrame:
    random = np.random.default_rng(0)
    heat = random.normal(size=n_rows)
    return pd.DataFrame(
        {
            "id": range(n_rows),
            "machine": [f"M{i % n_machines}" for i in range(n_rows)],
            "at": pd.date_range("2024-01-01", periods=n_rows, freq="h"),
            "heat": heat,
            "fails": pd.array(signal * heat + random.normal(size=n_rows) > 0, dtype="boolean"),
        }
    )


def judge(table: pd.DataFrame, holdout: Holdout) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    params = read_params()
    params.prepare.holdout = holdout
    params.train.estimator, params.train.parameters = "sklearn.linear_model.LogisticRegression", {}
    train, test = split_rows(table, holdout, 0.2, CONTRACT)
    model, _ = fit_model(params.train, train, CONTRACT)
    return test, *predict_unseen(model, train, test, CONTRACT, params)


@pytest.mark.parametrize(
    ("n_rows", "n_machines", "holdout", "judged_rows"),
    [
        (2000, 50, Holdout(), "test"),
        (600, 50, Holdout(), 600),
        (2000, 50, Holdout(by="group"), 2000),
        (2000, 400, Holdout(by="group"), "test"),
        (600, 50, Holdout(by="time", last="5d"), 500),
        (8, 4, Holdout(), "test"),  # nothing to split
    ],
)
def test_few_rows_or_groups_are_judged_by_cross_validation_of_all(n_rows, n_machines, holdout, judged_rows):
    test, judged, predictions = judge(make_table(n_rows, n_machines), holdout)
    assert predictions.index.equals(judged.index)
    assert list(predictions) == ["prediction", "probability_False", "probability_True"]
    if judged_rows == "test":
        assert judged is test
    else:
        assert len(judged) == judged_rows
        assert judged["id"].is_unique
        auc = roc_auc_score(judged["fails"].astype(bool), predictions["probability_True"])
        assert 0.7 < auc < 0.9


def test_without_a_signal_cross_validation_finds_none():
    _, judged, predictions = judge(make_table(600, 50, signal=0.0), Holdout())
    assert abs(roc_auc_score(judged["fails"].astype(bool), predictions["probability_True"]) - 0.5) < 0.07
