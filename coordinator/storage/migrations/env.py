"""Alembic's entry: runs the migrations over one synchronous connection, in one transaction.

Python's sqlite3 begins no transaction before DDL, so a kill between two statements would leave
half a migration, which can't be repeated: BEGIN is said explicitly, as in storage.database.
"""

from typing import Any

import sqlalchemy as sa
from alembic import context

from coordinator.storage.tables import metadata


def _leave_begin_to_us(connection: Any, _record: object) -> None:
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


url = context.config.get_main_option("sqlalchemy.url")
if url is None:
    raise RuntimeError("sqlalchemy.url is not set")
engine = sa.create_engine(url, poolclass=sa.NullPool)
if engine.dialect.name == "sqlite":
    sa.event.listen(engine, "connect", _leave_begin_to_us)
    sa.event.listen(engine, "begin", _begin)
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
