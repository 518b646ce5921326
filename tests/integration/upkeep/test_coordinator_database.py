"""The database's promises: no lost update, neighbours unhurt, durable before it is announced."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count as count_from
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from coordinator.storage import migrate
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database, DatabaseClosed, TransactionMayNotWait
from coordinator.storage.postgresql import PostgresPlace, engine_of
from coordinator.storage.tables import metadata
from tests.empty_database import put_empty_database
from tests.newest_schema import content_of, migrated


@pytest.fixture
async def place(each_database: None, tmp_path: Path) -> Path | PostgresPlace:
    """With a table of our own: a counter."""
    place = put_empty_database(tmp_path)
    ask(place, "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
    ask(place, "INSERT INTO counter VALUES (1, 0)")
    return place


@pytest.fixture
async def database(place: Path | PostgresPlace) -> AsyncIterator[Database]:
    database = await Database.open(place)
    yield database
    await database.close()


def ask(place: Path | PostgresPlace, statement: str) -> Sequence[tuple[Any, ...]]:
    """By a connection beside it."""
    if isinstance(place, PostgresPlace):
        engine = engine_of(place)
    else:
        engine = sa.create_engine(f"sqlite:///{place}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        done = connection.exec_driver_sql(statement)
        found = [tuple(row) for row in done] if done.returns_rows else []
    engine.dispose()
    return found


async def count(connection: AsyncConnection) -> int:
    return int((await connection.execute(sa.text("SELECT n FROM counter"))).scalar_one())


async def increase(connection: AsyncConnection) -> int:
    """Read, let others run, write."""
    n = await count(connection)
    await asyncio.sleep(0)
    await connection.execute(sa.text("UPDATE counter SET n = :n"), {"n": n + 1})
    return n + 1


async def fail(connection: AsyncConnection) -> int:
    await increase(connection)
    await connection.execute(sa.text("INSERT INTO counter VALUES (1, 1)"))
    return 0


async def test_200_concurrent_read_modify_writes_count_200(database: Database) -> None:
    results = await asyncio.gather(*(database.write(increase) for _ in range(200)))
    assert sorted(results) == list(range(1, 201))
    assert await database.read(count) == 200


async def test_a_failing_write_hurts_no_neighbour_of_its_group_commit(database: Database) -> None:
    works = [fail if n % 3 == 0 else increase for n in range(60)]
    results = await asyncio.gather(*map(database.write, works), return_exceptions=True)
    for n, result in enumerate(results):
        assert isinstance(result, IntegrityError) == (n % 3 == 0), (n, result)
    assert await database.read(count) == 40


async def test_what_is_announced_is_committed(
    database: Database, place: Path | PostgresPlace
) -> None:
    seen = []

    def committed(n: int) -> None:
        seen.append((n, ask(place, "SELECT n FROM counter")[0][0]))

    await asyncio.gather(*(database.write(increase, committed=committed) for _ in range(5)))
    assert [n for n, _ in seen] == [1, 2, 3, 4, 5]
    assert all(stored >= n for n, stored in seen)


async def test_a_failed_write_is_not_announced(database: Database) -> None:
    announced: list[int] = []
    with pytest.raises(IntegrityError):
        await database.write(fail, committed=announced.append)
    assert announced == []


async def test_a_write_whose_caller_is_cancelled_is_committed_and_announced(
    database: Database,
) -> None:
    entered, go = threading.Event(), threading.Event()
    announced: list[int] = []

    async def slow(connection: AsyncConnection) -> int:
        entered.set()
        go.wait(60)
        return await increase(connection)

    running = asyncio.create_task(database.write(slow, committed=announced.append))
    assert await asyncio.to_thread(entered.wait, 60)
    queued = asyncio.create_task(database.write(increase, committed=announced.append))
    await asyncio.sleep(0)
    for caller in (running, queued):
        caller.cancel()
    await asyncio.wait([running, queued])
    assert running.cancelled()
    assert queued.cancelled()
    go.set()
    assert await database.write(count) == 2
    assert announced == [1, 2]


async def test_an_announcement_that_raises_stops_nobody_elses_writes(database: Database) -> None:
    def broken(_: int) -> None:
        raise ValueError("a listener's mistake")

    async with asyncio.timeout(60):
        assert await database.write(increase, committed=broken) == 1
        assert await database.write(increase) == 2


async def test_a_transaction_that_cannot_begin_is_reported_to_each_and_the_next_goes_on(
    tmp_path: Path,
) -> None:
    database = await Database.open(tmp_path / "pushrod.db", busy_timeout_ms=50)
    try:
        with closing(sqlite3.connect(tmp_path / "pushrod.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            writes = [asyncio.create_task(database.write(_nothing)) for _ in range(3)]
            async with asyncio.timeout(60):
                results = await asyncio.gather(*writes, return_exceptions=True)
            assert [type(result) for result in results] == [OperationalError] * 3
            other.rollback()
        async with asyncio.timeout(60):
            assert await database.write(_nothing) is None
    finally:
        await database.close()


async def _nothing(_: AsyncConnection) -> None:
    return None


async def test_a_reader_can_not_write(database: Database) -> None:
    with pytest.raises(DBAPIError, match=r"readonly|read-only"):
        await database.read(increase)
    assert await database.read(count) == 0


async def test_a_reader_sees_one_moment(database: Database) -> None:
    counted, go = threading.Event(), threading.Event()

    async def twice(connection: AsyncConnection) -> tuple[int, int]:
        first = await count(connection)
        counted.set()
        go.wait(60)
        return first, await count(connection)

    reading = asyncio.create_task(database.read(twice))
    assert await asyncio.to_thread(counted.wait, 60)
    await database.write(increase)
    go.set()
    assert await reading == (0, 0)


async def test_a_transaction_that_waits_for_something_else_is_refused(database: Database) -> None:
    never = asyncio.get_running_loop().create_future()

    async def waits(connection: AsyncConnection) -> None:
        await increase(connection)
        await never

    with pytest.raises(TransactionMayNotWait):
        await database.write(waits)
    assert await database.read(count) == 0


async def test_readers_whose_callers_give_up_leave_the_others_whole(database: Database) -> None:
    async def long(connection: AsyncConnection) -> int:
        rows = await connection.execute(
            sa.text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
                " SELECT count(*) FROM n"
            )
        )
        return int(rows.scalar_one())

    for _ in range(10):
        reads = [asyncio.create_task(database.read(long)) for _ in range(20)]
        await asyncio.sleep(0.005)
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(database.read(long) for _ in range(20))) == [20000] * 20


async def test_closing_finishes_what_is_queued_and_refuses_what_comes_later(
    database: Database, place: Path | PostgresPlace
) -> None:
    writes = [asyncio.create_task(database.write(increase)) for _ in range(100)]
    await asyncio.sleep(0)
    await database.close()
    assert [await write for write in writes] == list(range(1, 101))
    with pytest.raises(DatabaseClosed):
        await database.write(increase)
    with pytest.raises(DatabaseClosed):
        await database.read(count)
    assert ask(place, "SELECT n FROM counter") == [(100,)]


async def test_a_write_to_a_file_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    database = await Database.open(put_empty_database(tmp_path))

    async def pragmas(connection: AsyncConnection) -> tuple[str, int, int]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        found = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in names]
        return found[0], found[1], found[2]

    assert await database.write(pragmas) == ("wal", 2, 1)
    await database.close()


async def test_a_write_can_not_name_what_is_not_there(database: Database) -> None:
    async def orphan(connection: AsyncConnection) -> None:
        await connection.execute(
            sa.text("INSERT INTO memberships (user_id, account_id, role) VALUES ('u', 'a', 'x')")
        )

    with pytest.raises(IntegrityError):
        await database.write(orphan)


async def test_the_size_is_what_is_stored(database: Database) -> None:
    assert 100_000 < await database.size() < 100_000_000


# Migrations


def test_the_head_is_the_newest_version() -> None:
    folder = Path(migrate.__file__).parent / "migrations" / "versions"
    names = sorted(path.name for path in folder.glob("[0-9]*.py"))
    assert names
    assert names[-1].startswith(f"{migrate.HEAD}_")
    assert [name[:4] for name in names] == [f"{n:04}" for n in range(1, len(names) + 1)]


def test_the_migrated_schema_is_the_one_in_the_tables(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    path = tmp_path / "a % b.db"
    migrate.migrate(path)
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    with closing(sqlite3.connect(path)) as migrated, closing(sqlite3.connect(":memory:")) as made:
        engine = sa.create_engine("sqlite://", creator=lambda: made)
        metadata.create_all(engine)
        # What Alembic doesn't compare on SQLite: the conditions of partial indexes.
        assert _indexes(migrated) == _indexes(made)
        engine.dispose()


def _indexes(connection: sqlite3.Connection) -> set[str]:
    query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    return {" ".join(row[0].split()) for row in connection.execute(query)}


def test_a_second_migration_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pushrod.db"
    migrate.migrate(path)
    before = path.read_bytes()
    migrate.migrate(path)
    assert path.read_bytes() == before
    assert migrate.current_revision(path) == migrate.HEAD


KILLED_AT_STATEMENT = """
import os, pathlib, signal, sys
import sqlalchemy as sa
from coordinator.storage.migrate import migrate
left = int(sys.argv[2])

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def _die(*_):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

migrate(pathlib.Path(sys.argv[1]))
"""


@pytest.mark.parametrize("statements", [3, 12])
def test_a_kill_in_the_middle_of_the_first_migration_leaves_it_to_be_made(
    tmp_path: Path, statements: int
) -> None:
    path = tmp_path / "pushrod.db"
    command = [sys.executable, "-c", KILLED_AT_STATEMENT, str(path), str(statements)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not path.exists()
    assert (tmp_path / "pushrod.db.new").exists(), "the kill came before the first statement"
    migrate.migrate(path)
    assert migrate.current_revision(path) == migrate.HEAD
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM builds").fetchone() == (0,)


def versions() -> list[str]:
    folder = Path(migrate.__file__).parent / "migrations" / "versions"
    return sorted(path.name[:4] for path in folder.glob("[0-9]*.py"))


_OLD: dict[str, bytes] = {}
"""Empty databases of versions that this worker has made."""


def make_old(path: Path, version: str) -> None:
    """A database as the release of that version left it, with an account in it. It is made of the
    newest older one that there is, as releases have made theirs."""
    if older := max((known for known in _OLD if known <= version), default=None):
        path.write_bytes(_OLD[older])
    if older != version:
        migrate.upgrade(path, version)
        _OLD[version] = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO accounts VALUES ('a', 'acme', 'Acme', 0)")
        connection.commit()


@pytest.mark.parametrize("version", versions())
def test_a_database_of_every_version_is_brought_to_the_newest(tmp_path: Path, version: str) -> None:
    path = tmp_path / "pushrod.db"
    make_old(path, version)
    assert migrate.current_revision(path) == version
    migrate.migrate(path)
    assert migrate.current_revision(path) == migrate.HEAD
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT slug FROM accounts").fetchall() == [("acme",)]


KILLS = 64


@contextmanager
def before_each_statement(call: Callable[[int], None]) -> Iterator[None]:
    """Told how many there were."""
    numbers = count_from(0)

    def told(*_: object) -> None:
        call(next(numbers))

    sa.event.listen(sa.Engine, "before_cursor_execute", told)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", told)


def test_a_kill_in_the_middle_of_a_later_migration_changes_nothing(tmp_path: Path) -> None:
    """What a kill leaves are the files as they are when it comes; so they are copied then."""
    old, killed = tmp_path / "old.db", tmp_path / "killed"
    make_old(old, versions()[0])
    executed: list[int] = []
    whole = tmp_path / "whole.db"
    shutil.copy(old, whole)
    with before_each_statement(executed.append):
        migrate.migrate(whole)
    # An odd stride meets every kind of statement; all of them would take minutes.
    stride = len(executed) // KILLS | 1

    def leave(number: int) -> None:
        if number % stride == 0:
            left = killed / str(number)
            left.mkdir(parents=True)
            for file in migrating.parent.iterdir():
                shutil.copy(file, left)

    migrating = tmp_path / "migrating" / "pushrod.db"
    migrating.parent.mkdir()
    shutil.copy(old, migrating)
    with before_each_statement(leave):
        migrate.migrate(migrating)
    folders = list(killed.iterdir())
    assert len(folders) > KILLS // 2, "it was never killed"
    assert any(len(list(folder.iterdir())) > 1 for folder in folders), "nothing was half done"
    contents: set[tuple[bytes, ...]] = set()
    for folder in folders:
        content = tuple(file.read_bytes() for file in sorted(folder.iterdir()))
        path = folder / "pushrod.db"
        assert migrate.current_revision(path) in (versions()[0], migrate.HEAD)
        if content in contents:
            continue  # and so it is with this one as with the one before
        contents.add(content)
        migrate.migrate(path)
        assert migrate.current_revision(path) == migrate.HEAD
    assert old.read_bytes() in {content[0] for content in contents}


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "pushrod.db"
    path.write_text("somebody's letter, longer than the header of a database file " * 20)
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError):
        migrate.migrate(path)
    assert path.read_bytes() == before


def test_a_new_database_is_what_all_migrations_make(tmp_path: Path) -> None:
    path = tmp_path / "pushrod.db"
    migrate.migrate_apart(path)
    assert content_of(path) == migrated(), "`python -m tests.newest_schema` writes it anew"
    assert migrate.current_revision(path) == migrate.HEAD


def test_a_migration_apart_brings_an_old_database_to_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "pushrod.db"
    make_old(path, versions()[0])
    migrate.migrate_apart(path)
    assert migrate.current_revision(path) == migrate.HEAD


def test_a_migration_apart_says_what_is_wrong(tmp_path: Path) -> None:
    damaged = tmp_path / "folder.db"
    damaged.with_name("folder.db.new").mkdir()
    with pytest.raises(migrate.MigrationFailed, match=r"folder\.db can't be made: .*directory"):
        migrate.migrate_apart(damaged)
    assert not damaged.exists()
    changed = tmp_path / "changed.db"
    make_old(changed, versions()[0])
    with closing(sqlite3.connect(changed)) as connection:
        connection.execute("CREATE TABLE retention (mine TEXT)")
    with pytest.raises(migrate.MigrationFailed, match=r"changed\.db can't be brought up to date"):
        migrate.migrate_apart(changed)
    assert migrate.current_revision(changed) == versions()[0]
