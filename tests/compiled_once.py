"""SQL that SQLAlchemy compiles once in a process that runs tests, instead of once for each engine.

An engine keeps what was compiled for it, and each test's coordinator has two that are new: a
quarter of what it takes to start, and much of a short test, was to compile the same statements
again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.util import LRUCache

_compiled: LRUCache[Any, Any] = LRUCache(5000)


def begin() -> None:
    """For all engines that this process makes from now on."""
    registry.impls["sqlite"] = _sqlite
    registry.impls["postgresql.psycopg"] = _postgresql


class _Alike:
    """A dialect that is equal to all of its kind: it is part of what a compiled statement is found
    by. Of one kind are those of one class and one way to write parameters."""

    paramstyle: str

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Alike)
            and type(other) is type(self)
            and other.paramstyle == self.paramstyle
        )

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: sa.Engine) -> None:
        engine.update_execution_options(compiled_cache=_compiled)


# Loaded when the first engine of its kind is made, as SQLAlchemy does it.


@cache
def _sqlite() -> type[sa.Dialect]:
    from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

    class SQLite(_Alike, SQLiteDialect_pysqlite):
        supports_statement_cache = True

    return SQLite


@cache
def _postgresql() -> type[sa.Dialect]:
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    class PostgreSQL(_Alike, PGDialect_psycopg):
        supports_statement_cache = True

    return PostgreSQL
