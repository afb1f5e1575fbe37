"""The data contract: what each column means, which values it may have, and which rows break it.

contract.yaml is the single source for validation, for the features' types and for everything that describes the data.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelcycle.core.config import read_config
from modelcycle.core.errors import InputError, first_line
from modelcycle.core.output import require_output
from modelcycle.core.paths import CONTRACT

BOOLEAN_WORDS = [  # how yes and no are written
    *[("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"), ("1", "0"), ("1.0", "0.0")],
    *[("ja", "nein"), ("j", "n"), ("wahr", "falsch"), ("oui", "non"), ("si", "no"), ("sí", "no"), ("sim", "não")],
]
DatePart = Literal["year", "month", "day_of_year", "weekday", "hour", "age"]


class Column(BaseModel):
    """One column of the data: its role in the model and the values that it may have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["key", "time", "group", "weight", "feature", "target", "ignored"]
    type: Literal["number", "integer", "boolean", "category", "datetime", "text"]
    description: str = ""
    unit: str = ""
    nullable: bool = False
    min: float | None = Field(default=None, allow_inf_nan=False)
    max: float | None = Field(default=None, allow_inf_nan=False)
    values: list[str] | None = Field(default=None, min_length=1)
    format: str = ""
    parts: list[DatePart] | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _check_consistency(self) -> "Column":
        if self.role == "time" and self.type != "datetime":
            raise ValueError(f"a time column has type datetime, not {self.type}")
        if self.role == "target" and self.type in ("datetime", "text"):
            raise ValueError(f"a target has type number, integer, boolean or category, not {self.type}")
        if self.role == "feature" and self.type == "text":
            raise ValueError("a feature can't be text; expected type category, or role ignored")
        if self.role == "weight" and (self.type not in ("number", "integer") or (self.min or 0) < 0):
            raise ValueError(f"a weight has type number or integer and is never negative, not type {self.type}")
        if self.role in ("key", "time", "group", "weight") and self.nullable:
            raise ValueError(f"a {self.role} column can't be nullable")
        if (self.min is not None or self.max is not None) and self.type not in ("number", "integer"):
            raise ValueError(f"min and max are for numbers, not for type {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.format:
            try:
                pd.to_datetime(pd.Series(["1"]), format=self.format, errors="coerce")
            except ValueError as error:
                raise ValueError(f"format is {self.format}, {error}; expected one such as %d.%m.%Y") from None
        if self.values and self.type != "category":
            raise ValueError(f"values are for categories, not for type {self.type}")
        return self

    @model_validator(mode="after")
    def _choose_parts(self) -> "Column":
        if self.type == "datetime" and self.parts is None:
            self.parts = ["weekday", "hour"]
        if self.parts is not None and self.type != "datetime":
            raise ValueError(f"parts are for type datetime, not for type {self.type}")
        return self


class Contract(BaseModel):
    """All columns that the project uses. Columns of the data that are not named here are dropped."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str
    columns: dict[str, Column]

    @model_validator(mode="after")
    def _check_roles(self) -> "Contract":
        limits = {"target": (1, 1), "time": (0, 1), "weight": (0, 1)}
        for role, (minimum, maximum) in limits.items():
            names = self.names(role)
            if not minimum <= len(names) <= maximum:
                count = "exactly one" if minimum else "at most one"
                raise ValueError(f"expected {count} column with role {role}, found {', '.join(names) or 'none'}")
        if not self.names("feature") and not (self.time and self.columns[self.time].parts):
            raise ValueError("expected at least one column with role feature, or with role time and parts, found none")
        for name in self.names("key", "target"):
            if name == "prediction" or name.startswith("probability_"):
                raise ValueError(f"'{name}' is what the model's answer is called; give this column another name")
        for name in self.inputs:
            if "age" in (self.columns[name].parts or []) and self.time in (None, name):
                raise ValueError(f"'{name}' has the part age, which is up to the time in another column with role time")
        return self

    def names(self, *roles: str) -> list[str]:
        """List the columns that have one of the roles, in the contract's order."""
        return [name for name, column in self.columns.items() if column.role in roles]

    @property
    def target(self) -> str:
        """The column to predict."""
        return self.names("target")[0]

    @property
    def time(self) -> str | None:
        """The column that says when a row happened, if there is one."""
        return next(iter(self.names("time")), None)

    @property
    def used(self) -> list[str]:
        """All columns but the ignored."""
        return [name for name, column in self.columns.items() if column.role != "ignored"]

    @property
    def inputs(self) -> list[str]:
        """The columns that a prediction needs: the features and the time."""
        return self.names("time", "feature")

    @property
    def requested(self) -> list[str]:
        """The columns that a request may bring; those that are no inputs are logged, for labels and monitoring."""
        return self.names("key", "time", "group", "weight", "feature")

    @property
    def identity(self) -> list[str]:
        """The columns that tell one row from another: the key or, without one, all inputs."""
        return self.names("key") or self.inputs

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class, not an amount."""
        return self.columns[self.target].type in ("boolean", "category")


def read_contract() -> Contract:
    """Read contract.yaml. Raises InputError when it is invalid."""
    return read_config(Contract, CONTRACT)


def convert_values(values: pd.Series, column: Column) -> pd.Series:
    """Give (n,) values the type that the contract names; a value that can't be read becomes missing."""
    match column.type:
        case "number" | "integer":
            numbers = pd.to_numeric(values, errors="coerce", dtype_backend="numpy_nullable")
            if column.type == "number":
                finite = numbers.to_numpy("float64", na_value=np.nan, copy=True)
                finite[~np.isfinite(finite)] = np.nan
                return pd.Series(finite + 0.0, values.index)  # -0.0 is 0.0, also where keys are hashed
            if numbers.dtype != "Int64":
                numbers = numbers.where((numbers % 1 == 0) & (numbers.abs() < 2**63)).astype("Int64")
            return numbers
        case "boolean":
            words = values.astype("str").str.strip().str.lower()
            meaning = {word: word == yes for yes, no in BOOLEAN_WORDS for word in (yes, no)}
            return words.map(meaning).astype("boolean")
        case "datetime":
            if not pd.api.types.is_datetime64_any_dtype(values):
                words = values.astype("str")
                words = words.where(words.str.contains(r"\d", na=False))  # pandas reads 'now' and 'today' as well
                values = pd.to_datetime(words, format=column.format or "ISO8601", errors="coerce", utc=True)
                if column.format:  # requests may have ISO 8601 as well
                    rest = words.where(values.isna() & words.str.match(r"\d{4}-\d\d-\d\d", na=False))
                    values = values.fillna(pd.to_datetime(rest, format="ISO8601", errors="coerce", utc=True))
            if isinstance(values.dtype, pd.DatetimeTZDtype):
                values = values.dt.tz_convert(None)
            return values.astype("datetime64[us]")
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")  # codes read as 1.0 because others are missing are the same as 1
    return values.astype("str")


def convert_columns(rows: pd.DataFrame, names: list[str], contract: Contract) -> pd.DataFrame:
    """Convert the named columns of (n, m) rows to the contract's types, (n, names), as `convert_values` does."""
    columns = {name: convert_values(rows[name], contract.columns[name]).array for name in names}
    return pd.DataFrame(columns, index=rows.index)  # arrays: pandas would align series, which these are


def find_violations(rows: pd.DataFrame, contract: Contract) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check raw rows against the contract.

    rows: (n, m) as ingested, with a unique index, holding at least the contract's columns.
    Returns the rows converted to the contract's types, without the ignored columns, (n, k), and the violations
    (v, 4) with the columns index, column, rule and found.
    """
    import pandera.pandas as pa  # imported late: the service's image has none

    columns = {name: contract.columns[name] for name in contract.used}
    typed = convert_columns(rows, contract.used, contract)
    violations, is_readable = [], pd.Series(True, rows.index)
    for name, column in columns.items():
        unreadable = rows.index[rows[name].notna() & typed[name].isna()]
        is_readable[unreadable] = False
        violations.append(_list_violations(unreadable, name, f"is no {column.type}", rows.loc[unreadable, name]))
    schema = pa.DataFrameSchema(
        {name: pa.Column(checks=_make_checks(column), nullable=True) for name, column in columns.items()}
    )
    try:
        schema.validate(typed, lazy=True)
    except pa.errors.SchemaErrors as errors:
        failures = errors.failure_cases.rename(columns={"check": "rule", "failure_case": "found"})
        violations.append(failures[["index", "column", "rule", "found"]])
    for name in [name for name, column in columns.items() if not column.nullable]:
        missing = rows.index[rows[name].isna()]
        violations.append(_list_violations(missing, name, "is missing", rows.loc[missing, name]))
    if key := contract.names("key"):
        read = typed[is_readable]
        repeated = read.index[read.duplicated()]
        violations.append(
            _list_violations(repeated, ", ".join(key), "repeats an earlier row", rows.loc[repeated, key[0]])
        )
    violations = [part for part in violations if len(part)] or violations[:1]  # most are empty, and each costs time
    return typed, pd.concat([part.astype({"found": "str"}) for part in violations], ignore_index=True)


def select_rejects(rows: pd.DataFrame, violations: pd.DataFrame) -> pd.DataFrame:
    """Select those of (n, m) raw rows that have violations, (r, 1 + m): `reason` in front, several joined by ';'."""
    reasons = (violations["column"] + " " + violations["rule"]).groupby(violations["index"]).agg("; ".join)
    rejects = rows.loc[reasons.index]
    rejects.insert(0, "reason", reasons, allow_duplicates=True)
    return rejects


def _list_violations(index: pd.Index, column: str, rule: str, values: pd.Series) -> pd.DataFrame:
    return pd.DataFrame({"index": index, "column": column, "rule": rule, "found": values.to_numpy()})


def _make_checks(column: Column) -> list[Any]:
    """Turn the column's range and allowed values into pandera checks, each with its rule in words."""
    import pandera.pandas as pa

    unit = f" {column.unit}" if column.unit else ""
    checks = []
    if column.min is not None:
        checks.append(pa.Check.ge(column.min, error=f"is below {column.min:g}{unit}"))
    if column.max is not None:
        checks.append(pa.Check.le(column.max, error=f"is above {column.max:g}{unit}"))
    if column.values:
        checks.append(pa.Check.isin(column.values, error="is none of the allowed values"))
    return checks


def require_columns(names: "pd.Index[str]", contract: Contract, source: str) -> None:
    """Raise InputError when a table lacks a column that the contract uses."""
    for name in contract.used:
        if name not in names:
            shown = ", ".join(map(str, names[:8])) + (f", ... ({len(names) - 8} more)" if len(names) > 8 else "")
            raise InputError(
                f"{source} has no column '{name}', which contract.yaml names as {contract.columns[name].role}. "
                f"Columns: {shown}."
            )


def read_table(path: Path, verb: str, contract: Contract, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table that an earlier step, `verb`, has written, with all columns or some.

    Raises InputError when it is missing or damaged, or lacks a column that the contract uses.
    """
    try:
        rows = pd.read_parquet(require_output(path, verb), columns=columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {first_line(error)}; delete it and type `make reproduce`.") from None
    if columns is None:
        require_columns(rows.columns, contract, str(path))
    return rows


def require_unique_keys(rows: pd.DataFrame, contract: Contract) -> None:
    """Raise InputError when rows share a key; where there is a time, a key may occur once at each."""
    key = contract.names("key", "time")
    if contract.names("key") and (repeats := rows.duplicated(key)).any():
        example = " ".join(str(value) for value in rows.loc[repeats, key].iloc[0])
        raise InputError(
            f"contract.yaml: {', '.join(key)} should identify a row, but {repeats.sum():,} rows repeat another row's, "
            f"e.g. {example}; give one more column the role key, or mend the data."
        )


def extract_weights(rows: pd.DataFrame, contract: Contract) -> np.ndarray | None:
    """Give how much each of (n, m) rows counts, (n,); None where no column has the role weight."""
    names = contract.names("weight")
    return rows[names[0]].to_numpy(float) if names else None


def extract_target(rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """Give the target of (n, m) rows as (n,) booleans, texts or floats."""
    kind = {"boolean": bool, "category": object}.get(contract.columns[contract.target].type, float)
    return rows[contract.target].to_numpy(kind)
