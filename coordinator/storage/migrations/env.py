"""Alembic's entry: runs the migrations over one synchronous connection, in one transaction.

Python's sqlite3 begins no transaction before DDL, so a kill between two statements would leave
half a migration, which can't be repeated: BEGIN is said explicitly, as in storage.database.
"""

from typing import Any

import sqlalchemy as sa
from alembic import context

from coordinator.storage.tables import metadata

MIGRATION_LOCK = 0x70757368726F65


def _leave_begin_to_us(connection: Any, _record: object) -> None:
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _wait_for_others(connection: sa.Connection) -> None:
    """Two that start at once migrate once: the second finds it done."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")


engine: sa.Engine = context.config.attributes["engine"]
if engine.dialect.name == "sqlite":
    sa.event.listen(engine, "connect", _leave_begin_to_us)
    sa.event.listen(engine, "begin", _begin)
else:
    sa.event.listen(engine, "begin", _wait_for_others)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
