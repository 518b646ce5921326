"""The database: a queue of writes that one thread commits in groups, and readers beside it.

Writes that wait together are committed together, each in a savepoint of its own, because a durable
commit costs more than twenty statements.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from coordinator.storage.postgres_transactions import (
    PostgresBeside,
    PostgresTransactions,
    TakenOver,
)
from coordinator.storage.postgresql import PostgresPlace, cannot_use
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.sqlite import SQLiteTransactions
from coordinator.storage.transactions import (
    NotIsolated,
    Outcome,
    T,
    TransactionMayNotWait,
    Transactions,
    Work,
    Write,
    after_commit,
    isolate,
    locks_rows,
)
from coordinator.storage.trouble import trouble_of

__all__ = [
    "Database",
    "DatabaseClosed",
    "NotIsolated",
    "TransactionMayNotWait",
    "Work",
    "after_commit",
    "isolate",
    "locks_rows",
]

log = structlog.get_logger()

Used = Callable[[str, float], None]
GROUP_COMMIT_MAX = 64
BUSY_TIMEOUT_MS = 15_000
READERS = 4


def _nobody_counts(kind: str, seconds: float) -> None: ...


class DatabaseClosed(Exception):
    """The database was closed before this could run."""


class Database:
    """`write` runs in the order of the calls; `read` sees all that was committed before it."""

    def __init__(self, transactions: Transactions, used: Used = _nobody_counts) -> None:
        """`used` is told of each read and commit, and how many seconds it took."""
        self._used = used
        self._transactions = transactions
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._queue: asyncio.Queue[Write[Any] | None] = asyncio.Queue(maxsize=10_000)
        self._task: asyncio.Task[None] | None = None
        self._closed = self._readers_ended = False
        self.taken_over: asyncio.Future[TakenOver] = asyncio.get_running_loop().create_future()
        """Another coordinator writes now: this one must end."""

    @classmethod
    async def open(
        cls,
        place: Path | PostgresPlace,
        *,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        used: Used | None = None,
    ) -> Database:
        """Open the SQLite file or the PostgreSQL database, made anew or migrated where needed.

        A write waits up to `busy_timeout_ms` for another process that has the file locked, or for
        a PostgreSQL that does not answer. Raises DatabaseUnusable.
        """
        transactions = await asyncio.to_thread(_open, place, busy_timeout_ms)
        database = cls(transactions, used or _nobody_counts)
        database._start()
        return database

    @classmethod
    async def open_beside(cls, place: PostgresPlace, *, wait_seconds: float) -> Database:
        """Open that of another coordinator, which leads. Raises DatabaseUnusable, also where it is
        of another version."""
        database = cls(await asyncio.to_thread(_open_beside, place, wait_seconds))
        database._start()
        return database

    def _start(self) -> None:
        self._task = asyncio.create_task(self._write_forever(), name="database writer")

    async def close(self) -> None:
        """Finish the queued writes, then close."""
        if self._closed:
            return
        self._closed = True
        self._transactions.stop_waiting()
        await self._queue.put(None)
        if self._task is not None:
            await self._task
        self._readers_ended = True
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self._transactions.close()

    async def size(self) -> int:
        """Of all that is stored, in bytes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._transactions.size)

    async def read(self, work: Work[T]) -> T:
        """Raises DatabaseClosed."""
        if self._readers_ended:
            raise DatabaseClosed
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        try:
            return await loop.run_in_executor(self._readers, self._transactions.read, work)
        finally:
            self._used("read", time.perf_counter() - began)

    @property
    def is_shared(self) -> bool:
        """Whether other coordinators may write beside this one."""
        return self._transactions.is_shared

    async def write(
        self,
        work: Work[T],
        *,
        committed: Callable[[T], None] | None = None,
        locking: bool = False,
    ) -> T:
        """Run `work` in a transaction; `committed(result)` is called once it is durable.

        The write goes on, and `committed` is called, even if the caller is cancelled meanwhile. It
        runs as if nobody else wrote. One that is `locking` does so by what it locks, where others
        may write beside it (see `locks_rows`), and is not run again for their sake: it raises
        NotIsolated where that is not enough and another coordinator leads.
        """
        if self._closed:
            raise DatabaseClosed
        done = asyncio.get_running_loop().create_future()
        item = Write(work, committed, done, locks_rows=locking and self.is_shared)
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
        following: Write[Any] | None = None
        while (first := following or await self._queue.get()) is not None:
            batch, following, last = [first], None, False
            # One that locks rows is alone: two groups of them would wait for each other's.
            while len(batch) < GROUP_COMMIT_MAX and not (first.locks_rows or self._queue.empty()):
                item = self._queue.get_nowait()
                if item is None:
                    last = True
                    break
                if item.locks_rows:
                    following = item
                    break
                batch.append(item)
            await self._commit(batch)
            if last:
                return

    async def _commit(self, batch: list[Write[Any]]) -> None:
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        outcomes = await loop.run_in_executor(self._writer, self._transactions.write, batch)
        self._used("commit", time.perf_counter() - began)
        for outcome in outcomes:
            if outcome.error is None:
                _settle(outcome)
        for outcome in outcomes:
            if isinstance(outcome.error, TakenOver) and not self.taken_over.done():
                self.taken_over.set_result(outcome.error)
            if outcome.error is not None and not outcome.write.done.done():
                outcome.write.done.set_exception(outcome.error)


def _open(place: Path | PostgresPlace, wait_ms: int) -> Transactions:
    """Blocking. Raises DatabaseUnusable."""
    from coordinator.storage.migrate import migrate_apart
    from coordinator.storage.whole_tables import refuse_unfinished

    if isinstance(place, PostgresPlace):
        transactions = PostgresTransactions(place, wait_seconds=wait_ms / 1000, readers=READERS)
        try:
            transactions.take()
            refuse_unfinished(place)
            migrate_apart(place)
            transactions.begin()
        except DBAPIError as error:
            transactions.close()
            raise cannot_use(place, error) from error
        except BaseException:
            transactions.close()
            raise
        return transactions
    place.parent.mkdir(parents=True, exist_ok=True)
    migrate_apart(place)
    return SQLiteTransactions(place, busy_timeout_ms=wait_ms, readers=READERS)


def _open_beside(place: PostgresPlace, wait_seconds: float) -> Transactions:
    """Blocking. Raises DatabaseUnusable."""
    from coordinator.storage.migrate import HEAD, current_revision

    revision = current_revision(place)
    if revision != HEAD:
        raise DatabaseUnusable(f"{place} is of another version: its schema is {revision}")
    return PostgresBeside(place, wait_seconds=wait_seconds, readers=READERS)


def _settle(outcome: Outcome) -> None:
    write = outcome.write
    if write.committed is not None:
        _tell(partial(write.committed, outcome.result))
    for tell in outcome.announced:
        _tell(tell)
    if not write.done.done():
        write.done.set_result(outcome.result)


def _tell(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception:  # a task root: the writer outlives a listener's mistake
        log.exception("announcing a write failed")
