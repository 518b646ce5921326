"""Writes that lock the rows they decide by, of coordinators that write beside each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database, NotIsolated, isolate, locks_rows
from coordinator.storage.postgres_transactions import COLLISIONS_PATIENCE
from coordinator.storage.postgresql import Candidate, PostgresPlace
from tests.postgres_server import PostgresServer

WAIT_SECONDS = 5.0
_LEVEL = sa.text("SELECT current_setting('transaction_isolation')")


@pytest.fixture
async def place(postgres_server: PostgresServer) -> AsyncIterator[PostgresPlace]:
    made = postgres_server.new_database()
    yield made
    postgres_server.drop(made)


@pytest.fixture
async def leader(place: PostgresPlace) -> AsyncIterator[Database]:
    candidate = Candidate(holder="one", address="127.0.0.1:1", key_print="k")
    database = await Database.open(replace(place, candidate=candidate))
    await database.write(_make_table)
    yield database
    await database.close()


@pytest.fixture
async def beside(place: PostgresPlace, leader: Database) -> AsyncIterator[Database]:
    database = await Database.open_beside(place, wait_seconds=WAIT_SECONDS)
    yield database
    await database.close()


async def _make_table(connection: AsyncConnection) -> None:
    await connection.execute(sa.text("CREATE TABLE counted (id INT PRIMARY KEY, n INT)"))
    await connection.execute(sa.text("INSERT INTO counted VALUES (1, 0), (2, 0)"))


async def _level(connection: AsyncConnection) -> str:
    return str((await connection.execute(_LEVEL)).scalar_one())


async def test_only_such_a_write_is_not_isolated(leader: Database, beside: Database) -> None:
    for database in (leader, beside):
        assert await database.write(_level) == "serializable"
        assert await database.write(_level, locking=True) == "read committed"
        assert await database.write(_level) == "serializable"


async def test_one_that_is_alone_needs_no_locks(place: PostgresPlace) -> None:
    database = await Database.open(place)

    async def asked(connection: AsyncConnection) -> tuple[str, bool]:
        return await _level(connection), locks_rows(connection)

    assert await database.write(asked, locking=True) == ("serializable", False)
    await database.close()


async def test_what_goes_further_is_isolated_by_the_leader_alone(
    leader: Database, beside: Database
) -> None:
    """And what it has done before that is done once."""

    async def further(connection: AsyncConnection) -> str:
        await connection.execute(sa.text("UPDATE counted SET n = n + 1 WHERE id = 1"))
        isolate(connection)
        return await _level(connection)

    with pytest.raises(NotIsolated):
        await beside.write(further, locking=True)
    assert await leader.write(further, locking=True) == "serializable"
    assert await beside.read(_count) == 1


async def _count(connection: AsyncConnection, one: int = 1) -> int:
    found = await connection.execute(sa.text("SELECT n FROM counted WHERE id = :id"), {"id": one})
    return int(found.scalar_one())


async def test_what_another_has_locked_is_waited_for_and_seen(
    leader: Database, beside: Database
) -> None:
    """Where an isolated one would be run again."""
    has_it, may_go, runs = threading.Event(), threading.Event(), 0

    async def first(connection: AsyncConnection) -> None:
        await _lock(connection)
        has_it.set()
        assert may_go.wait(10)
        await connection.execute(sa.text("UPDATE counted SET n = n + 1 WHERE id = 1"))

    async def second(connection: AsyncConnection) -> int:
        nonlocal runs
        runs += 1
        await connection.execute(sa.text("SELECT 1"))  # an isolated one sees no more than now
        await _lock(connection)
        seen = await _count(connection)
        await connection.execute(
            sa.text("UPDATE counted SET n = :n WHERE id = 1"), {"n": seen + 10}
        )
        return seen

    one = asyncio.create_task(leader.write(first, locking=True))
    assert await asyncio.to_thread(has_it.wait, 10)
    other = asyncio.create_task(beside.write(second, locking=True))
    await asyncio.sleep(0.3)
    may_go.set()
    assert (await other, runs) == (1, 1)
    await one
    assert await leader.read(_count) == 11


async def _lock(connection: AsyncConnection) -> None:
    await connection.execute(sa.text("SELECT id FROM counted WHERE id = 1 FOR UPDATE"))


async def test_each_such_write_is_committed_by_itself(leader: Database, beside: Database) -> None:
    """Two groups that lock two rows in turn would wait for each other."""

    async def add(connection: AsyncConnection, one: int) -> None:
        await connection.execute(
            sa.text("SELECT id FROM counted WHERE id = :id FOR UPDATE"), {"id": one}
        )
        await connection.execute(
            sa.text("UPDATE counted SET n = n + 1 WHERE id = :id"), {"id": one}
        )

    def adding(database: Database, *order: int) -> list[asyncio.Task[None]]:
        return [
            asyncio.create_task(database.write(lambda one, id_=id_: add(one, id_), locking=True))
            for id_ in order * 40
        ]

    await asyncio.gather(*adding(leader, 1, 2), *adding(beside, 2, 1))
    assert [await leader.read(lambda one, id_=id_: _count(one, id_)) for id_ in (1, 2)] == [80, 80]


async def test_who_is_in_the_way_of_many_comes_to_its_end(
    leader: Database, beside: Database
) -> None:
    """As a build that is made in a project whose steps end all the time."""
    over, runs = False, 0

    async def quick(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("SELECT id FROM steps WHERE false FOR UPDATE"))
        await connection.execute(sa.text("UPDATE counted SET n = n + 1 WHERE id = 1"))

    async def slow(connection: AsyncConnection) -> int:
        nonlocal runs
        runs += 1
        await _count(connection)
        await connection.execute(sa.text("SELECT pg_sleep(0.2)"))
        await connection.execute(sa.text("UPDATE counted SET n = n + 1000 WHERE id = 1"))
        return runs

    async def go_on() -> int:
        times = 0
        while not over:
            await beside.write(quick, locking=True)
            times += 1
        return times

    going_on = asyncio.create_task(go_on())
    assert await leader.write(slow) == COLLISIONS_PATIENCE + 1
    over = True
    assert await leader.read(_count) == 1000 + await going_on
