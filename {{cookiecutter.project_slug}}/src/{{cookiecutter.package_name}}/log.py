"""The prediction log: every answer and the feedback that comes later, on SQLite or PostgreSQL (DATABASE_URL).

An answer is given only after the transaction that holds it is on disk. Many answers share a transaction.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    insert,
    select,
)

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


def open_log(url: str) -> Engine:
    """Give an engine for the log. SQLite writes ahead and waits for the disk; neither is its default."""
    is_sqlite = url.startswith("sqlite")
    engine = create_engine(url, pool_pre_ping=True, connect_args={"timeout": 2} if is_sqlite else {})
    if is_sqlite:

        @event.listens_for(engine, "connect")
        def _durable(connection: Any, _: Any) -> None:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")

    return engine


def now() -> datetime:
    """Give the present time in UTC, without a zone, as it is stored."""
    return datetime.now(UTC).replace(tzinfo=None)


def write_answers(log: Engine, rows: list[dict[str, Any]]) -> None:
    """Add answers in one transaction; returns when they are on disk. Raises SQLAlchemyError when they are not."""
    with log.begin() as transaction:
        transaction.execute(insert(ANSWERS), rows)


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
