"""What PostgreSQL needs besides: transactions that are run again, one coordinator, a start."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from coordinator.app import run_coordinator
from coordinator.domain.people.audit_entry import AuditEntry
from coordinator.services.core import new_id, utc_now
from coordinator.settings import Settings
from coordinator.storage.audit import append_audit
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.postgres_transactions import AnotherWrites, TakenOver
from coordinator.storage.postgresql import PostgresPlace
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.trouble import Trouble, trouble_of
from tests.integration.upkeep.counter import END_ALL, Disturbed, ask, count, increase, password_file
from tests.postgres_server import OWNER, PostgresServer

# Run again


async def test_a_write_that_another_was_in_the_way_of_is_run_again(
    database: Database, place: PostgresPlace
) -> None:
    work = Disturbed(lambda: ask(place, "UPDATE counter SET n = n + 10"), times=3)
    told: list[int] = []
    assert await database.write(work, committed=told.append) == 31
    assert work.runs == 4
    assert told == [31]


async def test_each_of_a_group_that_must_be_run_again_is_told_once(
    database: Database, place: PostgresPlace
) -> None:
    async def fails(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("INSERT INTO counter VALUES (1, 1)"))

    entered, go = threading.Event(), threading.Event()

    async def waits(connection: AsyncConnection) -> None:
        entered.set()
        go.wait(60)

    first = asyncio.create_task(database.write(waits))
    assert await asyncio.to_thread(entered.wait, 60)
    work, told = Disturbed(lambda: ask(place, "UPDATE counter SET n = n + 10")), list[int]()
    writes = [
        asyncio.create_task(database.write(one, committed=told.append))
        for one in (work, increase, fails, increase)
    ]
    await asyncio.sleep(0)
    go.set()
    await first
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results[2], IntegrityError)
    assert [results[n] for n in (0, 1, 3)] == told == [11, 12, 13]
    assert await database.read(count) == 13


async def test_a_write_that_is_always_disturbed_says_so_and_the_next_goes_on(
    database: Database, place: PostgresPlace
) -> None:
    work = Disturbed(lambda: ask(place, "UPDATE counter SET n = n + 1"), times=10**6)
    with pytest.raises(Exception) as told:
        await database.write(work)
    assert trouble_of(told.value) is Trouble.DATABASE_BUSY
    assert await database.write(increase) == work.runs + 1


async def test_two_inserts_that_took_the_same_ordinal_both_come_about(
    database: Database, place: PostgresPlace
) -> None:
    insert = (
        "INSERT INTO audit_log (id, action, details, created_at, ordinal)"
        " SELECT gen_random_uuid(), 'x', '{}', 0, coalesce(max(ordinal), 0) + 1 FROM audit_log"
    )
    left = [1]

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("SELECT max(ordinal) FROM audit_log"))
        if left:
            left.pop()
            ask(place, insert)
        entry = AuditEntry(
            id=new_id(), project_id=None, action="x", details={}, created_at=utc_now()
        )
        await append_audit(connection, entry, None)

    await database.write(work)
    assert ask(place, "SELECT ordinal FROM audit_log ORDER BY 1") == [(1,), (2,)]


# One coordinator


async def test_a_second_coordinator_is_refused(database: Database, place: PostgresPlace) -> None:
    with pytest.raises(DatabaseUnusable, match="another coordinator works on postgresql://"):
        await Database.open(place)
    assert await database.write(increase) == 1


async def test_a_coordinator_that_was_away_while_another_began_writes_no_more(
    database: Database, place: PostgresPlace, postgres_server: PostgresServer
) -> None:
    postgres_server.execute(END_ALL)
    other = await Database.open(place)
    await other.write(increase)
    await other.close()
    with pytest.raises(TakenOver, match="this one ends"):
        await database.write(increase)
    assert isinstance(await database.taken_over, TakenOver)
    assert await database.read(count) == 1


async def _quicker(place: PostgresPlace, postgres_server: PostgresServer) -> Database:
    """One that has the lock before who had it connects again, as with its next write."""
    while True:
        postgres_server.execute(END_ALL)
        with suppress(AnotherWrites):
            return await Database.open(place)


async def test_a_coordinator_that_was_taken_over_ends_and_says_why(
    place: PostgresPlace, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = Settings(data=tmp_path / "data", listen="127.0.0.1:0", database=place.url)
    async with asyncio.timeout(120):
        running = asyncio.create_task(
            run_coordinator(settings, ready=ready.set_result, stop=asyncio.Event())
        )
        url = await ready
        other = await _quicker(place, postgres_server)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
            assert answer.status == 503
        await other.close()
        with pytest.raises(TakenOver, match="this one ends"):
            await running


# The start


async def opened(place: PostgresPlace) -> str:
    with pytest.raises(DatabaseUnusable) as refused:
        await Database.open(place, busy_timeout_ms=100)
    return str(refused.value)


async def test_what_cannot_be_used_is_said_in_words(
    place: PostgresPlace, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    nobody = PostgresPlace(url=f"postgresql://{OWNER}@127.0.0.1:1/{place.name}")
    assert "no PostgreSQL answers at postgresql://" in await opened(nobody)
    assert "does not exist" in await opened(postgres_server.place("nowhere"))
    with password_file(tmp_path, "not it") as file:
        by_tcp = f"postgresql://{OWNER}@127.0.0.1:{postgres_server.port}/{place.name}"
        said = await opened(PostgresPlace(url=by_tcp, password_file=file))
        assert "password authentication failed" in said
        assert "database_password_file" in said
        assert "not it" not in said
        file.unlink()
        said = await opened(PostgresPlace(url=by_tcp, password_file=file))
        assert f"{file} can't be read" in said


async def test_a_database_of_another_order_or_encoding_is_refused(
    postgres_server: PostgresServer,
) -> None:
    ways = {
        "icu": "LOCALE_PROVIDER icu ICU_LOCALE 'en' TEMPLATE template0",
        "latin": "ENCODING 'LATIN1' TEMPLATE template0",
    }
    for name, way in ways.items():
        postgres_server.execute(f"CREATE DATABASE {name} OWNER {OWNER} {way}")
        said = await opened(postgres_server.place(name))
        postgres_server.drop(postgres_server.place(name))
        assert "createdb --template=template0 --encoding=UTF8 --locale=C" in said, name


async def test_a_schema_from_the_future_is_refused(place: PostgresPlace) -> None:
    ask(place, "UPDATE alembic_version SET version_num = '9999'")
    assert "of a newer pushrod (schema 9999" in await opened(place)


async def test_a_password_is_read_from_its_file(
    place: PostgresPlace, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with password_file(tmp_path) as file:
        by_tcp = f"postgresql://{OWNER}@127.0.0.1:{postgres_server.port}/{place.name}"
        database = await Database.open(PostgresPlace(url=by_tcp, password_file=file))
        assert await database.write(increase) == 1
        await database.close()
