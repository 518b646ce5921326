"""A counter in a table of our own, and writes of it while something happens to the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.postgresql import PostgresPlace, engine_of
from tests.postgres_server import OWNER, PASSWORD

WAIT_MS = 20_000
END_ALL = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{OWNER}'"


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


@contextmanager
def password_file(folder: Path, password: str = PASSWORD) -> Iterator[Path]:
    file = folder / "password"
    file.write_text(password + "\n")
    yield file
