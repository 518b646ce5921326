"""Tails of logs in a database of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from coordinator.objects.log_tails import DatabaseLogTails
from coordinator.storage.database import Database
from tests.empty_database import put_empty_database


@asynccontextmanager
async def open_tails(folder: Path) -> AsyncIterator[DatabaseLogTails]:
    database = await Database.open(put_empty_database(folder))
    try:
        yield DatabaseLogTails(database)
    finally:
        await database.close()
