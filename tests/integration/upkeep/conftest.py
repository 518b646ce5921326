"""For modules without their own: a database on PostgreSQL with a counter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from coordinator.storage.database import Database
from coordinator.storage.postgresql import PostgresPlace
from tests.integration.upkeep.counter import WAIT_MS, ask
from tests.postgres_server import PostgresServer


@pytest.fixture
def place(postgres_server: PostgresServer) -> Iterator[PostgresPlace]:
    """With a table of our own: a counter."""
    place = postgres_server.new_database()
    ask(place, "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
    ask(place, "INSERT INTO counter VALUES (1, 0)")
    yield place
    postgres_server.drop(place)


@pytest.fixture
async def database(place: PostgresPlace) -> AsyncIterator[Database]:
    database = await Database.open(place, busy_timeout_ms=WAIT_MS)
    yield database
    await database.close()
