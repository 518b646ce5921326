"""What is ended when its time is over: looked at when the first of it is due, and no sooner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from coordinator.services.core import Core
from coordinator.services.news import wait_for
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

LOOK_AT_LEAST_EVERY_SECONDS = 3600.0
"""The time of day may be set while this waits."""
LOOK_AT_MOST_EVERY_SECONDS = 1.0
"""However much begins to wait."""

NextAt = Callable[[], Awaitable[datetime | None]]
"""When the first is due; None while nothing waits."""
EndThose = Callable[[datetime], Awaitable[datetime | None]]
"""End what is due by then, some at a time; when the next is due."""


class TimedRounds:
    def __init__(self, core: Core, what: str, next_at: NextAt, end: EndThose) -> None:
        """`what` is for the log."""
        self._core, self._what, self._next_at, self._end = core, what, next_at, end
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """Something began to wait: it may be the first whose time is over."""
        self._moved.set()

    async def run(self) -> None:
        while True:
            self._moved.clear()
            seconds = LOOK_AT_MOST_EVERY_SECONDS
            try:
                seconds = await self._look()
            except Exception as error:  # a task root: tried again a second later
                tell_fault(log, "looking for what takes too long failed", error, what=self._what)
            if await wait_for(self._moved, seconds):
                await asyncio.sleep(LOOK_AT_MOST_EVERY_SECONDS)

    async def _look(self) -> float:
        """How long there is nothing to do."""
        now = self._core.now()
        next_at = await self._next_at()
        if next_at is not None and next_at <= now:
            next_at = await self._end(now)
        if next_at is None:
            return LOOK_AT_LEAST_EVERY_SECONDS
        return min((next_at - self._core.now()).total_seconds(), LOOK_AT_LEAST_EVERY_SECONDS)
