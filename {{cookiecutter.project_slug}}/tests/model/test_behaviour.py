"""How the model reacts when columns change. The rules are those of params.yaml, gate.behaviour, which release asks."""

import pandas as pd
from modelcycle.core.model_file import predict
from modelcycle.core.team import make_features
from modelcycle.release.gate import judge_behaviour
from modelcycle.versions.params import read_params


def test_missing_values_and_new_categories_are_answered(real, model):
    rows = real.test.head(20).copy()
    for name in real.contract.names("feature"):
        column = real.contract.columns[name]
        if column.nullable:
            rows[name] = pd.Series([None] * len(rows), index=rows.index, dtype=rows[name].dtype)
        elif column.type == "category":
            rows[name] = "never seen before"
    figures = predict(model, make_features(rows, real.contract)).iloc[:, -1]
    assert figures.notna().all()


def test_every_rule_can_be_asked(real, model):
    """A sample's model is too small to be judged by them; that each names an input and a change is seen here."""
    behaviour = read_params().gate.behaviour
    verdicts = list(judge_behaviour(behaviour, model, real.test, real.contract))
    assert len(verdicts) == 2 + len(behaviour)
    assert all(verdict.passed for verdict in verdicts[:2])
