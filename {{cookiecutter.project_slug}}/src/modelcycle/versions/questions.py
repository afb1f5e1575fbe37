"""Questions that a version carries with its answers: does it answer, where it is now, as it did when it was released?

They are made up from the profile of the training data, so that they tell nothing about anybody, and asked again where
a version is put into an image, deployed, returned to, compared or served: other libraries, another processor or a
changed file may give other answers.
"""

from typing import Any, Protocol

import numpy as np
import pandas as pd

from modelcycle.core.contract import Column, Contract, convert_columns
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import report_line

Row = dict[str, Any]
SMALLEST_TOLERANCE, LARGEST_TOLERANCE = 1e-9, 1e-3  # relative
MARGIN = 10  # how much more than was measured is allowed: another processor adds up in another order again
N_USUAL, N_EACH = 16, 8  # questions


class Answering(Protocol):
    """What can be asked: a version, or the model of the work tree."""

    contract: Contract

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Predict (n, m) rows that hold at least the contract's inputs: (n, 1 + c)."""


def make_request_table(rows: list[dict[str, Any]], names: list[str], contract: Contract) -> pd.DataFrame:
    """Make a table (n, names) of rows as requests hold them and the log stores them.

    Times are in ISO format, not in the one that the contract names for the source.
    """
    table = pd.DataFrame(rows, columns=names, dtype="object")
    for name in names:
        if contract.columns[name].type == "datetime":
            table[name] = pd.to_datetime(table[name], format="ISO8601")
    return table


def draw_value(kind: str, column: Column, profile: dict[str, Any], rng: np.random.Generator) -> Any:
    """Draw a value as JSON has it: usual, rare, missing or never seen. profile: the column's in the training data.

    What the contract does not allow, the service refuses before the model sees it: nothing of that kind is drawn.
    """
    if kind == "missing" and column.nullable:
        return None
    if "edges" in profile:
        edges = np.array(profile["edges"])
        position = {"rare": rng.choice([rng.uniform(0, 0.01), rng.uniform(0.99, 1)])}.get(kind, rng.uniform(0.05, 0.95))
        number = float(np.interp(position, np.cumsum(profile["shares"]), edges))
        if kind == "never seen":
            number = float(rng.choice(edges[[0, -1]] + np.array([-1, 1]) * (edges[-1] - edges[0] + 1)))
        limit = 2.0**62 if column.type == "integer" else np.finfo(float).max  # what the service takes
        low, high = -limit if column.min is None else column.min, limit if column.max is None else column.max
        number = float(np.clip(float(f"{number:.6g}"), low, high))
        return round(number) if column.type == "integer" else number
    if column.type == "datetime" and "median" in profile:
        days = {"usual": 30, "missing": 30, "rare": 1000, "never seen": 10_000}[kind]
        at = pd.Timestamp(profile["median"]) + pd.Timedelta(rng.uniform(-days, days), "days")
        return at.round("min").isoformat()
    if shares := profile.get("shares"):
        value = rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values()))
        if kind == "rare":
            value = min(shares, key=shares.get)
        if kind == "never seen" and column.type == "category":
            value = next((name for name in column.values or ["never seen"] if name not in shares), value)
        return value == "True" if column.type == "boolean" else str(value)
    return None  # it was always missing


def make_questions(contract: Contract, profile: dict[str, Any], rows: pd.DataFrame) -> list[Row]:
    """Make up some 40 rows: usual ones, and others with rare, missing or never seen values in one column or in all.

    profile: of the training data. rows: (n, m) of the data; a question that happens to be one of them is left out.
    """
    rng, names = np.random.default_rng(0), contract.inputs

    def draw(changed: list[str], kind: str) -> Row:
        kinds = {name: kind if name in changed else "usual" for name in names}
        return {name: draw_value(kinds[name], contract.columns[name], profile.get(name, {}), rng) for name in names}

    questions = [draw([], "usual") for _ in range(N_USUAL)]
    for kind in ("rare", "missing", "never seen"):
        able = [name for name in names if kind != "missing" or contract.columns[name].nullable]
        chosen = rng.permutation(able)[:N_EACH].tolist()
        questions += [draw(changed, kind) for changed in [*([name] for name in chosen), able]]
    table = convert_columns(make_request_table(questions, names, contract), names, contract)
    known = convert_columns(rows, names, contract).drop_duplicates()
    is_known = table.merge(known, how="left", on=names, indicator=True)["_merge"].eq("both")
    is_repeated = table.duplicated()
    return [row for row, leave in zip(questions, (is_known | is_repeated).tolist(), strict=True) if not leave]


def read_answers(predictions: pd.DataFrame) -> pd.DataFrame:
    """Select of (n, 1 + c) predictions what is compared, (n, c): the probabilities or, without them, the amounts."""
    return predictions.drop(columns="prediction") if predictions.shape[1] > 1 else predictions


def compare_answers(one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """Give for each of (n, c) answers how far it is from another, (n, c), relative to the usual size of an answer."""
    left, right = one.to_numpy(float), other.to_numpy(float)
    size = np.maximum(np.maximum(np.abs(left), np.abs(right)), np.nan_to_num(np.abs(right)).mean() or 1)
    both_missing = np.isnan(left) & np.isnan(right)
    return np.where(both_missing, 0, np.abs(left - right) / size)


def measure_spread(version: Answering, table: pd.DataFrame, alone: pd.DataFrame) -> float:
    """Measure how far answers to (n, m) rows differ, relatively, by order, rows asked at once and number of threads.

    alone: (n, c) answers to each row asked alone.
    """
    from threadpoolctl import threadpool_limits  # with scikit-learn

    def ask(size: int, rows: pd.DataFrame) -> pd.DataFrame:
        parts = [version.predict(rows.iloc[start : start + size]) for start in range(0, len(rows), size)]
        return read_answers(pd.concat(parts)).loc[table.index]

    others = [ask(len(table), table), ask(len(table), table.iloc[::-1]), ask(8, table)]
    with threadpool_limits(1):
        others.append(ask(len(table), table))
    return max(float(compare_answers(other, alone).max(initial=0)) for other in others)


def ask_questions(version: Answering, profile: dict[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    """Make up questions and let a model answer them: `rows`, `answers` by column, and the relative `tolerance`.

    profile, rows: see `make_questions`. Raises InputError where no question gets an answer, or the same one several.
    """
    contract = version.contract
    questions, alone, failures = [], [], []
    for row in make_questions(contract, profile, rows):
        try:
            alone.append(version.predict(make_request_table([row], contract.inputs, contract)))
            questions.append(row)
        except Exception as error:  # the team's own, whatever it is
            failures.append(f"{type(error).__name__}: {first_line(error)}")
    if failures and not questions:
        raise InputError(f"The model answers none of {len(failures)} rows that the contract allows: {failures[0]}")
    if failures:
        report_line("", f"{len(failures)} rows that the contract allows get no answer: {failures[0]}")
    answers, spread = pd.DataFrame(), 0.0
    if questions:
        table = make_request_table(questions, contract.inputs, contract)
        answers = read_answers(pd.concat(alone, ignore_index=True))
        spread = measure_spread(version, table, answers)
    if not spread <= LARGEST_TOLERANCE:
        raise InputError(
            f"The same row gets answers that differ by {spread:.2g}, depending on the rows beside it and on the number "
            "of threads: whoever asks twice is told two things. Look for chance in features.py and model.py."
        )
    tolerance = max(SMALLEST_TOLERANCE, MARGIN * spread)
    return {"tolerance": tolerance, "rows": questions, "answers": answers.to_dict("list")}


def find_changed_answer(version: Answering, asked: dict[str, Any]) -> str:
    """Say how a version's answers differ from what `ask_questions` gave at its release; empty where they don't."""
    if not asked.get("rows"):  # every row that the contract allows is one of the data
        return ""
    table = make_request_table(asked["rows"], version.contract.inputs, version.contract)
    try:
        answers = read_answers(version.predict(table))
    except Exception as error:  # the team's code and every library raise their own
        kind = "" if isinstance(error, InputError) else f"it fails with {type(error).__name__}: "
        return f"{kind}{first_line(error)}"
    expected = pd.DataFrame(asked["answers"])
    if list(answers) != list(expected):
        return f"it answers with {', '.join(map(str, answers))} instead of {', '.join(map(str, expected))}"
    distances = compare_answers(answers, expected)
    is_other = ~(distances <= asked["tolerance"]).all(axis=1)
    if not is_other.any():
        return ""
    row, column = np.unravel_index(np.nan_to_num(distances, nan=np.inf).argmax(), distances.shape)
    return (
        f"{np.count_nonzero(is_other)} of {len(table)} made-up questions get another answer, such as "
        f"{expected.columns[column]} {answers.iloc[row, column]:.6g} instead of {expected.iloc[row, column]:.6g}; "
        f"{asked['tolerance']:.1g} of it may differ"
    )
