"""The model that benchmarks/verdicts.py compares with: the same forty lines for every table, nothing tuned."""

import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

PARTS = ("year", "month", "dayofyear", "weekday", "hour")


def split_dates(rows: pd.DataFrame) -> pd.DataFrame:
    """Replace each date of (n, m) rows by its parts, and give numbers as floats, all else as text."""
    columns = {}
    for name, values in rows.items():
        if pd.api.types.is_datetime64_any_dtype(values):
            columns |= {f"{name}:{part}": getattr(values.dt, part).astype("float64") for part in PARTS}
        else:
            is_number = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)
            columns[name] = values.astype("float64" if is_number else "str")
    return pd.DataFrame(columns)


def make_fixed_model(classification: bool) -> Pipeline:
    """Make gradient boosting with scikit-learn's defaults: missing numbers as they are, categories as codes."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    encode = make_column_transformer((codes, make_column_selector(dtype_exclude="number")), remainder="passthrough")
    estimator = HistGradientBoostingClassifier if classification else HistGradientBoostingRegressor
    return make_pipeline(encode, estimator(random_state=0))


def compute_error(truth: pd.Series, predictions: pd.DataFrame | pd.Series, weights: pd.Series | None = None) -> float:
    """Compute 1 - AUC of (n, c) probabilities, the classes in order, or the MAE of (n,) amounts."""
    if predictions.ndim == 1:
        return float(mean_absolute_error(truth, predictions, sample_weight=weights))
    scores = predictions.iloc[:, 1] if predictions.shape[1] == 2 else predictions
    return 1 - float(roc_auc_score(truth, scores, multi_class="ovr", labels=list(predictions), sample_weight=weights))
