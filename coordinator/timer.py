"""Background work at set times, by APScheduler.

A job never runs beside itself; runs that were missed (the machine slept) are made up for once. What
a job raises is logged, and its next run comes all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

Work = Callable[[], Awaitable[Any]]


class Timer:
    """Name the jobs, then `run`."""

    def __init__(self) -> None:
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(job_defaults=defaults)
        self._running: set[asyncio.Task[None]] = set()

    def every(self, seconds: float, name: str, work: Work) -> None:
        """At the start too."""
        trigger = IntervalTrigger(seconds=seconds, timezone=UTC)
        self._add(trigger, name, work, next_run_time=datetime.now(UTC))

    def daily(self, hour: int, name: str, work: Work) -> None:
        """At that hour of the machine's local time, give or take ten minutes."""
        self._add(CronTrigger(hour=hour, jitter=600), name, work)

    def _add(self, trigger: BaseTrigger, name: str, work: Work, **options: Any) -> None:
        async def job() -> None:
            task = asyncio.create_task(_logged(name, work), name=name)
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            await asyncio.wait({task})

        self._scheduler.add_job(job, trigger, id=name, **options)

    async def run(self) -> None:
        """Until cancelled; what is running then is cancelled and waited for."""
        self._scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._scheduler.pause()
            running = list(self._running)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            # Its jobs end with them: one that shutdown has to cancel is told as an error.
            await asyncio.sleep(0)
            self._scheduler.shutdown(wait=False)


async def _logged(name: str, work: Work) -> None:
    try:
        await work()
    except Exception as error:  # a task root: the job's next run comes all the same
        tell_fault(log, "timed work failed", error, work=name)
