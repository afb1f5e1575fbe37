"""The model: how features are encoded, which estimator learns from them, how it is stored. Yours to edit."""

import importlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils import get_tags

from .files import InputError

# Types that a model file may hold beside scikit-learn's own. Loading refuses all others, so that no file runs code.
TRUSTED = [
    "functools.partial",
    "numpy.dtype",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
]


def make_estimator(name: str, parameters: dict[str, Any], seed: int, classification: bool) -> Any:
    """Create the scikit-learn compatible estimator that params.yaml names.

    name: a class with its module; the ending Classifier or Regressor may be left to the target's type.
    Raises InputError for a class or parameter that does not exist, or that does not fit the target.
    """
    module, _, class_name = name.rpartition(".")
    wanted = "Classifier" if classification else "Regressor"
    try:
        found = importlib.import_module(module or "builtins")
        estimator = (getattr(found, class_name, None) or getattr(found, class_name + wanted))()
        estimator.get_params()
    except (ImportError, AttributeError, TypeError):
        raise InputError(
            f"params.yaml: train.estimator is {name}; expected a scikit-learn compatible class with its module, "
            "such as sklearn.linear_model.LogisticRegression."
        ) from None
    if not (is_classifier(estimator) if classification else is_regressor(estimator)):
        kind = "classes" if classification else "amounts"
        raise InputError(f"params.yaml: train.estimator is {name}, but the target of contract.yaml holds {kind}.")
    known = estimator.get_params()
    for parameter in parameters:
        if parameter not in known:
            raise InputError(
                f"params.yaml: train.parameters.{parameter} is no parameter of {type(estimator).__name__}; "
                f"expected one of {', '.join(known)}."
            )
    estimator.set_params(**({"random_state": seed} if "random_state" in known else {}) | parameters)
    if classification and not hasattr(estimator, "predict_proba"):
        raise InputError(
            f"params.yaml: train.estimator is {name}, which gives no probabilities; expected one that does."
        )
    return estimator


def make_model(estimator: Any, features: pd.DataFrame) -> Pipeline:
    """Put the encoding that an estimator needs in front of it.

    An estimator that takes missing values gets numbers as they are and categories as codes. Any other gets missing
    numbers replaced, numbers scaled and one column for each frequent category.
    """
    numbers = list(features.select_dtypes("number").dropna(axis="columns", how="all"))
    categories = list(features.select_dtypes(exclude="number"))
    if get_tags(estimator).input_tags.allow_nan:
        codes = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan, max_categories=250
        )
        encode = make_column_transformer((codes, categories), ("passthrough", numbers))
        if "categorical_features" in estimator.get_params():
            estimator.set_params(categorical_features=list(range(len(categories))))
    else:
        scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        columns = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10, sparse_output=False)
        encode = make_column_transformer((scaled, numbers), (columns, categories))
    return Pipeline([("encode", encode), ("estimator", estimator)])


def predict(model: Pipeline, features: pd.DataFrame) -> pd.DataFrame:
    """Predict each row: (n, 1) with `prediction`, for classes (n, 1 + c) with a `probability_<class>` for each.

    The prediction is the most probable class.
    """
    if not hasattr(model, "predict_proba"):
        return pd.DataFrame({"prediction": model.predict(features)}, index=features.index)
    probabilities = model.predict_proba(features)
    names = [f"probability_{name}" for name in model.classes_]
    predictions = pd.DataFrame(probabilities, columns=names, index=features.index)
    predictions.insert(0, "prediction", model.classes_[probabilities.argmax(axis=1)])
    return predictions


def save_model(model: Pipeline, path: Path) -> None:
    """Write a model with skops. Raises InputError when it holds a type that loading would refuse."""
    import skops.io

    content = skops.io.dumps(model)
    if unknown := sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED)):
        raise InputError(
            f"The model holds types that are not trusted: {', '.join(unknown)}. "
            "If you know where they come from, add them to TRUSTED in model.py."
        )
    path.write_bytes(_same_bytes(content))


def _same_bytes(content: bytes) -> bytes:
    """Make equal models equal files: skops names the parts of its archive by memory address and stamps the time."""
    numbers: dict[str, str] = {}
    name_of_part = re.compile(r'(?<="__id__": )\d+|(?<="file": ")[^."]+')
    stable = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as parts, zipfile.ZipFile(stable, "w", zipfile.ZIP_DEFLATED) as target:
        schema = parts.read("schema.json").decode()
        schema = name_of_part.sub(lambda found: numbers.setdefault(found[0], str(len(numbers))), schema)
        target.writestr(zipfile.ZipInfo("schema.json"), schema, zipfile.ZIP_DEFLATED)
        for name in sorted(set(parts.namelist()) - {"schema.json"}, key=lambda name: int(numbers[Path(name).stem])):
            new_name = numbers[Path(name).stem] + Path(name).suffix
            target.writestr(zipfile.ZipInfo(new_name), parts.read(name), zipfile.ZIP_DEFLATED)
    return stable.getvalue()


def load_model(path: Path) -> Pipeline:
    """Read a model without running any code that the file may carry. Raises InputError when it is not one."""
    import skops.io

    try:
        return skops.io.load(path, trusted=TRUSTED)
    except Exception as error:  # skops raises what zipfile, json and numpy raise
        raise InputError(f"{path} is no model that can be loaded: {error}") from None
