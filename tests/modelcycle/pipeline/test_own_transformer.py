"""The transformer that model.py has as an example: fitted, stored and asked as part of a model."""

import importlib

import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from modelcycle.core.errors import InputError
from modelcycle.core.model_file import load_model, save_model

ROWS = pd.DataFrame({"shop": ["Bonn", "Bonn", "Oslo", None], "price": [1.0, 3.0, 10.0, 6.0]})
ASKED = pd.DataFrame({"shop": ["Oslo", "Rome", "Bonn", None], "price": [0.0] * 4})


@pytest.fixture
def example(project):
    return importlib.import_module("flight_delays.model").MeanByGroup


def test_a_group_has_the_mean_of_its_training_rows_and_a_new_one_that_of_all(example):
    assert example().fit(ROWS).transform(ASKED)["shop"].tolist() == [10, 5, 2, 5]


def test_a_row_alone_has_what_it_has_among_others(example):
    fitted = example().fit(ROWS)
    alone = [fitted.transform(ASKED.iloc[[i]])["shop"].iloc[0] for i in range(4)]
    assert alone == fitted.transform(ASKED)["shop"].tolist()


def test_a_model_with_it_is_stored_where_the_project_trusts_it_and_answers_the_same(example, tmp_path):
    model = make_pipeline(
        make_column_transformer((example(), ["shop", "price"]), ("passthrough", ["price"])), LogisticRegression()
    )
    model.fit(ROWS, [0, 1, 1, 0])
    with pytest.raises(InputError, match=r"types that are not trusted: flight_delays\.model\.MeanByGroup"):
        save_model(model, tmp_path / "model.skops")
    trusted = ["flight_delays.model.MeanByGroup"]
    save_model(model, tmp_path / "model.skops", trusted)
    loaded = load_model(tmp_path / "model.skops", trusted)
    assert loaded.predict_proba(ASKED).tolist() == model.predict_proba(ASKED).tolist()
