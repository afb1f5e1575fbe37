"""Bad models of every kind and honest ones for the gate of the default bake."""

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier

from modelcycle.core.contract import Column, extract_target, read_contract
from modelcycle.core.model_file import predict
from modelcycle.core.team import make_features
from modelcycle.pipeline.evaluate import evaluate_predictions
from modelcycle.pipeline.train import fit_model
from modelcycle.release import gate
from modelcycle.release.duel import judge_duel
from modelcycle.release.simpler import judge_baselines
from modelcycle.versions.params import read_params


class Mutant:
    """A model whose answers are changed: `change` takes the features and the probability of a late arrival."""

    def __init__(self, inner, change):
        self.inner, self.change, self.classes_ = inner, change, inner.classes_

    def predict_proba(self, made):
        late = np.clip(self.change(made, self.inner.predict_proba(made)[:, 1]), 0, 1)
        return np.c_[1 - late, late]


class Judge:
    """The gate of a default bake, beside an honest champion, in that bake's folder. seed: of what is planted."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.contract, self.params = read_contract(), read_params()
        self.params.evaluate.bootstrap = 100  # a fifth of the usual ones take a fifth of the time
        self.train, self.test = (pd.read_parquet(f"data/{name}.parquet") for name in ("train", "test"))
        self.champion = self.fit(self.train)
        self.answers = predict(self.champion, make_features(self.test, self.contract))

    def fit(self, train, seed=0, contract=None):
        """Train a model on rows."""
        return fit_model(self.params.train.model_copy(update={"seed": seed}), train, contract or self.contract)[0]

    def failed_rules(self, model, train=None, test=None, contract=None):
        """List the rules that say no, as `release` would find them."""
        train, contract = self.train if train is None else train, contract or self.contract
        rows = self.test if test is None else test
        truth, predictions = extract_target(rows, contract), predict(model, make_features(rows, contract))
        scores = evaluate_predictions(model, train, rows, rows, predictions, contract, self.params)
        *tables, baselines = scores.values()
        verdicts = [
            *judge_baselines(self.params.gate, True, baselines),
            *gate.judge_metrics(self.params.gate, True, *tables),
            gate.judge_overlap(train, rows, contract, self.params.prepare.holdout),
            gate.judge_leaks(self.params.gate, pd.concat([train, rows]), contract),
            *gate.judge_behaviour(self.params.gate.behaviour, model, rows.head(1000), contract),
            gate.judge_training_rows(len(train), len(self.train), self.params.gate.fewest_rows),
        ]
        if test is None:
            duel = self.params.gate.duel, "1", truth, predictions, self.answers, self.params.evaluate.bootstrap
            verdicts.append(judge_duel(*duel)[0])
        return [verdict.rule for verdict in verdicts if not verdict.passed]


def shuffled_labels(judge):
    late = judge.train["late"].sample(frac=1, random_state=1).to_numpy()
    return judge.failed_rules(judge.fit(judge.train.assign(late=late)))


def constant(judge):
    made = make_features(judge.train, judge.contract)
    return judge.failed_rules(DummyClassifier(strategy="prior").fit(made, extract_target(judge.train, judge.contract)))


def leaked_target(judge):
    known = Column(role="feature", type="boolean")
    contract = judge.contract.model_copy(update={"columns": {**judge.contract.columns, "delayed": known}})
    train, test = (rows.assign(delayed=rows["late"]) for rows in (judge.train, judge.test))
    return judge.failed_rules(judge.fit(train, contract=contract), train, test, contract)


def planted(plant):
    """Add features that give the target away: `plant` makes them from the target and a source of chance."""

    def judge_planted(judge):
        tables = [pd.DataFrame(plant(rows["late"].to_numpy(bool), judge.random)) for rows in (judge.train, judge.test)]
        kinds = {name: "boolean" if tables[0][name].dtype == bool else "number" for name in tables[0]}
        known = {name: Column(role="feature", type=kind) for name, kind in kinds.items()}
        contract = judge.contract.model_copy(update={"columns": {**judge.contract.columns, **known}})
        train, test = (
            rows.assign(**table.set_axis(rows.index))
            for rows, table in zip((judge.train, judge.test), tables, strict=True)
        )
        return judge.failed_rules(judge.fit(train, contract=contract), train, test, contract)

    return judge_planted


def two_flags(late, random):
    first = late & (random.random(len(late)) < 0.6)
    return {"crew_late": first, "gate_late": late & (~first | (random.random(len(late)) < 0.3))}


def two_times(late, random):
    planned = random.uniform(0, 1440, len(late)).round()
    return {
        "planned": planned,
        "actual_arrival": planned
        + np.where(late, 16, 15)
        + np.where(late, 1, -1) * random.exponential(20, len(late)).round(),
    }


def noisy_copy(late, random):
    return {"delayed": late ^ (random.random(len(late)) < 0.01)}


def train_rows_in_test(judge):
    return judge.failed_rules(judge.champion, test=pd.concat([judge.test, judge.train.head(300)], ignore_index=True))


def a_tenth_of_the_data(judge):
    train = judge.train.sample(frac=0.1, random_state=0)
    return judge.failed_rules(judge.fit(train), train)


def overfitted(judge):
    """A tree that has grown until it knows its training rows by heart."""
    params = judge.params.train.model_copy(update={"estimator": "sklearn.tree.DecisionTree", "parameters": {}})
    return judge.failed_rules(fit_model(params, judge.train, judge.contract)[0])


def one_weak_feature(judge):
    others = [name for name in judge.contract.inputs if name != "distance"]
    return judge.failed_rules(judge.fit(judge.train.assign(**{name: judge.train[name].iloc[0] for name in others})))


def mutant(change):
    return lambda judge: judge.failed_rules(Mutant(judge.champion, change))


def refuses_missing(made, late):
    if made["humidity"].isna().all():
        raise ValueError("Input contains NaN")
    return late


def ignores_the_hour(judge):
    def without_time(made, _):
        still = made.assign(**{name: made[name].median() for name in made if name.startswith("scheduled_departure:")})
        return judge.champion.predict_proba(still)[:, 1]

    return judge.failed_rules(Mutant(judge.champion, without_time))


# What is done to the model or its data, and the rule that is there to notice it.
MUTATIONS = {
    "shuffled labels": (shuffled_labels, "better than guessing"),
    "constant prediction": (constant, "better than guessing"),
    "inverted class": (mutant(lambda made, late: 1 - late), "better than guessing"),
    "one weak feature": (one_weak_feature, "minimum"),
    "leaked target": (leaked_target, "not too good to be true"),
    "a copy of the target with 1 % errors": (planted(noisy_copy), "no column gives the target away"),
    "either of two flags is the target": (planted(two_flags), "no column gives the target away"),
    "a difference of two columns is the target": (planted(two_times), "no column gives the target away"),
    "train rows in the test set": (train_rows_in_test, "no test row in training"),
    "one slice broken": (
        mutant(lambda made, late: np.where(made["origin"] == "JFK", 1 - late, late)),
        "slice origin = JFK",
    ),
    "overfitted": (overfitted, "not worse than a linear model"),
    "ranks well, absurd probabilities": (
        mutant(lambda made, late: late**4 / (late**4 + 1e-3 * (1 - late) ** 4)),
        "probabilities better than guessing",
    ),
    "a tenth of the data": (a_tenth_of_the_data, "training rows"),
    "miscalibrated": (mutant(lambda made, late: late**2), "calibration"),
    "overconfident": (mutant(lambda made, late: late**4 / (late**4 + (1 - late) ** 4)), "calibration"),
    "ignores the hour": (ignores_the_hour, "behaviour: scheduled_departure shuffled"),
    "reacts to a tenth of a degree": (
        mutant(lambda made, late: late + 0.1 * np.sign(np.sin(made["temperature"].fillna(0) * 10 * np.pi + 0.1))),
        "behaviour: temperature +0.1",
    ),
    "rain helps": (
        mutant(lambda made, late: late - 0.05 * made["precipitation"].fillna(0)),
        "behaviour: precipitation +5",
    ),
    "fails on missing values": (mutant(refuses_missing), "missing values"),
    "slightly worse than the champion": (
        mutant(lambda made, late: late + np.random.default_rng(0).normal(0, 0.07, len(late))),
        "duel with the champion",
    ),
}
