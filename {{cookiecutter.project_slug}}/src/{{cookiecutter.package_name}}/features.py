"""Make what the model sees from the contract's columns. Yours to edit: training, tests and service all call it."""

import pandas as pd
from modelcycle.core.contract import Contract


def make_features(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Turn rows into features.

    rows: (n, m) with the contract's inputs, which are its columns with the roles time and feature, in its types.
    Returns (n, k): numbers as floats with NaN for missing, categories as text.
    """
    features: dict[str, pd.Series] = {}
    for name in contract.inputs:
        match contract.columns[name].type:
            case "number" | "integer" | "boolean":
                features[name] = rows[name].astype("float64")
            case "datetime":  # not the month: with less than a few years, what happened once would pass for a season
                features[f"{name}:weekday"] = rows[name].dt.weekday.astype("float64")
                features[f"{name}:hour"] = rows[name].dt.hour + rows[name].dt.minute / 60
            case _:
                features[name] = rows[name].astype("str")
    return pd.DataFrame(features, index=rows.index)
