"""Builds that are started by the success of another project's.

What follows from a build is written down in the transaction in which it succeeds, and made ready
afterwards; the transaction that takes such a row away saves its build. So a crash loses none and
makes none twice, and of several coordinators one finds the row.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from coordinator.domain.model import Build, Project
from coordinator.domain.pushes.deliveries import retry_delay
from coordinator.domain.pushes.followings import followings_of, may_start_others, why_none_follows
from coordinator.domain.upstream import Following
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.drafts import Draft, Origin
from coordinator.services.core import new_id
from coordinator.services.pushes.unasked_builds import known_name, save_unasked, unasked_draft
from coordinator.services.steps.timed_rounds import TimedRounds
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.pushes import followings as stored
from coordinator.storage.trouble import tell_fault, trouble_of

log = structlog.get_logger()

LOOK_AT_LEAST_EVERY = timedelta(minutes=1)
"""Another coordinator may have written some down, and died."""
TRY_AGAIN_AFTER = timedelta(seconds=15)
"""What the machine has kept from being built, a full disk or a locked database: for as long as that
lasts. After a fault of ours it is the first pause of several, each twice as long."""
TRIES_OF_A_FAULT = 6
"""Within about eight minutes; then a failed build says that it could not be made."""
GIVEN_UP = (
    "the coordinator could not make this build, in {tries} tries: internal error ({fault}), which "
    "its log explains; retry the build that it follows once that is mended"
)
OVERDUE = datetime.min.replace(tzinfo=UTC)
"""What is written down is due at once: also by the time that a round has read before it looked."""
MAX_OF_A_ROUND = 500
AT_ONCE = 4
"""Being built at the same time: a forge may take long to answer."""
EVENT = "build"


class Followings:
    def __init__(self, builds: Builds) -> None:
        """Enters itself where builds succeed."""
        self._builds, self._core = builds, builds.core
        self._rounds = TimedRounds(self._core, "followings", self._next_at, self._build_all)
        self._core.announcements.succeeded = self.write_down

    async def run(self) -> None:
        """What has failed is tried at once: this process may have what mends it."""
        try:
            await self._core.database.write(stored.try_at_once)
        except Exception as error:  # a task root: they are tried when they are due
            tell_fault(log, "looking for what follows failed", error)
        await self._rounds.run()

    async def write_down(self, connection: AsyncConnection, build: Build) -> None:
        """What follows from a build, in the transaction in which it succeeds."""
        if not may_start_others(build):
            return
        project = await stored_projects.find_project(connection, build.project_id)
        if project is None:
            return
        slugs = {project.slug, *await stored_projects.former_slugs_of(connection, project.id)}
        listeners = await stored.listeners_to(connection, build.account_id, slugs)
        following = followings_of(build, project, listeners, new_id)
        if not following:
            return
        if (why := why_none_follows(build)) is not None:
            now = self._core.now()
            await stored_builds.update_build(connection, build.id, now=now, reason=why)
            return
        await stored.insert_followings(connection, following)
        after_commit(connection, self._rounds.moved)

    async def _next_at(self) -> datetime:
        """When to look next."""
        waiting = await self._core.database.read(
            lambda connection: stored.list_followings(connection, 1)
        )
        last = self._core.now() + LOOK_AT_LEAST_EVERY
        return min(waiting[0].due_at or OVERDUE, last) if waiting else last

    async def _build_all(self, _: datetime) -> datetime:
        return await self.build_all()

    async def build_all(self) -> datetime:
        """Of all that is written down; when to look next."""
        now = self._core.now()
        listed = await self._core.database.read(
            lambda connection: stored.list_followings(connection, MAX_OF_A_ROUND)
        )
        waiting = [one for one in listed if one.due_at is None or one.due_at <= now]
        slots = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            done = [tasks.create_task(self._answered_for(one, slots)) for one in waiting]
        if all(task.result() for task in done):
            return await self._next_at()
        return self._core.now() + TRY_AGAIN_AFTER

    async def _answered_for(self, following: Following, slots: asyncio.Semaphore) -> bool:
        """Whether it is built, or written down when it is tried again."""
        async with slots:
            try:
                await self._build(following)
            except Exception as error:  # a task root: the others are built all the same
                tell_fault(log, "building what follows failed", error, **_named(following))
                return trouble_of(error) is None and await self._put_off(following, error)
        return True

    async def _put_off(self, following: Following, error: Exception) -> bool:
        """After a fault of ours: tried again, more seldom each time, and at last given up."""
        faults = following.faults + 1
        pause = retry_delay(faults, TRY_AGAIN_AFTER.total_seconds())
        try:
            if faults >= TRIES_OF_A_FAULT and await self._gave_up(following, faults, error):
                return True
            await self._core.database.write(
                lambda connection: stored.try_later(
                    connection, following, faults=faults, due_at=self._core.now() + pause
                )
            )
        except Exception as error:  # part of a task root
            tell_fault(log, "putting off what follows failed", error, **_named(following))
            return False
        return True

    async def _gave_up(self, following: Following, tries: int, error: Exception) -> bool:
        """Whether a failed build tells it; else it waits on, as nothing else would."""
        said = GIVEN_UP.format(tries=tries, fault=type(error).__name__)
        try:
            await self._build(following, given_up=said)
        except Exception as error:  # part of a task root
            tell_fault(log, "telling that nothing follows failed", error, **_named(following))
            return False
        return True

    async def _build(self, following: Following, given_up: str | None = None) -> None:
        """As its workflow says, or as a failed build with that reason."""
        project = await self._core.database.read(
            lambda connection: stored_projects.find_project(connection, following.project_id)
        )
        if project is None:
            return  # what would follow is gone with it
        if project.archived_at is not None:
            log.info("nothing follows in an archived project", **_named(following))
            await self._core.database.write(
                lambda connection: stored.take_following(connection, following)
            )
            return
        origin = Origin(event=EVENT, upstream=following.upstream)
        if given_up is None:
            wanted = await unasked_draft(self._builds, project, following.path, origin)
        else:
            name = await known_name(self._core, project, following.path)
            wanted = Draft(workflow_name=name, origin=origin, reason=given_up)
        await self._core.database.write(
            lambda connection: self._save(connection, project, following, wanted),
            committed=lambda _: self._builds.dispatch.wake(),
        )

    async def _save(
        self, connection: AsyncConnection, project: Project, following: Following, wanted: Draft
    ) -> Build | None:
        if not await stored.take_following(connection, following):
            return None  # another coordinator has built it
        upstream = f"{following.upstream.project} #{following.upstream.build_number}"
        return await save_unasked(
            self._core, connection, project, following.path, wanted, by=EVENT, upstream=upstream
        )


def _named(following: Following) -> dict[str, str]:
    """For the log."""
    return {
        "project": following.project_id,
        "workflow": following.path,
        "upstream": following.upstream.build_id,
    }
