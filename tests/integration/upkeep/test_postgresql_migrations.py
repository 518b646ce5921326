"""Migrations on PostgreSQL: what they make, two at once, of old databases, and one that fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
import sqlalchemy as sa

from coordinator.storage import migrate
from coordinator.storage.postgresql import engine_of
from coordinator.storage.tables import metadata
from tests.integration.upkeep.counter import ask
from tests.postgres_server import OWNER, PostgresServer


def test_the_migrated_schema_is_the_one_in_the_tables(postgres_server: PostgresServer) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    places = [postgres_server.new_database(migrated=migrated) for migrated in (True, False)]
    migrated, made = engines = [engine_of(place) for place in places]
    with migrated.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                # Of PostgreSQL alone, and no query's.
                "include_name": lambda name, kind, _: kind != "table" or name not in OWN,
            },
        )
        assert compare_metadata(context, metadata) == []
    for index in [one for table in metadata.tables.values() for one in table.indexes]:
        # The tables say it for SQLite alone (`storage/tables/columns.py`), where true is 1.
        where = index.dialect_options["sqlite"]["where"]
        if where is not None:
            where = sa.text(str(where).removesuffix(" = 1"))
        index.dialect_options["postgresql"]["where"] = where
    metadata.create_all(made)
    # What Alembic doesn't compare: conditions, keys, what columns may be.
    for query in (INDEXES, CONSTRAINTS, COLUMNS):
        by_migrations, by_tables = (set(ask(place, query)) for place in places)
        assert not by_migrations ^ by_tables
    for engine, place in zip(engines, places, strict=True):
        engine.dispose()
        postgres_server.drop(place)


OWN = ("coordinator_starts", "homes")
_OTHERS = "('alembic_version', 'homes')"
INDEXES = f"""
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename NOT IN {_OTHERS}
"""
CONSTRAINTS = f"""
    SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT IN {_OTHERS}
"""
COLUMNS = f"""
    SELECT table_name, column_name, data_type, is_nullable, character_maximum_length
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name NOT IN {_OTHERS}
    AND table_name <> 'coordinator_starts'
"""


def test_two_that_start_at_once_migrate_once(postgres_server: PostgresServer) -> None:
    place = postgres_server.new_database(migrated=False)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(migrate.migrate_apart, [place, replace(place)]))
    assert migrate.current_revision(place) == migrate.HEAD
    postgres_server.drop(place)


def test_a_database_with_rows_is_brought_from_an_older_version(
    postgres_server: PostgresServer,
) -> None:
    place = postgres_server.new_database(migrated=False)
    migrate.upgrade(place, "0012")
    ask(place, "INSERT INTO accounts VALUES ('a', 'acme', 'Acme', 0)")
    ask(place, "INSERT INTO images VALUES ('i', 'a', 'base', 'x/base:1', true, 0)")
    migrate.migrate(place)
    assert ask(place, "SELECT slug, public FROM images") == [("base", True)]
    postgres_server.drop(place)


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    postgres_server: PostgresServer,
) -> None:
    place = postgres_server.new_database(migrated=False)
    ask(place, "CREATE TABLE outbox (x INTEGER)")  # in the way of one in the middle
    with pytest.raises(migrate.MigrationFailed, match="outbox"):
        migrate.migrate_apart(place)
    assert ask(place, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [
        ("outbox",)
    ]
    with psycopg.connect(
        host=str(postgres_server.folder), port=postgres_server.port, user=OWNER, dbname=place.name
    ) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        ).fetchone() == (0,)
    postgres_server.drop(place)
