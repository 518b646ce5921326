"""Builds at set times.

A schedule's time is answered for by the transaction that moves it on: that one saves the build, or
leaves it out. Of several coordinators that look at once, one finds the time as it read it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from coordinator.domain.model import Build, Project
from coordinator.domain.pushes.schedule import Schedule
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.drafts import Draft, Origin
from coordinator.services.pushes.unasked_builds import save_unasked, unasked_draft
from coordinator.services.steps.timed_rounds import TimedRounds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.pushes import schedules as stored
from coordinator.storage.trouble import tell_fault
from pipelines_schema import next_firing

log = structlog.get_logger()

MADE_UP_FOR = timedelta(hours=24)
"""A time that passed unnoticed, as the coordinator was down, is still built for so long."""
LOOK_AT_LEAST_EVERY = timedelta(minutes=1)
"""Another coordinator may have read schedules."""
TRY_AGAIN_AFTER = timedelta(seconds=15)
"""What a fault of ours, or of the database, has kept from being built."""
MAX_DUE = 500
"""Looked at in one round."""
AT_ONCE = 4
"""Being built at the same time: a forge may take long to answer."""
EVENT = "schedule"


class Schedules:
    def __init__(self, builds: Builds) -> None:
        self._builds, self._core = builds, builds.core
        self._rounds = TimedRounds(self._core, "schedules", self._next_at, self.build_due)
        self._core.announcements.scheduled = self._rounds.moved

    async def run(self) -> None:
        await self._rounds.run()

    async def _next_at(self) -> datetime:
        """When to look next."""
        latest = self._core.now() + LOOK_AT_LEAST_EVERY
        first = await self._core.database.read(stored.first_time)
        return latest if first is None else min(first, latest)

    async def build_due(self, now: datetime) -> datetime:
        """Build what is due by then; when to look next."""
        due = await self._core.database.read(
            lambda connection: stored.due(connection, now, MAX_DUE)
        )
        slots = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            done = [tasks.create_task(self._answered_for(one, now, slots)) for one in due]
        if all(task.result() for task in done):
            return await self._next_at()
        return self._core.now() + TRY_AGAIN_AFTER

    async def _answered_for(
        self, schedule: Schedule, now: datetime, slots: asyncio.Semaphore
    ) -> bool:
        async with slots:
            try:
                await self._build(schedule, now)
            except Exception as error:  # a task root: the other schedules are built all the same
                tell_fault(log, "building a schedule failed", error, **_named(schedule))
                return False
        return True

    async def _build(self, schedule: Schedule, now: datetime) -> None:
        written = schedule.definition
        following = next_firing(written.cron, written.timezone, now)
        project = await self._core.database.read(
            lambda connection: stored_projects.find_project(connection, schedule.project_id)
        )
        if project is None:
            return  # its schedules are gone with it
        if why := _why_not(project, schedule, now):
            log.info("a schedule builds nothing", why=why, **_named(schedule))
            await self._core.database.write(
                lambda connection: stored.claim(connection, schedule, following)
            )
            return
        origin = Origin(event=EVENT, branch=written.branch, params=written.params)
        wanted = await unasked_draft(self._builds, project, schedule.path, origin)
        await self._core.database.write(
            lambda connection: self._save(connection, project, schedule, wanted, following),
            committed=lambda _: self._builds.dispatch.wake(),
        )

    async def _save(
        self,
        connection: AsyncConnection,
        project: Project,
        schedule: Schedule,
        wanted: Draft,
        following: datetime,
    ) -> Build | None:
        if not await stored.claim(connection, schedule, following):
            return None  # another coordinator has built it, or its file lost it
        return await save_unasked(
            self._core,
            connection,
            project,
            schedule.path,
            wanted,
            by=EVENT,
            cron=schedule.definition.cron,
        )


def _why_not(project: Project, schedule: Schedule, now: datetime) -> str | None:
    """Why the time passes without a build; None where there is one."""
    if project.archived_at is not None:
        return "the project is archived"
    written = schedule.definition
    if next_firing(written.cron, written.timezone, now - MADE_UP_FOR) > now:
        return "its time passed more than 24 hours ago"
    return None


def _named(schedule: Schedule) -> dict[str, str]:
    """For the log."""
    return {
        "project": schedule.project_id,
        "workflow": schedule.path,
        "cron": schedule.definition.cron,
        "due": schedule.next_at.isoformat(),
    }
