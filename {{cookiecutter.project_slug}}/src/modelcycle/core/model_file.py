"""Fit a model and predict with it, save it, and load it without running code that its file may contain."""

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from modelcycle.core.errors import InputError

# Types that a model file may hold beside scikit-learn's own. Loading refuses all others, so that no file runs code.
TRUSTED_TYPES = [
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


def fit(model: Pipeline, features: pd.DataFrame, target: np.ndarray, weights: np.ndarray | None = None) -> Pipeline:
    """Fit a model on (n, k) features and the (n,) target; weights: (n,) how much each row counts."""
    options = {} if weights is None else {f"{model.steps[-1][0]}__sample_weight": weights}
    return model.fit(features, target, **options)


def predict(model: Pipeline, features: pd.DataFrame) -> pd.DataFrame:
    """Predict each row: (n, 1) with `prediction`, for classes (n, 1 + c) with a `probability_<class>` for each.

    The prediction is the most probable class.
    """
    if not hasattr(model, "predict_proba"):
        return pd.DataFrame({"prediction": model.predict(features)}, index=features.index)
    probabilities = model.predict_proba(features)
    columns = {"prediction": model.classes_[probabilities.argmax(axis=1)]}
    columns |= {f"probability_{name}": column for name, column in zip(model.classes_, probabilities.T, strict=True)}
    return pd.DataFrame(columns, index=features.index)


def save_model(model: Pipeline, path: Path, trusted_types: Sequence[str] = ()) -> None:
    """Write a model with skops. Raises InputError when it holds a type that loading would refuse.

    trusted_types: the team's own, from [tool.modelcycle] in pyproject.toml.
    """
    import skops.io

    content = skops.io.dumps(model)
    if untrusted := sorted(set(skops.io.get_untrusted_types(data=content)) - {*TRUSTED_TYPES, *trusted_types}):
        raise InputError(
            f"The model holds types that are not trusted: {', '.join(untrusted)}. "
            "If you know where they come from, add them to trusted_types under [tool.modelcycle] in pyproject.toml."
        )
    path.write_bytes(_make_reproducible(content))


def _make_reproducible(content: bytes) -> bytes:
    """Give equal models equal bytes: skops names the parts of its archive by memory address and stamps the time."""
    numbers: dict[str, str] = {}
    part_name = re.compile(r'(?<="__id__": )\d+|(?<="file": ")[^."]+')
    reproducible = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as parts,
        zipfile.ZipFile(reproducible, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        schema = parts.read("schema.json").decode()
        schema = part_name.sub(lambda match: numbers.setdefault(match[0], str(len(numbers))), schema)
        archive.writestr(zipfile.ZipInfo("schema.json"), schema, zipfile.ZIP_DEFLATED)
        for name in sorted(set(parts.namelist()) - {"schema.json"}, key=lambda name: int(numbers[Path(name).stem])):
            new_name = numbers[Path(name).stem] + Path(name).suffix
            archive.writestr(zipfile.ZipInfo(new_name), parts.read(name), zipfile.ZIP_DEFLATED)
    return reproducible.getvalue()


def load_model(path: Path, trusted_types: Sequence[str] = ()) -> Pipeline:
    """Load a model without running any code that the file may contain. Raises InputError when it is not one."""
    import skops.io

    try:
        return skops.io.load(path, trusted=[*TRUSTED_TYPES, *trusted_types])
    except Exception as error:  # skops raises what zipfile, json and numpy raise
        raise InputError(f"{path} is no model that can be loaded: {error}") from None
