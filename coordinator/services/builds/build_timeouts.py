"""A build that takes longer than its workflow's `timeout` is ended, and fails."""

from __future__ import annotations

from datetime import datetime

from coordinator.domain.model import Build
from coordinator.domain.steps.waits import duration
from coordinator.services.builds.cancels import cancel_build
from coordinator.services.core import Core
from coordinator.services.steps.timed_rounds import TimedRounds
from coordinator.storage.builds import groups
from coordinator.storage.connection import AsyncConnection

AT_ONCE = 50
"""Builds that end in one transaction."""


class BuildTimeouts:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._rounds = TimedRounds(core, "builds", self._next_at, self._end_those)
        core.announcements.begun = self._rounds.moved

    async def run(self) -> None:
        await self._rounds.run()

    async def _next_at(self) -> datetime | None:
        return await self._core.database.read(groups.first_deadline)

    async def _end_those(self, now: datetime) -> datetime | None:
        async def end(connection: AsyncConnection) -> datetime | None:
            for build in await groups.past_deadline(connection, now, AT_ONCE):
                await self._end(connection, build)
                await groups.forget_deadline(connection, build.id)
            return await groups.first_deadline(connection)

        return await self._core.database.write(end)

    async def _end(self, connection: AsyncConnection, build: Build) -> None:
        """One that is being cancelled already stays so: only what cleans up is ended, too."""
        took = duration(build.timeout_seconds or 0)
        reason = f"timeout: the build took longer than {took}"
        cancelled = build.reason is not None
        await cancel_build(
            self._core,
            connection,
            build.id,
            by="the build's timeout",
            reason=build.reason or reason,
            again=cancelled,
            fails_as=None if cancelled else reason,
        )
