"""Find the estimator that params.yaml names."""

import importlib
from typing import Any

from sklearn.base import is_classifier, is_regressor

from modelcycle.core.errors import InputError


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
