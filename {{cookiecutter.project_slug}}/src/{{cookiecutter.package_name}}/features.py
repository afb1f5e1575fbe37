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
            case "datetime":
                for part in contract.columns[name].parts or []:
                    features[f"{name}:{part}"] = extract_part(part, rows, name, contract)
            case _:
                features[name] = rows[name].astype("str")
    return pd.DataFrame(features, index=rows.index)


def extract_part(part: str, rows: pd.DataFrame, name: str, contract: Contract) -> pd.Series:
    """Extract a part of the times in a column of (n, m) rows, (n,) floats; the age is in days, up to the row's time."""
    times = rows[name]
    if part == "age":
        values = (rows[contract.time] - times).dt.total_seconds() / 86_400
    elif part == "hour":
        values = times.dt.hour + times.dt.minute / 60
    else:
        values = getattr(times.dt, part)
    return pd.Series(values, dtype="float64")
