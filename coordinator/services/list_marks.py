"""Marks of long lists, kept so that a page in the middle of one is found as fast as its first."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

import structlog

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.long_lists import LONG, LongList, long_lists
from coordinator.storage.marks import STEP, Marks, further
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

EVERY_SECONDS = 30.0
"""What was deleted meanwhile makes pages slow until then."""
SELDOM_SECONDS = 600.0
"""While no list is long."""


@dataclass(slots=True)
class ListMarks:
    known: dict[Hashable, Marks] = field(default_factory=dict)

    async def run(self, database: Database) -> None:
        """For ever."""
        while True:
            try:
                await self.look(database)
            except Exception as error:
                tell_fault(log, "marks of lists were not made", error)
            await asyncio.sleep(EVERY_SECONDS if self.known else SELDOM_SECONDS)

    async def look(self, database: Database, *, least: int = LONG, step: int = STEP) -> None:
        """Make those that are missing, and anew those that don't hold any more."""
        lists = await database.read(lambda connection: long_lists(connection, least))
        for gone in self.known.keys() - {one.pages.key for one in lists}:
            del self.known[gone]
        loop = asyncio.get_running_loop()
        for one in lists:
            began = loop.time()
            await self._further(database, one, step)
            # As long as that took, the database is left to others.
            await asyncio.sleep(loop.time() - began)

    async def _further(self, database: Database, one: LongList, step: int) -> None:
        before = self.known.get(one.pages.key, Marks(step=step))

        async def look(connection: AsyncConnection) -> Marks:
            return await further(connection, one.pages, before, await one.total(connection), step)

        self.known[one.pages.key] = await database.read(look)
