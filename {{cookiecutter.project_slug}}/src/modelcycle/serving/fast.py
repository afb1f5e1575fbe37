"""Rows without pandas: what the model answers for them, for one row a hundred times sooner.

It repeats what make_features and the encoder do, column by column, and hands a few rows to treelite, many to the
estimator. Whether it really answers like the model is tried when the model is loaded: where it does not, because
features.py was changed or the estimator is no ensemble of trees, the model itself answers.
"""

import copy
import itertools
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from modelcycle.core.contract import Column, make_request_table
from modelcycle.tracking.bundle import Bundle

Row = dict[str, Any]
FastPredict = Callable[[list[Row]], np.ndarray]
FEW = 50  # rows; for more, treelite takes longer than the estimator
Read = Callable[[list[Any]], list[Any]]


def fast_predict(bundle: Bundle) -> FastPredict | None:
    """Give a function from rows to (n, c) probabilities or (n, 1) amounts; None where it would not answer the same."""
    with suppress(Exception):  # whatever does not fit: the pipeline is always right
        predict = _compiled(bundle)
        rows = trial_rows(bundle, 400)
        expected = bundle.predict(make_request_table(rows, bundle.contract.inputs, bundle.contract))
        columns = expected.iloc[:, 1:] if len(expected.columns) > 1 else expected
        found = [predict(rows), np.vstack([predict(rows[i : i + FEW]) for i in range(0, len(rows), FEW)])]
        if np.allclose(found, columns.to_numpy(float), rtol=1e-12, atol=1e-12):
            return predict
    return None


def trial_rows(bundle: Bundle, count: int) -> list[Row]:
    """Make up rows from the profile: usual, rare, missing and never seen values of every column."""
    random = np.random.default_rng(0)

    def value(name: str, column: Column) -> Any:
        known = bundle.profile.get(name, {})
        if column.nullable and random.random() < 0.2:
            return None
        match column.type:
            case "datetime":
                return datetime(2000, 1, 1) + timedelta(minutes=int(random.integers(20 * 365 * 24 * 60)))
            case "boolean":
                return bool(random.integers(2))
            case "category":
                return str(random.choice([*(column.values or [*known["shares"], "never seen before"])]))
        low, high = known["edges"][0], known["edges"][-1]
        number = random.choice(known["edges"]) if random.random() < 0.5 else random.uniform(low - 1, high + 1)
        return round(number) if column.type == "integer" else float(number)

    inputs = {name: bundle.contract.columns[name] for name in bundle.contract.inputs}
    return [{name: value(name, column) for name, column in inputs.items()} for _ in range(count)]


def _compiled(bundle: Bundle) -> FastPredict:
    """Put features, codes and trees together."""
    import treelite

    estimator, method = bundle.model[-1], "predict_proba" if bundle.contract.is_classification else "predict"
    trees = treelite.sklearn.import_model(estimator)
    (_, encoder, coded), (_, _, plain) = bundle.model[0].transformers_[:2]
    codes, inputs = _codes(encoder, coded), bundle.contract.inputs
    slots = [(name, _category(known)) for name, known in zip(coded, codes, strict=True)]
    slots += [(name, list) if name in inputs else _part_of_time(name) for name in plain]
    if not {name for name, _ in slots} <= set(inputs):
        raise ValueError("features.py makes other features")
    many = getattr(estimator, method)
    if hasattr(estimator, "_bin_mapper"):
        many = _binned(estimator, method, _every_code(codes, len(slots)))

    def predict(rows: list[Row]) -> np.ndarray:
        matrix = np.empty((len(rows), len(slots)))
        for i, (name, read) in enumerate(slots):
            matrix[:, i] = read([row.get(name) for row in rows])  # None becomes NaN
        if len(rows) > FEW:
            return np.asarray(many(matrix)).reshape(len(rows), -1)
        found = treelite.gtil.predict(trees, matrix, nthread=1).reshape(len(rows), -1)
        return np.hstack([1 - found, found]) if bundle.contract.is_classification and found.shape[1] == 1 else found

    return predict


def _binned(estimator: Any, method: str, every: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Give a method of a histogram model as the model uses it while it learns.

    It then looks up the bin of each value once, not the value in each tree, which takes half the time. Its own encoder
    of categories, a fifth of the rest, is left out where it changes nothing in a matrix with every code.
    """
    learning = copy.copy(estimator)
    learning._in_fit = True
    mapper = copy.copy(estimator._bin_mapper)
    mapper.n_threads = 1  # not as many as it was trained with: they would wait for each other longer than they work
    predict, recode = getattr(learning, method), estimator._preprocess_X
    if np.array_equal(recode(every, reset=False), every, equal_nan=True):
        return lambda matrix: predict(mapper.transform(matrix))
    return lambda matrix: predict(mapper.transform(recode(matrix, reset=False)))


def _every_code(codes: list[dict[Any, float]], width: int) -> np.ndarray:
    """Make a matrix with each code and a missing one in the first columns; in each further one its own number."""
    every = np.empty((max(map(len, codes), default=0) + 1, width))
    every[:] = np.arange(width)
    for i, known in enumerate(codes):
        every[:, i] = np.resize([*known.values(), np.nan], len(every))
    return every


def _codes(encoder: Any, names: list[str]) -> list[dict[Any, float]]:
    """Give the code of each category, a dictionary for each column, as the fitted encoder makes it."""
    if not names:
        return []
    longest = max(map(len, encoder.categories_))
    known = {
        name: list(itertools.islice(itertools.cycle(values), longest))
        for name, values in zip(names, encoder.categories_, strict=True)
    }
    coded = encoder.transform(pd.DataFrame(known))
    return [dict(zip(known[name], coded[:, i], strict=True)) for i, name in enumerate(names)]


def _category(codes: dict[Any, float]) -> Read:
    return lambda values: [codes.get(value) for value in values]


def _part_of_time(feature: str) -> tuple[str, Read]:
    """Give the column and the part of its times that a feature such as `departure:hour` holds."""
    name, _, part = feature.rpartition(":")
    parts: dict[str, Callable[[datetime], float]] = {
        "month": lambda time: time.month,
        "weekday": datetime.weekday,
        "hour": lambda time: time.hour + time.minute / 60,
    }
    read = parts[part]
    return name, lambda times: [None if time is None else read(time) for time in times]
