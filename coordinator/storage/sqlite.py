"""SQLite: a file, one writer, and a pool of readers beside it.

Neither SQLAlchemy nor aiosqlite begins a transaction before a SELECT on Python 3.11, so a
read-modify-write would lose updates: every transaction here begins explicitly, the writer's with
BEGIN IMMEDIATE.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from coordinator.storage.direct_statements import DirectStatements
from coordinator.storage.transactions import Outcome, T, Work, Write, direct, run, run_each

_STATEMENTS = DirectStatements()


class SQLiteTransactions:
    is_shared = False

    def __init__(self, path: Path, *, busy_timeout_ms: int, readers: int) -> None:
        """`path` has a database of this version's schema."""
        _keep_to_ourselves(path)
        self._path = path
        self._writer = _engine(path, busy_timeout_ms, readers=None)
        self._reader = _engine(path, busy_timeout_ms, readers=readers)

    def read(self, work: Work[T]) -> T:
        with self._reader.connect() as connection, connection.begin():
            return run(work(direct(connection, _STATEMENTS)))

    def write(self, writes: Sequence[Write[Any]]) -> Sequence[Outcome]:
        try:
            with self._writer.connect() as connection, connection.begin():
                outcomes = run_each(connection, writes, _STATEMENTS)
                if all(outcome.error for outcome in outcomes):
                    connection.rollback()
        except Exception as broken:  # a write alone, begin or commit failed: nothing is durable
            return [Outcome(write=write, error=broken) for write in writes]
        return outcomes

    def size(self) -> int:
        files = [path for path in self._path.parent.glob(f"{self._path.name}*") if path.is_file()]
        return sum(path.stat().st_size for path in files)

    def stop_waiting(self) -> None: ...

    def close(self) -> None:
        for engine in (self._writer, self._reader):
            engine.dispose()


def _keep_to_ourselves(path: Path) -> None:
    """A folder that is copied or moved may be open to others; what SQLite adds is like the file."""
    for file in (path, *path.parent.glob(f"{path.name}-*")):
        with suppress(FileNotFoundError):
            file.chmod(0o600)


def _engine(path: Path, busy_timeout_ms: int, readers: int | None) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"isolation_level": None, "check_same_thread": False},
        poolclass=sa.QueuePool,
        pool_size=readers or 1,
        max_overflow=0,
    )

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if readers:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if readers else "BEGIN IMMEDIATE")

    return engine
