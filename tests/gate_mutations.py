"""Give mutants and honest retrainings to the gate of the repository this runs in; prints what it says of each.

Run by tests/test_gate.py with the environment of a generated repository.
"""

import json
import sys

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier

sys.path.insert(0, "src")
from modelcycle.core.contract import Column, extract_target, read_contract
from modelcycle.core.model_file import predict
from modelcycle.core.params import read_params
from modelcycle.core.team import make_features
from modelcycle.pipeline import evaluate
from modelcycle.pipeline import train as train_module
from modelcycle.release import gate

CONTRACT, PARAMS = read_contract(), read_params()
TRAIN, TEST = pd.read_parquet("data/train.parquet"), pd.read_parquet("data/test.parquet")


class Mutant:
    """A model whose answers are changed: `change` takes the features and the probability of a late arrival."""

    def __init__(self, inner, change):
        self.inner, self.change, self.classes_ = inner, change, inner.classes_

    def predict_proba(self, made):
        late = np.clip(self.change(made, self.inner.predict_proba(made)[:, 1]), 0, 1)
        return np.c_[1 - late, late]


def fit(rows=TRAIN, seed=0, contract=CONTRACT):
    return train_module.fit_model(PARAMS.train.model_copy(update={"seed": seed}), rows, contract)[0]


def answers(model, test=TEST, contract=CONTRACT):
    return predict(model, make_features(test, contract))


def failed_rules(model, train=TRAIN, test=TEST, contract=CONTRACT):
    """List the rules that say no, as `release` would find them."""
    truth, predictions = extract_target(test, contract), answers(model, test, contract)
    tables = evaluate.evaluate_predictions(
        test, predictions, extract_target(train, contract), contract, PARAMS.evaluate
    )
    verdicts = [
        *gate.judge_metrics(PARAMS.gate, True, *tables.values()),
        gate.judge_overlap(train, test, contract),
        *gate.judge_behaviour(PARAMS.gate.behaviour, model, test.head(1000), contract),
        gate.judge_training_rows(len(train), len(TRAIN), PARAMS.gate.fewest_rows),
    ]
    if test is TEST:
        theirs = answers(CHAMPION)
        verdicts.append(
            gate.judge_duel(PARAMS.gate.duel, "1", truth, predictions, theirs, PARAMS.evaluate.bootstrap, True)[0]
        )
    return [verdict.rule for verdict in verdicts if not verdict.passed]


def shuffled_labels():
    late = TRAIN[CONTRACT.target].sample(frac=1, random_state=1).to_numpy()
    return failed_rules(fit(TRAIN.assign(**{CONTRACT.target: late})))


def constant():
    made = make_features(TRAIN, CONTRACT)
    return failed_rules(DummyClassifier(strategy="prior").fit(made, extract_target(TRAIN, CONTRACT)))


def leaked_target():
    known = Column(role="feature", type="boolean")
    contract = CONTRACT.model_copy(update={"columns": {**CONTRACT.columns, "delayed": known}})
    train, test = (rows.assign(delayed=rows[CONTRACT.target]) for rows in (TRAIN, TEST))
    return failed_rules(fit(train, contract=contract), train, test, contract)


def train_rows_in_test():
    return failed_rules(CHAMPION, TRAIN, pd.concat([TEST, TRAIN.head(300)], ignore_index=True))


def a_tenth_of_the_data():
    train = TRAIN.sample(frac=0.1, random_state=0)
    return failed_rules(fit(train), train)


def one_weak_feature():
    rows = TRAIN.copy()
    for name in CONTRACT.names("time", "feature"):
        if name != "distance":
            rows[name] = rows[name].iloc[0]
    return failed_rules(fit(rows))


def mutant(change):
    return lambda: failed_rules(Mutant(CHAMPION, change))


def refuses_missing(made, late):
    if made["humidity"].isna().all():
        raise ValueError("Input contains NaN")
    return late


def without_time(made, late):
    still = made.assign(**{name: made[name].median() for name in made if name.startswith("scheduled_departure:")})
    return CHAMPION.predict_proba(still)[:, 1]


def noise(made, late):
    return late + np.random.default_rng(0).normal(0, 0.07, len(late))


# What is done to the model or its data -> the rule that is there to notice it.
MUTATIONS = {
    "shuffled labels": (shuffled_labels, "better than guessing"),
    "constant prediction": (constant, "better than guessing"),
    "inverted class": (mutant(lambda made, late: 1 - late), "better than guessing"),
    "one weak feature": (one_weak_feature, "minimum"),
    "leaked target": (leaked_target, "not too good to be true"),
    "train rows in the test set": (train_rows_in_test, "no test row in training"),
    "one slice broken": (
        mutant(lambda made, late: np.where(made["origin"] == "JFK", 1 - late, late)),
        "slice origin = JFK",
    ),
    "a tenth of the data": (a_tenth_of_the_data, "training rows"),
    "miscalibrated": (mutant(lambda made, late: late**2), "calibration"),
    "overconfident": (mutant(lambda made, late: late**4 / (late**4 + (1 - late) ** 4)), "calibration"),
    "ignores the hour": (mutant(without_time), "behaviour: scheduled_departure shuffled"),
    "reacts to a tenth of a degree": (
        mutant(lambda made, late: late + 0.1 * np.sign(np.sin(made["temperature"].fillna(0) * 10 * np.pi + 0.1))),
        "behaviour: temperature +0.1",
    ),
    "rain helps": (
        mutant(lambda made, late: late - 0.05 * made["precipitation"].fillna(0)),
        "behaviour: precipitation +5",
    ),
    "fails on missing values": (mutant(refuses_missing), "missing values"),
    "slightly worse than the champion": (mutant(noise), "duel with the champion"),
}

CHAMPION = fit()
result = {
    "mutants": {name: (rule, mutate()) for name, (mutate, rule) in MUTATIONS.items()},
    "honest": {seed: failed_rules(fit(seed=seed)) for seed in range(1, 21)},
}
print(json.dumps(result))
