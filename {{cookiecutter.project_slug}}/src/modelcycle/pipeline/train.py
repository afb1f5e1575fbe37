"""Train the model that params.yaml names, and record how it was made."""

import importlib
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import ParameterSampler, cross_val_score
from sklearn.pipeline import Pipeline

from modelcycle.core.contract import Contract, extract_target, extract_weights, read_contract, read_table
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.model_file import fit, save_model
from modelcycle.core.output import report_line, track_progress, write_atomically
from modelcycle.core.params import Search, Train, read_params
from modelcycle.core.paths import JUDGED, MODEL, TEST, TRAIN
from modelcycle.core.team import make_features, make_model, read_project
from modelcycle.tracking.store import connect, log_training


def search_parameters(
    params: Train, search: Search, features: pd.DataFrame, target: np.ndarray, classification: bool
) -> dict[str, Any]:
    """Try combinations of parameters by cross-validation and return the best: names with values.

    The trials run one after the other, on a cluster in parallel. They are scored by ROC AUC for two classes, log loss
    for more, mean absolute error for amounts.
    """
    scoring = "neg_mean_absolute_error"
    if classification:
        scoring = "roc_auc" if len(np.unique(target)) == 2 else "neg_log_loss"
    trials: list[dict[str, Any]] = list(ParameterSampler(search.parameters, search.trials, random_state=params.seed))
    models = [
        make_model(make_estimator(params.estimator, params.parameters | trial, params.seed, classification), features)
        for trial in trials
    ]
    cv_options: dict[str, Any] = {"cv": search.folds, "scoring": scoring}
    fold_scores = score_models(models, features, target, **cv_options)
    mean_scores = [scores.mean() for scores in track_progress(fold_scores, "search", len(models))]
    best = int(np.nan_to_num(mean_scores, nan=-np.inf).argmax())
    if not np.isfinite(mean_scores[best]):
        raise InputError(
            f"params.yaml: train.search.folds is {search.folds}, more than a class of the target has rows."
        )
    found = f"best {scoring.removeprefix('neg_')} {abs(mean_scores[best]):.4f} of {len(trials)} trials"
    report_line("search", found, trials[best])
    return trials[best]


def score_models(models: list[Pipeline], features: pd.DataFrame, target: np.ndarray, **options: Any) -> Iterator[Any]:
    """Cross-validate one model after the other, or on a cluster in parallel; gives the scores of each one's folds."""
    if find_spec("modelcycle.pipeline.cluster"):  # the scope exploration has none
        from modelcycle.pipeline.cluster import connect_to_cluster, map_on_cluster

        with connect_to_cluster() as cluster:
            if cluster:
                shared = {"X": features, "y": target}
                yield from map_on_cluster(cluster, cross_val_score, models, shared=shared, **options)
                return
    for model in models:
        yield cross_val_score(model, features, target, **options)


def fit_model(params: Train, rows: pd.DataFrame, contract: Contract) -> tuple[Pipeline, dict[str, Any]]:
    """Fit the model that params.yaml describes.

    rows: (n, m) training data in the contract's types.
    Returns the fitted model and its parameters, with those of the search.
    Raises InputError when the estimator refuses a value.
    """
    features = make_features(rows, contract)
    if not isinstance(features, pd.DataFrame):
        raise InputError(f"features.py: make_features gives a {type(features).__name__}; expected a DataFrame.")
    target = extract_target(rows, contract)
    parameters = dict(params.parameters)
    try:
        if params.search:
            parameters |= search_parameters(params, params.search, features, target, contract.is_classification)
        estimator = make_estimator(params.estimator, parameters, params.seed, contract.is_classification)
        model = clone(make_model(estimator, features))
        return fit(model, features, target, extract_weights(rows, contract)), parameters
    except (ValueError, TypeError) as error:
        raise InputError(f"params.yaml: {params.estimator} refuses to train: {first_line(error)}") from None


def refit_model(params: Train, parameters: dict[str, Any], rows: pd.DataFrame, contract: Contract) -> Pipeline:
    """Fit the model with these parameters on (n, m) rows: training and test rows together.

    Raises InputError where the contract has no time: the next model is compared on rows that are newer than all these.
    """
    if contract.time is None:
        raise InputError(
            "params.yaml: train.refit is true, but no column of contract.yaml has the role time: no row would be left "
            "on which this model and the next could be compared. Set it to false."
        )
    settings = params.model_copy(update={"parameters": parameters, "search": None})
    return fit_model(settings, rows, contract)[0]


def train() -> None:
    """Fit the model on data/train.parquet, write models/model.skops and log the run."""
    contract, params = read_contract(), read_params().train
    rows = read_table(TRAIN, "prepare", contract)
    connect()  # fails before the training, not after it, where the store is out of reach
    started = time.perf_counter()
    model, parameters = fit_model(params, rows, contract)
    trusted_types = read_project().trusted_types
    with write_atomically(JUDGED) as draft:
        save_model(model, draft, trusted_types)
    if params.refit:
        rows = pd.concat([rows, read_table(TEST, "prepare", contract)], ignore_index=True)
        model = refit_model(params, parameters, rows, contract)
    with write_atomically(MODEL) as draft:
        save_model(model, draft, trusted_types)
    seconds = time.perf_counter() - started
    name = type(model[-1]).__name__
    logged = {"estimator": name, "seed": params.seed} | parameters
    log_training(logged, {"train_rows": len(rows), "train_seconds": seconds})
    report_line("train", f"{name}, {model.n_features_in_} features, {len(rows):,} rows, {seconds:.1f} s", MODEL)


def make_estimator(name: str, parameters: dict[str, Any], seed: int, classification: bool) -> Any:
    """Create the scikit-learn compatible estimator that params.yaml names.

    name: a class with its module; the ending Classifier or Regressor may be left to the target's type.
    Raises InputError for a class or parameter that does not exist, or that does not fit the target.
    """
    module_name, _, class_name = name.rpartition(".")
    suffix = "Classifier" if classification else "Regressor"
    try:
        module = importlib.import_module(module_name or "builtins")
        estimator = (getattr(module, class_name, None) or getattr(module, class_name + suffix))()
        estimator.get_params()
    except (ImportError, AttributeError, TypeError):
        raise InputError(
            f"params.yaml: train.estimator is {name}; expected a scikit-learn compatible class with its module, "
            "such as sklearn.linear_model.LogisticRegression."
        ) from None
    if not (is_classifier(estimator) if classification else is_regressor(estimator)):
        kind = "classes" if classification else "amounts"
        raise InputError(f"params.yaml: train.estimator is {name}, but the target of contract.yaml holds {kind}.")
    defaults = estimator.get_params()
    for parameter in parameters:
        if parameter not in defaults:
            raise InputError(
                f"params.yaml: train.parameters.{parameter} is no parameter of {type(estimator).__name__}; "
                f"expected one of {', '.join(defaults)}."
            )
    estimator.set_params(**({"random_state": seed} if "random_state" in defaults else {}) | parameters)
    if classification and not hasattr(estimator, "predict_proba"):
        raise InputError(
            f"params.yaml: train.estimator is {name}, which gives no probabilities; expected one that does."
        )
    return estimator
