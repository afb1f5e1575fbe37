"""Log the champion's answers to rows of example/flights.csv, as if each had been asked before its take-off.

Run by tests in a generated repository: fill_log.py SINCE UNTIL SHARE, of which the outcome is known.
"""

import sys

import numpy as np
import pandas as pd
from sqlalchemy import insert

from modelcycle.core.contract import find_violations
from modelcycle.tracking import store
from modelcycle.versions import prediction_log
from modelcycle.versions.bundle import load_champion

since, until, share = sys.argv[1], sys.argv[2], float(sys.argv[3])
served = load_champion(store.connect())
rows, _ = find_violations(pd.read_csv("example/flights.csv"), served.contract)
rows = rows[(rows["scheduled_departure"] >= since) & (rows["scheduled_departure"] < until)]
inputs = rows[served.contract.inputs].astype(object).where(rows[served.contract.inputs].notna(), None)
random = np.random.default_rng(0)
answers, outcomes = [], []
for row, given, late in zip(
    inputs.to_dict("records"), served.predict(rows).to_dict("records"), rows["late"], strict=True
):
    answer = {
        "prediction": bool(given["prediction"]),
        "probabilities": {name: given[f"probability_{name}"] for name in ("False", "True")},
        "milliseconds": round(random.gamma(4, 2), 2),
    }
    at = row["scheduled_departure"].to_pydatetime()
    row["scheduled_departure"] = str(at)
    given_id = f"{int(at.timestamp() * 1000):012x}{random.bytes(10).hex()}"
    facts = {"id": given_id, "at": at, "version": served.version, "caller": "test", "unusual": []}
    answers.append(facts | {"inputs": row, "answer": answer})
    if random.random() < share and not pd.isna(late):
        outcomes.append({"prediction_id": facts["id"], "at": at, "outcome": bool(late), "comment": ""})
engine = prediction_log.open_log()
prediction_log.check_log(engine)
with engine.begin() as transaction:
    transaction.execute(insert(prediction_log.ANSWERS), answers)
    if outcomes:
        transaction.execute(insert(prediction_log.FEEDBACK), outcomes)
