"""Copy MLflow's SQLite file, or the prediction log's, into a PostgreSQL database whose tables are there but empty.

uv run python deploy/copy_database.py sqlite:///FILE postgresql+psycopg://USER@HOST/DATABASE

All or nothing: it is one transaction. Values go from one driver to the other as they are stored, without being read
as JSON, times or booleans in between. docs/scale.md says when to use it.
"""

import sys
from typing import Any

import psycopg
from sqlalchemy import Connection, MetaData, Table, create_engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError


def copy_table(table: Table, source: Connection, target: Connection) -> int:
    """Copy a table and return the number of rows; one that holds the same already, as MLflow's own, is left alone."""
    order = list(table.primary_key)
    some = [connection.execute(select(table).order_by(*order).limit(100)).all() for connection in (target, source)]
    if some[0] and some[0] != some[1]:
        sys.exit(f"error: The target's {table.name} holds other rows; expected a new database of the same version.")
    if some[0]:
        return 0
    names = ", ".join(f'"{column.name}"' for column in table.columns if column.computed is None)
    rows = source.exec_driver_sql(f'select {names} from "{table.name}"')  # noqa: S608  the target's own names
    driver: Any = target.connection.cursor()
    with driver.copy(f'copy "{table.name}" ({names}) from stdin') as copy:
        for row in rows:
            copy.write_row(row)
    for column in order:  # the next number is the one after the last; where a column has no sequence, nothing happens
        if column.type.python_type is int:
            next_number = text("select setval(pg_get_serial_sequence(:table, :column), :last)")
            last = target.scalar(select(func.max(column)))
            target.execute(next_number, {"table": f'"{table.name}"', "column": column.name, "last": last})
    return target.scalar(select(func.count()).select_from(table)) or 0


def main(source_url: str, target_url: str) -> None:
    """Copy all tables that the target has, those that others refer to first."""
    tables = MetaData()
    with create_engine(source_url).connect() as source, create_engine(target_url).begin() as target:
        tables.reflect(target)
        if not tables.tables:
            sys.exit("error: The target has no tables yet; docs/scale.md says what makes them.")
        for table in tables.sorted_tables:
            if rows := copy_table(table, source, target):
                print(f"{table.name:<30}{rows:>12,} rows")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (SQLAlchemyError, psycopg.Error) as error:
        sys.exit(f"error: {str(error).splitlines()[0]}")
