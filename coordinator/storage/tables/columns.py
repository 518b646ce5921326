"""What every table is made of.

Of which rows an index is, `sqlite_where`, counts for both databases. The migrations say it for
each; here `postgresql_where` would load all that SQLAlchemy has for PostgreSQL: 3 MB of a
coordinator that never uses it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, stored as microseconds since 1970 so that both databases sort it alike."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:
        return instant_of(value)


def instant_of(microseconds: Any | None) -> datetime | None:
    """Of what is stored."""
    return None if microseconds is None else EPOCH + timedelta(microseconds=int(microseconds))


def as_stored(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """An instant as the number that it is in the table, for rows that are compared before they are
    read."""
    if not isinstance(column.type, Instant):
        return column
    return sa.type_coerce(column, sa.BigInteger).label(column.name)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def ordinal(table: str) -> sa.Column[int]:
    """+1 with each row, in the order of the inserts, whatever the clock says.

    Lists are sorted by it: it is short, no two rows share it, and every index can end in it.
    """
    following = sa.text(f"(SELECT coalesce(max(ordinal), 0) + 1 FROM {table})")  # noqa: S608
    return sa.Column(
        "ordinal", sa.BigInteger, nullable=False, default=following, server_default="0"
    )


def own_id() -> sa.Column[str]:
    return sa.Column("id", sa.String(36), primary_key=True)


def id_of(table: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(
        f"{table[:-1]}_id", sa.String(36), sa.ForeignKey(f"{table}.id"), nullable=nullable
    )
