"""The prediction log: every answer and the feedback that comes later, on SQLite or PostgreSQL (DATABASE_URL).

An answer is given only after the transaction that holds it is on disk. Many answers share a transaction.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    cast,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from modelcycle.core.errors import InputError, first_line

LOCAL_LOG = Path(".mlflow/predictions.db")
LOCAL_ADDRESS = f"sqlite:///{LOCAL_LOG.as_posix()}"
TABLES = MetaData()
ANSWERS = Table(
    "predictions",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("at", DateTime, nullable=False, index=True),
    Column("version", String(20), nullable=False),
    Column("caller", String(64), nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("unusual", JSON, nullable=False),
)
FEEDBACK = Table(
    "feedback",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("prediction_id", String(32), ForeignKey("predictions.id"), nullable=False, index=True),
    Column("at", DateTime, nullable=False),
    Column("outcome", JSON),
    Column("comment", Text, nullable=False),
)
MONITORING = Table(
    "monitoring",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("until", DateTime, nullable=False, index=True),
    Column("result", JSON, nullable=False),
)
AnswerRow = tuple[str, ...]  # the columns of ANSWERS as text, which both databases read
MAX_ROWS = 4000  # in a statement; SQLite takes 32,766 values
# Of several feedbacks to an answer, the last counts.
LATEST_FEEDBACK_IDS = select(func.max(FEEDBACK.c.id)).group_by(FEEDBACK.c.prediction_id)


def open_log(url: str | None = None) -> Engine:
    """Return an engine for the log. SQLite writes ahead and waits for the disk; neither is its default.

    url: SQLAlchemy's; by default that of DATABASE_URL. Raises InputError where it can't be read or has no driver.
    """
    url = url or os.environ.get("DATABASE_URL") or LOCAL_ADDRESS
    is_sqlite = url.startswith("sqlite")
    try:
        engine = create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"timeout": 2, "cached_statements": 16} if is_sqlite else {"connect_timeout": 5},
            json_serializer=lambda value: to_json(value).decode(),  # knows times, and takes a tenth of json's time
        )
    except (ArgumentError, ImportError) as error:
        raise InputError(
            f"DATABASE_URL is no address that can be used: {type(error).__name__}; expected "
            "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME with a password."
        ) from None
    if is_sqlite:
        if engine.url.database == LOCAL_LOG.as_posix():  # another folder may be a slip of the pen
            with suppress(OSError):  # that it can't be written to is found out with the first answer
                LOCAL_LOG.parent.mkdir(exist_ok=True)

        @event.listens_for(engine, "connect")
        def _durable(connection: Any, _: Any) -> None:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")

    return engine


@contextmanager
def convert_database_errors() -> Iterator[None]:
    """Turn errors of the log's database into InputError."""
    try:
        yield
    except SQLAlchemyError as error:
        raise InputError(f"The prediction log (DATABASE_URL) can't be read: {first_line(error)}.") from None


def to_utc(time: datetime) -> datetime:
    """Convert a time to UTC without a zone, as it is stored; one without a zone is in UTC already."""
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def utc_now() -> datetime:
    """Return the present time as it is stored."""
    return to_utc(datetime.now(UTC))


def connect_writer(log: Engine) -> Connection:
    """Open a connection for `write_answers`, to a log that has its tables. Raises SQLAlchemyError."""
    check_log(log)
    return log.connect().execution_options(isolation_level="AUTOCOMMIT")


def write_answers(connection: Connection, rows: list[AnswerRow]) -> None:
    """Add answers; returns when they are on disk. Raises SQLAlchemyError when they are not.

    A statement is a transaction, and one call: while the database works, the service's other threads go on, and each
    further call would have to wait for them to pause.
    """
    placeholder = "?" if connection.dialect.name == "sqlite" else "%s"
    for start in range(0, len(rows), MAX_ROWS):
        batch = rows[start : start + MAX_ROWS]
        values = tuple(itertools.chain.from_iterable(batch))
        connection.exec_driver_sql(_insert_statement(len(batch), placeholder), values)


@lru_cache(64)
def _insert_statement(n_rows: int, placeholder: str) -> str:
    row = f"({', '.join([placeholder] * len(ANSWERS.columns))})"
    return f"insert into {ANSWERS} ({', '.join(ANSWERS.columns.keys())}) values {', '.join([row] * n_rows)}"  # noqa: S608


def check_log(log: Engine) -> None:
    """Create the tables where there are none, and take the lock that writing needs. Raises SQLAlchemyError."""
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        transaction.execute(delete(FEEDBACK).where(FEEDBACK.c.id < 0))


def write_feedback(log: Engine, prediction_id: str, outcome: Any, comment: str) -> bool:
    """Add feedback to a prediction; False where there is no such prediction."""
    with log.begin() as transaction:
        if transaction.execute(select(ANSWERS.c.id).where(ANSWERS.c.id == prediction_id)).first() is None:
            return False
        facts = {"prediction_id": prediction_id, "at": utc_now(), "outcome": outcome, "comment": comment}
        transaction.execute(insert(FEEDBACK), [facts])
        return True


def read_answer(log: Engine, prediction_id: str) -> dict[str, Any] | None:
    """Read an answer as it was logged, with all its feedback; None where there is none."""
    with log.connect() as connection:
        TABLES.create_all(connection)
        row = connection.execute(select(ANSWERS).where(ANSWERS.c.id == prediction_id)).mappings().first()
        if row is None:
            return None
        feedback = connection.execute(select(FEEDBACK).where(FEEDBACK.c.prediction_id == prediction_id)).mappings()
        return dict(row) | {"feedback": [dict(entry) for entry in feedback]}


def read_labelled_inputs(log: Engine) -> list[dict[str, Any]]:
    """List inputs and outcome of all answers of which the outcome is known, the oldest feedback first."""
    query = select(ANSWERS.c.inputs, FEEDBACK.c.outcome).join_from(FEEDBACK, ANSWERS)
    query = query.where(FEEDBACK.c.id.in_(LATEST_FEEDBACK_IDS)).order_by(FEEDBACK.c.id)
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        return [dict(row) for row in transaction.execute(query).mappings()]


def read_hourly_counts(log: Engine, since: datetime, until: datetime) -> list[tuple[str, str, int]]:
    """Count the answers by version and hour, such as 2024-01-31 12, from since to before until."""
    hour = func.substr(cast(ANSWERS.c.at, String), 1, 13).label("hour")
    query = select(ANSWERS.c.version, hour, func.count()).where(ANSWERS.c.at >= since, ANSWERS.c.at < until)
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        return [tuple(row) for row in transaction.execute(query.group_by("version", "hour"))]


def read_json_lines(log: Engine, version: str, since: datetime, until: datetime, share: float) -> Iterator[bytes]:
    """Read a share of a version's answers as JSON lines, a batch at a time: objects with at, inputs and answer.

    The id decides which, by its last 12 digits, which are random: the same at each call, and spread evenly over time.
    The database puts the lines together: a text per row is the fastest that leaves it, and needs no parsing here.
    """
    at, inputs, answer = cast(ANSWERS.c.at, String), cast(ANSWERS.c.inputs, Text), cast(ANSWERS.c.answer, Text)
    last_digits = f"{min(int(share * 16**12), 16**12 - 1):012x}"
    lines = select('{"at":"' + at + '","inputs":' + inputs + ',"answer":' + answer + "}").where(
        ANSWERS.c.version == version,
        ANSWERS.c.at >= since,
        ANSWERS.c.at < until,
        func.substr(ANSWERS.c.id, 21) <= last_digits,
    )
    with log.connect().execution_options(yield_per=2_000) as connection:
        for batch in connection.scalars(lines).partitions():
            yield "\n".join(batch).encode()


def read_outcomes(log: Engine, version: str, since: datetime, until: datetime, limit: int) -> list[dict[str, Any]]:
    """List at, inputs, answer and outcome of a version's answers of which the outcome is known: the latest `limit`."""
    query = select(ANSWERS.c.at, ANSWERS.c.inputs, ANSWERS.c.answer, FEEDBACK.c.outcome).join_from(FEEDBACK, ANSWERS)
    query = query.where(FEEDBACK.c.id.in_(LATEST_FEEDBACK_IDS), ANSWERS.c.version == version)
    query = query.where(ANSWERS.c.at >= since, ANSWERS.c.at < until).order_by(ANSWERS.c.at.desc()).limit(limit)
    with log.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def read_feedback(log: Engine, since: datetime, limit: int, with_comment: bool = False) -> list[dict[str, Any]]:
    """List at, version, answer, outcome and comment of the feedback since a time, the latest `limit`, latest first.

    Of several feedbacks to an answer the last counts; `with_comment` lists all that have a comment instead.
    """
    columns = (FEEDBACK.c.at, ANSWERS.c.version, ANSWERS.c.answer, FEEDBACK.c.outcome, FEEDBACK.c.comment)
    condition = FEEDBACK.c.comment != "" if with_comment else FEEDBACK.c.id.in_(LATEST_FEEDBACK_IDS)
    query = select(*columns).join_from(FEEDBACK, ANSWERS).where(FEEDBACK.c.at >= since, condition)
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        return [dict(row) for row in transaction.execute(query.order_by(FEEDBACK.c.id.desc()).limit(limit)).mappings()]


def write_monitoring_result(log: Engine, until: datetime, result: dict[str, Any]) -> None:
    """Store a result of `monitor` where the service finds it."""
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        transaction.execute(insert(MONITORING), [{"until": until, "result": result}])


def read_monitoring_result(log: Engine) -> dict[str, Any] | None:
    """Read the result of `monitor` for the latest span of time; None where it never ran."""
    query = select(MONITORING.c.result).order_by(MONITORING.c.until.desc(), MONITORING.c.id.desc()).limit(1)
    with log.connect() as connection:
        return connection.execute(query).scalar()
