"""SQL is compiled once for all engines of a kind, and for each kind."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import CacheStats

POSTGRESQL = "postgresql+psycopg://nobody@nowhere/nothing"


def found_compiled(engine: sa.Engine, statement: sa.Select[Any]) -> bool:
    found = []

    @sa.event.listens_for(engine, "after_cursor_execute")
    def look(*told: Any) -> None:
        found.append(told[4].cache_hit)

    with engine.connect() as connection:
        connection.execute(statement)
    engine.dispose()
    return found == [CacheStats.CACHE_HIT]


def test_what_one_engine_had_compiled_another_finds() -> None:
    statement = sa.select(sa.literal(1).label("only_here"))
    assert not found_compiled(sa.create_engine("sqlite://"), statement)
    assert found_compiled(sa.create_engine("sqlite://"), statement)


def test_another_kind_of_database_or_of_parameters_has_its_own() -> None:
    one = sa.create_engine("sqlite://").dialect
    assert one != sa.create_engine("sqlite://", paramstyle="named").dialect
    server = sa.create_engine(POSTGRESQL, paramstyle="format").dialect
    assert one != server
    assert server == sa.create_engine(POSTGRESQL, paramstyle="format").dialect
    assert server != sa.create_engine(POSTGRESQL).dialect
