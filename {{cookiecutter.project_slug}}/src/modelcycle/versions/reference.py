"""What operation is compared with: the training data, column by column, and what the model did on the test data."""

import json
from typing import Any

import numpy as np
import pandas as pd

from modelcycle.core.contract import Contract
from modelcycle.core.output import write_text
from modelcycle.core.paths import EXPECTED, PROFILE

QUANTILES = np.r_[0:1:101j, 0.001, 0.002, 0.005, 0.995, 0.998, 0.999]  # closer at the ends, where values are far apart


def describe_column(values: pd.Series, kind: str) -> dict[str, Any]:
    """Describe (n,) values of one of the contract's types.

    Numbers by mean, standard deviation, median and quantiles: `edges` are values that occur, from the minimum to the
    maximum, `shares` the shares of values above the previous edge and up to each one. Categories and booleans by the
    share of each value, datetimes by their median.
    """
    present = values.dropna()
    description: dict[str, Any] = {"rows": len(values), "missing_share": round(float(values.isna().mean()), 6)}
    if kind in ("number", "integer") and len(present):
        numbers = present.to_numpy(float)
        edges = np.unique(np.quantile(numbers, QUANTILES, method="inverted_cdf"))
        description |= {"mean": float(numbers.mean()), "std": float(numbers.std()), "median": float(np.median(numbers))}
        description["edges"] = edges.tolist()
        description["shares"] = (np.bincount(np.searchsorted(edges, numbers)) / len(numbers)).tolist()
    elif kind == "datetime" and len(present):  # the median day at the median time of day
        days = present.dt.normalize()
        median = days.quantile(0.5, "lower") + (present - days).quantile(0.5, "lower")
        description["median"] = median.isoformat(timespec="minutes")
    elif kind in ("boolean", "category"):
        shares = present.astype("str").value_counts(normalize=True).sort_index()
        description["shares"] = {str(value): float(share) for value, share in shares.items()}
    return description


def make_profile(rows: pd.DataFrame, contract: Contract) -> dict[str, Any]:
    """Describe (n, k) training rows column by column: the inputs and the target."""
    names = [*contract.inputs, contract.target]
    return {name: describe_column(rows[name], contract.columns[name].type) for name in names}


def write_profile(rows: pd.DataFrame, contract: Contract) -> None:
    """Write data/profile.json of (n, k) training rows."""
    write_text(PROFILE, json.dumps(make_profile(rows, contract), indent=1, ensure_ascii=False) + "\n")


def make_monitoring_reference(predictions: pd.DataFrame, metrics: pd.DataFrame) -> dict[str, Any]:
    """Describe what operation is to be compared with: the distribution of the predictions, and the metrics.

    predictions: (n, 1 + c). metrics: value, low and high for each metric.
    Of two classes the probability of the second is described, which `of` names.
    """
    column = str(predictions.columns[2]) if len(predictions.columns) == 3 else "prediction"
    kind = "category" if len(predictions.columns) > 3 else "number"
    return {
        "prediction": {"of": column, **describe_column(predictions[column], kind)},
        "figures": metrics[["value", "low", "high"]].dropna().to_dict("index"),
    }


def write_expected(predictions: pd.DataFrame, metrics: pd.DataFrame) -> None:
    """Write reports/expected.json; see `make_monitoring_reference`."""
    write_text(EXPECTED, json.dumps(make_monitoring_reference(predictions, metrics), indent=1) + "\n")
