"""The database: one writer with group commit on SQLite, a pool of readers beside it.

Neither SQLAlchemy nor aiosqlite begins a transaction before a SELECT on Python 3.11, so a
read-modify-write would lose updates: every transaction here begins explicitly, the writer's with
BEGIN IMMEDIATE. Writes queue up and those that wait together are committed together, each in a
savepoint of its own, because a durable commit costs more than twenty statements.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

log = structlog.get_logger()

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

GROUP_COMMIT_MAX = 64
BUSY_TIMEOUT_MS = 15_000


@dataclass(slots=True)
class _Write(Generic[T]):
    work: Work[T]
    committed: Callable[[T], None] | None
    done: asyncio.Future[T]


class DatabaseClosed(Exception):
    """The database was closed before this write could run."""


class Database:
    """`write` runs in the order of the calls; `read` sees all that was committed before it."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine) -> None:
        self._writer_engine, self._reader_engine = writer, reader
        self._queue: asyncio.Queue[_Write[Any] | None] = asyncio.Queue(maxsize=10_000)
        self._exits = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Database:
        """Open the SQLite file, made anew or migrated where needed.

        A write waits up to `busy_timeout_ms` for another process that writes to the file.
        """
        from coordinator.storage.migrate import migrate

        path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(migrate, path)
        engines = [_sqlite(path, only, busy_timeout_ms) for only in (False, True)]
        database = cls(*engines)
        await database._start()
        return database

    async def _start(self) -> None:
        connection = await self._exits.enter_async_context(self._writer_engine.connect())
        self._task = asyncio.create_task(self._write_forever(connection), name="database writer")

    async def close(self) -> None:
        """Finish the queued writes, then close."""
        if self._closed:
            return
        self._closed = True
        await self._queue.put(None)
        if self._task is not None:
            await self._task
        await self._exits.aclose()
        await self._writer_engine.dispose()
        await self._reader_engine.dispose()

    async def read(self, work: Work[T]) -> T:
        async with self._reader_engine.connect() as connection, connection.begin():
            return await work(connection)

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

    async def _write_forever(self, connection: AsyncConnection) -> None:
        while (first := await self._queue.get()) is not None:
            batch, last = [first], False
            while len(batch) < GROUP_COMMIT_MAX and not self._queue.empty():
                item = self._queue.get_nowait()
                if item is None:
                    last = True
                    break
                batch.append(item)
            await self._commit(connection, batch)
            if last:
                return

    async def _commit(self, connection: AsyncConnection, batch: list[_Write[Any]]) -> None:
        outcomes: list[tuple[_Write[Any], Any]] = []
        failed: list[tuple[_Write[Any], Exception]] = []
        try:
            async with connection.begin():
                for item in batch:
                    try:
                        async with connection.begin_nested():
                            result = await item.work(connection)
                        outcomes.append((item, result))
                    except Exception as refusal:  # handed to the caller of write
                        failed.append((item, refusal))
        except Exception as broken:  # begin or commit failed: nothing of the batch is durable
            failed, outcomes = [(item, broken) for item in batch], []
        for item, result in outcomes:
            if item.committed is not None:
                try:
                    item.committed(result)
                except Exception:  # a task root: the writer outlives a listener's mistake
                    log.exception("announcing a write failed")
            if not item.done.done():
                item.done.set_result(result)
        for item, error in failed:
            if not item.done.done():
                item.done.set_exception(error)


def _sqlite(path: Path, read_only: bool, busy_timeout_ms: int) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        connect_args={"isolation_level": None},
        pool_size=4 if read_only else 1,
        max_overflow=4 if read_only else 0,
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
