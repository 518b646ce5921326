"""A step that no agent takes for too long fails, and says what it waited for; one whose delay
between two attempts is over is queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from coordinator.domain.lifecycle import StepEvent, StepState
from coordinator.domain.model import Step
from coordinator.domain.steps.scheduling import WaitingAgent
from coordinator.domain.steps.waits import not_taken
from coordinator.services.core import Core
from coordinator.services.news import build_topic
from coordinator.services.steps import advance
from coordinator.services.steps.presence import Presence
from coordinator.services.steps.timed_rounds import TimedRounds
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import queue as stored_queue
from coordinator.storage.steps import steps as stored_steps

log = structlog.get_logger()

AT_ONCE = 200
"""Steps that are moved in one transaction."""


@dataclass(frozen=True, slots=True)
class _Round:
    ended: Sequence[str]
    """The builds with steps that ended."""
    next_at: datetime | None


class QueueTimeouts:
    def __init__(self, core: Core, presence: Presence, wake: Callable[[], None]) -> None:
        self._core, self._presence, self._wake = core, presence, wake
        rounds = TimedRounds(core, "steps in the queue", self._next_at, self._end_those)
        self.moved, self.run = rounds.moved, rounds.run

    async def _next_at(self) -> datetime | None:
        return await self._core.database.read(stored_queue.first_queue_end)

    async def _end_those(self, now: datetime) -> datetime | None:
        online = self._presence.online()
        done = await self._core.database.write(
            lambda connection: self._end(connection, now, online), committed=self._ended
        )
        return done.next_at

    async def _end(
        self, connection: AsyncConnection, now: datetime, online: Sequence[WaitingAgent]
    ) -> _Round:
        settings = self._core.settings
        given_up: dict[str, list[Step]] = {}
        for step in await stored_steps.steps_waiting_since(connection, now, AT_ONCE):
            if step.state is StepState.DELAYED:
                await advance.try_again(self._core, connection, step)
                continue
            waited = advance.queue_seconds(self._core, step)
            asks = step.state is StepState.WAITING
            build = await stored_builds.find_build(connection, step.build_id) if asks else None
            reason = not_taken(step, waited, online, settings.project_max_running_steps, build)
            moved = await advance.move_step(
                self._core, connection, step, StepEvent.GIVE_UP, reason=reason
            )
            given_up.setdefault(step.build_id, []).append(moved)
        for build_id, steps in given_up.items():
            for step in steps:
                if not step.written.allow_failure:
                    await advance.failed_fast(self._core, connection, step)
            await advance.settle_build(self._core, connection, build_id)
        next_at = await stored_queue.first_queue_end(connection)
        return _Round(list(given_up), next_at)

    def _ended(self, done: _Round) -> None:
        for build_id in done.ended:
            self._core.news.publish(build_topic(build_id))
        if done.ended:
            log.warning("steps waited too long for an agent", builds=len(done.ended))
            self._wake()
