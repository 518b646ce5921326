"""What PostgreSQL needs besides: transactions that are run again, outages, one coordinator."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from coordinator.app import run_coordinator
from coordinator.domain.people.audit_entry import AuditEntry
from coordinator.services.core import new_id, utc_now
from coordinator.settings import Settings
from coordinator.storage import migrate
from coordinator.storage.audit import append_audit
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.postgres_transactions import AnotherWrites, TakenOver
from coordinator.storage.postgresql import PostgresPlace, engine_of
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.tables import metadata
from coordinator.storage.trouble import Trouble, trouble_of
from tests.postgres_server import OWNER, PASSWORD, PostgresServer

WAIT_MS = 20_000
END_ALL = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{OWNER}'"


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


def ask(place: PostgresPlace, statement: str) -> list[tuple[object, ...]]:
    """By a connection beside it."""
    engine = engine_of(place, isolation_level="SERIALIZABLE")
    with engine.begin() as connection:
        done = connection.exec_driver_sql(statement)
        found = [tuple(row) for row in done] if done.returns_rows else []
    engine.dispose()
    return found


async def count(connection: AsyncConnection) -> int:
    return int((await connection.execute(sa.text("SELECT n FROM counter"))).scalar_one())


async def increase(connection: AsyncConnection) -> int:
    n = await count(connection)
    await connection.execute(sa.text("UPDATE counter SET n = :n"), {"n": n + 1})
    return n + 1


class Disturbed:
    """Increases the counter; the first time something happens in the middle."""

    def __init__(self, happens: Callable[[], object], *, times: int = 1) -> None:
        self._happens, self._left, self.runs = happens, times, 0

    async def __call__(self, connection: AsyncConnection) -> int:
        self.runs += 1
        n = await count(connection)
        if self._left:
            self._left -= 1
            self._happens()
        await connection.execute(sa.text("UPDATE counter SET n = :n"), {"n": n + 1})
        return n + 1


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


# Lost connections


async def test_a_server_that_ends_while_it_is_opened_is_no_fault_of_ours(
    place: PostgresPlace, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a coordinator that has others beside it would end, and not try again."""

    def ends_meanwhile(_place: PostgresPlace) -> None:
        postgres_server.execute(END_ALL)

    monkeypatch.setattr("coordinator.storage.migrate.migrate_apart", ends_meanwhile)
    with pytest.raises(DatabaseUnusable, match="no PostgreSQL answers at"):
        await Database.open(place)


async def test_a_write_whose_connection_is_cut_is_run_again(
    database: Database, postgres_server: PostgresServer
) -> None:
    work = Disturbed(lambda: postgres_server.execute(END_ALL))
    assert await database.write(work) == 1
    assert work.runs == 2
    postgres_server.execute(END_ALL)
    assert await database.read(count) == 1


class PartFailed(Exception):
    """Of a work that goes on without that part."""


@pytest.mark.parametrize("end", ["swallowed", "wrapped"])
async def test_a_lost_connection_that_a_work_took_for_a_part_s_fault_is_nobody_s(
    end: str, database: Database, postgres_server: PostgresServer
) -> None:
    """As a completion does it, which hands a step over if it can: it and its whole group are run
    again."""
    entered, go = threading.Event(), threading.Event()

    async def waits(connection: AsyncConnection) -> None:
        entered.set()
        go.wait(60)

    work = Disturbed(lambda: postgres_server.execute(END_ALL))

    async def careless(connection: AsyncConnection) -> None:
        try:
            await work(connection)
        except Exception as error:
            if end == "wrapped":
                raise PartFailed from error

    first = asyncio.create_task(database.write(waits))
    assert await asyncio.to_thread(entered.wait, 60)
    writes = [asyncio.create_task(database.write(one)) for one in (increase, careless, increase)]
    await asyncio.sleep(0)
    go.set()
    await first
    assert await asyncio.gather(*writes) == [1, None, 3]
    assert work.runs == 2


async def test_reads_and_writes_wait_for_a_server_that_starts_anew(
    database: Database, postgres_server: PostgresServer
) -> None:
    assert await database.write(increase) == 1
    postgres_server.stop()
    write = asyncio.create_task(database.write(increase))
    read = asyncio.create_task(database.read(count))
    await asyncio.sleep(0)
    postgres_server.start()
    assert await write == 2
    assert await read in (1, 2)


async def test_a_server_that_is_away_for_too_long_is_said_and_found_again(
    place: PostgresPlace, postgres_server: PostgresServer
) -> None:
    database = await Database.open(place, busy_timeout_ms=100)
    try:
        postgres_server.stop()
        try:
            for asked in (database.write(increase), database.read(count)):
                with pytest.raises(Exception) as told:
                    await asked
                assert trouble_of(told.value) is Trouble.DATABASE_AWAY
        finally:
            postgres_server.start()
        assert await database.write(increase) == 1
    finally:
        await database.close()


async def test_closing_waits_for_no_server_that_is_away(
    place: PostgresPlace, postgres_server: PostgresServer
) -> None:
    database = await Database.open(place, busy_timeout_ms=600_000)
    postgres_server.stop()
    try:
        write = asyncio.create_task(database.write(increase))
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await database.close()
        assert isinstance((await asyncio.gather(write, return_exceptions=True))[0], Exception)
    finally:
        postgres_server.start()


class Proxy:
    """To the server, by TCP; it cuts the connection at the next COMMIT, before or after that."""

    def __init__(self, server: PostgresServer) -> None:
        self._server, self.cut, self.away = server, "", False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.away:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._server.port))
            ends = threading.Event()
            for arguments in ((client, server, ends, True), (server, client, ends, False)):
                threading.Thread(target=self._pass, args=arguments, daemon=True).start()

    def _pass(
        self, one: socket.socket, other: socket.socket, ends: threading.Event, asks: bool
    ) -> None:
        with one, other:
            try:
                while data := one.recv(65536):
                    if asks and b"COMMIT" in data and self.cut:
                        ends.set()  # first, or the answer is passed on before that
                        if self.cut == "after":
                            other.sendall(data)
                        self.cut = ""
                        other.shutdown(socket.SHUT_WR)
                        one.shutdown(socket.SHUT_RDWR)
                        return
                    if not asks and ends.is_set():
                        return
                    other.sendall(data)
            except OSError:
                pass

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def password_file(folder: Path, password: str = PASSWORD) -> Iterator[Path]:
    file = folder / "password"
    file.write_text(password + "\n")
    yield file


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_counts_once(
    place: PostgresPlace, postgres_server: PostgresServer, tmp_path: Path, cut: str
) -> None:
    proxy = Proxy(postgres_server)
    with password_file(tmp_path) as file:
        through = PostgresPlace(
            url=f"postgresql://{OWNER}@127.0.0.1:{proxy.port}/{place.name}?sslmode=disable",
            password_file=file,
        )
        database = await Database.open(through, busy_timeout_ms=WAIT_MS)
        try:
            work, told = Disturbed(lambda: None), list[int]()
            assert await database.write(increase, committed=told.append) == 1
            proxy.cut = cut
            assert await database.write(work, committed=told.append) == 2
            assert work.runs == (1 if cut == "after" else 2)
            assert await database.write(increase, committed=told.append) == 3
            assert told == [1, 2, 3]
        finally:
            await database.close()
            proxy.close()


async def test_what_was_committed_unheard_is_announced_when_the_server_is_back(
    place: PostgresPlace, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Its caller was told that nobody knows."""
    proxy = Proxy(postgres_server)
    with password_file(tmp_path) as file:
        through = PostgresPlace(
            url=f"postgresql://{OWNER}@127.0.0.1:{proxy.port}/{place.name}?sslmode=disable",
            password_file=file,
        )
        database = await Database.open(through, busy_timeout_ms=100)
        told = list[int]()

        def cut_and_stay_away() -> None:
            proxy.cut, proxy.away = "after", True

        try:
            with pytest.raises(Exception) as error:
                await database.write(Disturbed(cut_and_stay_away), committed=told.append)
            assert trouble_of(error.value) is Trouble.DATABASE_UNKNOWN
            assert told == []
            proxy.away = False
            assert await database.write(increase, committed=told.append) == 2
            assert told == [1, 2]
        finally:
            await database.close()
            proxy.close()


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


# Migrations


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
