"""What the champion was asked and answered, read from the prediction log and counted by period.

All answers are counted, but only a sample is looked into: more rows would only prove what is too small to matter. The
sample is read in chunks, of which only counts remain. Times are UTC, as in the log.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json as arrow_json
from sqlalchemy import Engine

from modelcycle.core.errors import InputError
from modelcycle.monitoring.histogram import Histogram, Profile
from modelcycle.versions.bundle import Bundle
from modelcycle.versions.prediction_log import read_hourly_counts, read_json_lines

MAX_PERIODS = 60  # that are plotted


@dataclass
class Observations:
    """The champion's inputs and answers in a span of time, by period."""

    starts: np.ndarray  # (p,) when each period starts
    answers: np.ndarray  # (p,) how many it has
    answers_of_others: dict[str, int]  # how many each other version gave
    n_sampled: int  # the number of answers that the rest is about
    profiles: dict[str, Profile]  # what each feature and, under the target's name, the prediction is compared with
    histograms: dict[str, Histogram]  # for each of them
    latencies: pd.Series  # milliseconds, with the period as index


def split_into_periods(first: datetime, last: datetime) -> np.ndarray:
    """Split a span of time into hours, from two days on into days, or into several of them: (p,) at most 60 starts."""
    start, end = (np.datetime64(time, "h" if last - first < timedelta(days=2) else "D") for time in (first, last))
    n_units = int((end - start).astype(int)) + 1
    return start + np.arange(0, n_units, -(-n_units // MAX_PERIODS))


def build_schema(champion: Bundle) -> pa.Schema:
    """Build the schema of the log's lines: time, features, predicted probability or value, and milliseconds."""
    types = {"number": pa.float64(), "integer": pa.float64(), "boolean": pa.bool_()}
    columns = champion.contract.columns
    features = [(name, types.get(columns[name].type, pa.string())) for name in champion.contract.names("feature")]
    profile = champion.expected["prediction"]
    value = (profile["of"].removeprefix("probability_"), pa.float64() if "edges" in profile else pa.string())
    prediction = value if value[0] == profile["of"] else ("probabilities", pa.struct([value]))
    answer = pa.struct([prediction, ("milliseconds", pa.float64())])
    return pa.schema([("at", pa.timestamp("us")), ("inputs", pa.struct(features)), ("answer", answer)])


def read_observations(log: Engine, champion: Bundle, since: datetime, until: datetime, sample: int) -> Observations:
    """Count all answers, and the values of about `sample` of them. Raises InputError where the champion gave none."""
    counts = pd.DataFrame(read_hourly_counts(log, since, until), columns=["version", "hour", "answers"])
    is_own = counts["version"] == champion.version
    own = counts[is_own]
    answers_of_others: dict[Any, int] = counts[~is_own].groupby("version")["answers"].sum().to_dict()
    if own.empty:
        span = f"from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        others = f" Other versions gave some: {', '.join(answers_of_others)}." if answers_of_others else ""
        raise InputError(f"The log holds no answer of the champion, version {champion.version}, {span}.{others}")
    hours = np.array(own["hour"].tolist(), "datetime64[h]")
    starts = split_into_periods(hours.min().item(), hours.max().item())
    answers = np.bincount(np.searchsorted(starts, hours, side="right") - 1, own["answers"]).astype(int)
    profiles = {name: champion.profile[name] for name in champion.contract.names("feature")}
    profiles[champion.contract.target] = champion.expected["prediction"]
    parse_options = arrow_json.ParseOptions(build_schema(champion), unexpected_field_behavior="ignore")
    histograms: dict[str, Histogram] = {}
    latencies = []
    for lines in read_json_lines(log, champion.version, since, until, sample / answers.sum()):
        read_options = arrow_json.ReadOptions(block_size=len(lines))  # a line has to fit into a block
        table = arrow_json.read_json(pa.BufferReader(lines), read_options, parse_options).combine_chunks()
        periods = np.searchsorted(starts, table["at"].to_numpy(), side="right") - 1
        prediction, milliseconds = table["answer"].combine_chunks().flatten()
        (predicted,) = prediction.flatten() if pa.types.is_struct(prediction.type) else [prediction]
        columns = [*table["inputs"].combine_chunks().flatten(), predicted]
        for (name, profile), values in zip(profiles.items(), columns, strict=True):
            histogram = Histogram.count(values.to_pandas(), periods, len(starts), profile)
            histograms[name] = histograms[name] + histogram if name in histograms else histogram
        latencies.append(pd.Series(milliseconds.to_numpy(zero_copy_only=False), periods))
    sampled = pd.concat(latencies)
    return Observations(starts, answers, answers_of_others, len(sampled), profiles, histograms, sampled.dropna())


def summarize_periods(observations: Observations) -> list[dict[str, Any]]:
    """List for each period when it starts, how many answers it has and how long they took."""
    table = pd.DataFrame({"from": observations.starts.astype(str), "answers": observations.answers})
    by_period = observations.latencies.groupby(level=0)
    for share in (50, 95):
        table[f"milliseconds_{share}"] = by_period.quantile(share / 100).reindex(table.index).round(2)
    return to_records(table)


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Convert a table's rows for JSON, with None for missing values."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows
