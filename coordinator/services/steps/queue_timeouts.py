"""A step that no agent takes for too long fails, and says what it waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from coordinator.domain.lifecycle import StepEvent
from coordinator.domain.steps.scheduling import WaitingAgent
from coordinator.domain.steps.waits import not_taken
from coordinator.services.core import Core
from coordinator.services.news import build_topic, wait_for
from coordinator.services.steps import advance
from coordinator.services.steps.presence import Presence
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import queue as stored_queue
from coordinator.storage.steps import steps as stored_steps

log = structlog.get_logger()

LOOK_AT_LEAST_EVERY_SECONDS = 3600.0
"""The time of day may be set while this waits."""
LOOK_AT_MOST_EVERY_SECONDS = 1.0
"""However much becomes ready."""
AT_ONCE = 200
"""Steps that end in one transaction."""


@dataclass(frozen=True, slots=True)
class _Round:
    ended: Sequence[str]
    """The builds whose steps ended."""
    next_at: datetime | None


class QueueTimeouts:
    def __init__(self, core: Core, presence: Presence, wake: Callable[[], None]) -> None:
        self._core, self._presence, self._wake = core, presence, wake
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """Something became ready: it may be the first to wait too long."""
        self._moved.set()

    async def run(self) -> None:
        while True:
            self._moved.clear()
            seconds = LOOK_AT_MOST_EVERY_SECONDS
            try:
                seconds = await self._look()
            except Exception:  # a task root: tried again a second later
                log.exception("looking for steps that wait too long failed")
            if await wait_for(self._moved, seconds):
                await asyncio.sleep(LOOK_AT_MOST_EVERY_SECONDS)

    async def _look(self) -> float:
        """How long there is nothing to do."""
        now = self._core.now()
        next_at = await self._core.database.read(stored_queue.first_queue_end)
        if next_at is not None and next_at <= now:
            online = self._presence.online()
            done = await self._core.database.write(
                lambda connection: self._end(connection, now, online), committed=self._ended
            )
            next_at = done.next_at
        if next_at is None:
            return LOOK_AT_LEAST_EVERY_SECONDS
        return min((next_at - self._core.now()).total_seconds(), LOOK_AT_LEAST_EVERY_SECONDS)

    async def _end(
        self, connection: AsyncConnection, now: datetime, online: Sequence[WaitingAgent]
    ) -> _Round:
        settings = self._core.settings
        builds: dict[str, None] = {}
        for step in await stored_steps.steps_waiting_since(connection, now, AT_ONCE):
            waited = advance.queue_seconds(self._core, step)
            reason = not_taken(step, waited, online, settings.project_max_running_steps)
            await advance.move_step(self._core, connection, step, StepEvent.GIVE_UP, reason=reason)
            builds[step.build_id] = None
        for build_id in builds:
            await advance.settle_build(self._core, connection, build_id)
        next_at = await stored_queue.first_queue_end(connection)
        return _Round(list(builds), next_at)

    def _ended(self, done: _Round) -> None:
        for build_id in done.ended:
            self._core.news.publish(build_topic(build_id))
        if done.ended:
            log.warning("steps waited too long for an agent", builds=len(done.ended))
            self._wake()
