"""The database: one writer with group commit on SQLite, a pool of readers beside it.

Neither SQLAlchemy nor aiosqlite begins a transaction before a SELECT on Python 3.11, so a
read-modify-write would lose updates: every transaction here begins explicitly, the writer's with
BEGIN IMMEDIATE. Writes queue up and those that wait together are committed together, each in a
savepoint of its own, because a durable commit costs more than twenty statements.

A transaction is one visit to a thread, not one for each statement: there the driver is called
directly, so that the coroutine of a `Work` runs to its end without ever being suspended. That costs
half of what aiosqlite does. A work therefore awaits nothing but its connection, and runs in
another thread than the event loop's: it changes nothing but the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
import structlog

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import DirectStatements, is_direct
from coordinator.storage.trouble import trouble_of

log = structlog.get_logger()

T = TypeVar("T")
Work = Callable[[AsyncConnection], Coroutine[Any, Any, T]]

Used = Callable[[str, float], None]
GROUP_COMMIT_MAX = 64
BUSY_TIMEOUT_MS = 15_000
READERS = 4


@dataclass(slots=True)
class _Write(Generic[T]):
    work: Work[T]
    committed: Callable[[T], None] | None
    done: asyncio.Future[T]


_Outcome = tuple[_Write[Any], Any, list[Callable[[], None]]]


def _nobody_counts(kind: str, seconds: float) -> None: ...


class DatabaseClosed(Exception):
    """The database was closed before this write could run."""


class TransactionMayNotWait(RuntimeError):
    """A transaction awaits its database and nothing else: others wait for it to end."""


class Database:
    """`write` runs in the order of the calls; `read` sees all that was committed before it."""

    def __init__(self, writer: sa.Engine, reader: sa.Engine, used: Used = _nobody_counts) -> None:
        """`used` is told of each read and commit, and how many seconds it took."""
        self._used = used
        self._writer_engine, self._reader_engine = writer, reader
        self._statements = DirectStatements(writer.dialect)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._queue: asyncio.Queue[_Write[Any] | None] = asyncio.Queue(maxsize=10_000)
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(
        cls, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, used: Used | None = None
    ) -> Database:
        """Open the SQLite file, made anew or migrated where needed.

        A write waits up to `busy_timeout_ms` for another process that writes to the file.
        Raises DatabaseUnusable.
        """
        from coordinator.storage.migrate import migrate_apart

        path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(migrate_apart, path)
        await asyncio.to_thread(_keep_to_ourselves, path)
        engines = [_sqlite(path, only, busy_timeout_ms) for only in (False, True)]
        database = cls(engines[0], engines[1], used or _nobody_counts)
        database._start()
        return database

    def _start(self) -> None:
        self._task = asyncio.create_task(self._write_forever(), name="database writer")

    async def close(self) -> None:
        """Finish the queued writes, then close."""
        if self._closed:
            return
        self._closed = True
        await self._queue.put(None)
        if self._task is not None:
            await self._task
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        for engine in (self._writer_engine, self._reader_engine):
            engine.dispose()

    async def read(self, work: Work[T]) -> T:
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        try:
            return await loop.run_in_executor(self._readers, self._read, work)
        finally:
            self._used("read", time.perf_counter() - began)

    def _read(self, work: Work[T]) -> T:
        with self._reader_engine.connect() as connection, connection.begin():
            return _run(work(_direct(connection, self._statements)))

    async def write(self, work: Work[T], *, committed: Callable[[T], None] | None = None) -> T:
        """Run `work` in a transaction; `committed(result)` is called once it is durable.

        The write goes on, and `committed` is called, even if the caller is cancelled meanwhile.
        """
        if self._closed:
            raise DatabaseClosed
        item = _Write(work, committed, asyncio.get_running_loop().create_future())
        await self._queue.put(item)
        result: T = await item.done
        return result

    async def note(self, work: Work[None]) -> None:
        """Write what nobody is to be refused for: left out where the machine is in trouble, as
        when its disk is full."""
        try:
            await self.write(work)
        except Exception as error:
            if trouble_of(error) is None:
                raise

    async def _write_forever(self) -> None:
        while (first := await self._queue.get()) is not None:
            batch, last = [first], False
            while len(batch) < GROUP_COMMIT_MAX and not self._queue.empty():
                item = self._queue.get_nowait()
                if item is None:
                    last = True
                    break
                batch.append(item)
            await self._commit(batch)
            if last:
                return

    async def _commit(self, batch: list[_Write[Any]]) -> None:
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        outcomes, failed = await loop.run_in_executor(
            self._writer, _transaction, self._writer_engine, self._statements, batch
        )
        self._used("commit", time.perf_counter() - began)
        for item, result, announced in outcomes:
            if item.committed is not None:
                _tell(partial(item.committed, result))
            for tell in announced:
                _tell(tell)
            if not item.done.done():
                item.done.set_result(result)
        for item, error in failed:
            if not item.done.done():
                item.done.set_exception(error)


def _tell(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception:  # a task root: the writer outlives a listener's mistake
        log.exception("announcing a write failed")


def after_commit(connection: AsyncConnection, tell: Callable[[], None]) -> None:
    """Have it called on the event loop once the transaction of `write` is durable, after the
    write's own `committed`; never if the work fails."""
    cast("_DirectConnection", connection).announced.append(tell)


def _keep_to_ourselves(path: Path) -> None:
    """A folder that is copied or moved may be open to others; what SQLite adds is like the file."""
    for file in (path, *path.parent.glob(f"{path.name}-*")):
        with suppress(FileNotFoundError):
            file.chmod(0o600)


def _transaction(
    engine: sa.Engine, statements: DirectStatements, batch: list[_Write[Any]]
) -> tuple[list[_Outcome], list[tuple[_Write[Any], Exception]]]:
    """What was committed, each with its result and what is to be told, and what was not, each with
    its reason."""
    outcomes: list[_Outcome] = []
    failed: list[tuple[_Write[Any], Exception]] = []
    try:
        with engine.connect() as connection, connection.begin():
            for item in batch:
                try:
                    # A write alone needs no savepoint: what undoes it undoes the transaction.
                    with connection.begin_nested() if len(batch) > 1 else nullcontext():
                        seen = _DirectConnection(connection, statements)
                        result = _run(item.work(cast("AsyncConnection", seen)))
                    outcomes.append((item, result, seen.announced))
                except Exception as refusal:  # handed to the caller of write
                    if len(batch) == 1:
                        raise
                    failed.append((item, refusal))
            if not outcomes:
                connection.rollback()
    except Exception as broken:  # a write alone, begin or commit failed: nothing is durable
        return [], [(item, broken) for item in batch]
    return outcomes, failed


def _run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that awaits nothing but a connection of ours. Blocking."""
    try:
        while True:
            if work.send(None) is not None:
                work.close()
                raise TransactionMayNotWait
    except StopIteration as end:
        result: T = end.value
        return result


class _DirectConnection:
    """What a work sees: written as for an asynchronous driver, but never suspended."""

    def __init__(self, connection: sa.Connection, statements: DirectStatements) -> None:
        self._direct = connection
        self._statements = statements
        self.announced: list[Callable[[], None]] = []

    async def execute(
        self, statement: Any, parameters: Any = None, **options: Any
    ) -> sa.CursorResult[Any]:
        if is_direct(statement):
            found: sa.CursorResult[Any] = self._statements.run(self._direct, statement, parameters)
            return found
        return self._direct.execute(statement, parameters, **options)

    async def exec_driver_sql(
        self, statement: str, parameters: Any = None, execution_options: Any = None
    ) -> sa.CursorResult[Any]:
        return self._direct.exec_driver_sql(statement, parameters, execution_options)


def _direct(connection: sa.Connection, statements: DirectStatements) -> AsyncConnection:
    """It has what works call of an AsyncConnection; being one would load what makes real ones."""
    return cast("AsyncConnection", _DirectConnection(connection, statements))


def _sqlite(path: Path, read_only: bool, busy_timeout_ms: int) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"isolation_level": None, "check_same_thread": False},
        poolclass=sa.QueuePool,
        pool_size=READERS if read_only else 1,
        max_overflow=0,
    )

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
