"""The prediction log: every answer and the feedback that comes later, on SQLite or PostgreSQL (DATABASE_URL).

An answer is given only after the transaction that holds it is on disk. Many answers share a transaction.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
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
from modelcycle.core.settings import LOCAL_LOG

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
Line = tuple[str, ...]  # an answer as text, which both databases read: the columns of ANSWERS
MOST_LINES = 4000  # in a statement; SQLite takes 32,766 values
LATEST = select(func.max(FEEDBACK.c.id)).group_by(FEEDBACK.c.prediction_id)  # of several feedbacks, the last counts


def open_log(url: str) -> Engine:
    """Give an engine for the log. SQLite writes ahead and waits for the disk; neither is its default.

    Raises InputError for an address that SQLAlchemy can't read or has no driver for.
    """
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
def reading() -> Iterator[None]:
    """Turn what goes wrong with the log's database into InputError."""
    try:
        yield
    except SQLAlchemyError as error:
        raise InputError(f"The prediction log (DATABASE_URL) can't be read: {first_line(error)}.") from None


def in_utc(time: datetime) -> datetime:
    """Give a time in UTC without a zone, as it is stored; one without a zone is in UTC already."""
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def now() -> datetime:
    """Give the present time as it is stored."""
    return in_utc(datetime.now(UTC))


def connect_writer(log: Engine) -> Connection:
    """Give a connection for `write_lines`, to a log that has its tables. Raises SQLAlchemyError."""
    check_log(log)
    return log.connect().execution_options(isolation_level="AUTOCOMMIT")


def write_lines(connection: Connection, lines: list[Line]) -> None:
    """Add answers; returns when they are on disk. Raises SQLAlchemyError when they are not.

    A statement is a transaction, and one call: while the database works, the service's other threads go on, and each
    further call would have to wait for them to pause.
    """
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    for start in range(0, len(lines), MOST_LINES):
        some = lines[start : start + MOST_LINES]
        connection.exec_driver_sql(_insertion(len(some), mark), tuple(itertools.chain.from_iterable(some)))


@lru_cache(64)
def _insertion(lines: int, mark: str) -> str:
    line = f"({', '.join([mark] * len(ANSWERS.columns))})"
    return f"insert into {ANSWERS} ({', '.join(ANSWERS.columns.keys())}) values {', '.join([line] * lines)}"  # noqa: S608


def check_log(log: Engine) -> None:
    """Make the tables where there are none, and take the lock that writing needs. Raises SQLAlchemyError."""
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        transaction.execute(delete(FEEDBACK).where(FEEDBACK.c.id < 0))


def write_feedback(log: Engine, prediction_id: str, outcome: Any, comment: str) -> bool:
    """Add what became of a prediction; False where there is no such prediction."""
    with log.begin() as transaction:
        if transaction.execute(select(ANSWERS.c.id).where(ANSWERS.c.id == prediction_id)).first() is None:
            return False
        facts = {"prediction_id": prediction_id, "at": now(), "outcome": outcome, "comment": comment}
        transaction.execute(insert(FEEDBACK), [facts])
        return True


def read_answer(log: Engine, prediction_id: str) -> dict[str, Any] | None:
    """Give an answer as it was logged, with all its feedback; None where there is none."""
    with log.connect() as connection:
        TABLES.create_all(connection)
        row = connection.execute(select(ANSWERS).where(ANSWERS.c.id == prediction_id)).mappings().first()
        if row is None:
            return None
        said = connection.execute(select(FEEDBACK).where(FEEDBACK.c.prediction_id == prediction_id)).mappings()
        return dict(row) | {"feedback": [dict(entry) for entry in said]}


def read_labelled(log: Engine) -> list[dict[str, Any]]:
    """List inputs and outcome of all answers of which the outcome is known, the oldest first."""
    known = select(ANSWERS.c.inputs, FEEDBACK.c.outcome).join_from(FEEDBACK, ANSWERS)
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        found = transaction.execute(known.where(FEEDBACK.c.id.in_(LATEST)).order_by(FEEDBACK.c.id))
        return [dict(row) for row in found.mappings()]


def read_volumes(log: Engine, since: datetime, until: datetime) -> list[tuple[str, str, int]]:
    """List version, hour, such as 2024-01-31 12, and how many answers there were, from since to before until."""
    hour = func.substr(cast(ANSWERS.c.at, String), 1, 13).label("hour")
    counts = select(ANSWERS.c.version, hour, func.count()).where(ANSWERS.c.at >= since, ANSWERS.c.at < until)
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        return [tuple(row) for row in transaction.execute(counts.group_by("version", "hour"))]


def read_lines(log: Engine, version: str, since: datetime, until: datetime, share: float) -> Iterator[bytes]:
    """Give a share of a version's answers as JSON lines, some rows at a time: objects with at, inputs and answer.

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
        for some in connection.scalars(lines).partitions():
            yield "\n".join(some).encode()


def read_outcomes(log: Engine, version: str, since: datetime, until: datetime, most: int) -> list[dict[str, Any]]:
    """List at, answer and outcome of a version's answers of which the outcome is known, at most the latest ones."""
    known = select(ANSWERS.c.at, ANSWERS.c.answer, FEEDBACK.c.outcome).join_from(FEEDBACK, ANSWERS)
    known = known.where(FEEDBACK.c.id.in_(LATEST), ANSWERS.c.version == version)
    known = known.where(ANSWERS.c.at >= since, ANSWERS.c.at < until).order_by(ANSWERS.c.at.desc()).limit(most)
    with log.connect() as connection:
        return [dict(row) for row in connection.execute(known).mappings()]


def read_feedback(log: Engine, since: datetime, most: int, commented: bool = False) -> list[dict[str, Any]]:
    """List at, version, answer, outcome and comment of feedback since then, the latest first.

    Of several feedbacks to an answer the last counts; with `commented`, all that say something in words.
    """
    columns = (FEEDBACK.c.at, ANSWERS.c.version, ANSWERS.c.answer, FEEDBACK.c.outcome, FEEDBACK.c.comment)
    wanted = FEEDBACK.c.comment != "" if commented else FEEDBACK.c.id.in_(LATEST)
    found = select(*columns).join_from(FEEDBACK, ANSWERS).where(FEEDBACK.c.at >= since, wanted)
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        return [dict(row) for row in transaction.execute(found.order_by(FEEDBACK.c.id.desc()).limit(most)).mappings()]


def keep_monitoring(log: Engine, until: datetime, result: dict[str, Any]) -> None:
    """Keep a result of `monitor` where the service finds it."""
    with log.begin() as transaction:
        TABLES.create_all(transaction)
        transaction.execute(insert(MONITORING), [{"until": until, "result": result}])


def latest_monitoring(log: Engine) -> dict[str, Any] | None:
    """Give the result of `monitor` for the latest span; None where it never ran."""
    newest = select(MONITORING.c.result).order_by(MONITORING.c.until.desc(), MONITORING.c.id.desc()).limit(1)
    with log.connect() as connection:
        return connection.execute(newest).scalar()
