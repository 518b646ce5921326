"""What nothing reaches any more in a project's repository, and the LFS objects that go with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from coordinator.domain.model import Project
from coordinator.ports import GarbageLeft
from coordinator.services.audit import Deed
from coordinator.services.builds.deletions import Deletions
from coordinator.services.core import Core
from coordinator.services.deletion_pause import deleting
from coordinator.services.upkeep.retention import Retention
from coordinator.storage.builds.deletions import doom_blobs
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.pushes import lfs as stored_lfs
from coordinator.storage.trouble import tell_fault
from coordinator.storage.upkeep.needed_commits import needed_commits

log = structlog.get_logger()

LFS_AT_ONCE = 200
"""In one transaction."""
LFS_GRACE = timedelta(days=7)
"""Between an object's upload, or the announcement of its push, and the push."""


@dataclass(frozen=True, slots=True)
class Garbage:
    core: Core
    retention: Retention
    deletions: Deletions

    async def collect(self) -> None:
        """Once over all projects; the timer calls it. Nothing where retention is only told."""
        if not await self.retention.is_enforced():
            return
        projects = await self.core.database.read(
            lambda connection: stored_projects.list_projects(connection)
        )
        for project in projects:
            try:
                with deleting(self.core.settings.data) as may:
                    if not may:
                        log.info("garbage is left while a backup is made")
                        return
                    await self.collect_of(project)
            except GarbageLeft as error:
                log.warning("garbage is left", project=project.id, error=str(error))
            except Exception as error:  # one broken repository must not keep the others from it
                tell_fault(log, "collecting garbage failed", error, project=project.id)

    async def collect_of(self, project: Project) -> None:
        """Raises GarbageLeft."""
        repositories, now = self.core.repositories, self.core.now().timestamp()
        needed = await self._needed(project)
        size = await repositories.collect_garbage(project.id, needed, now)
        if size:
            # Builds that were made of it meanwhile have their rows by now.
            if await repositories.restore_garbage(project.id, await self._needed(project)):
                log.info("garbage was needed after all", project=project.id)
            else:
                await self._tell(project, size)
        await self._collect_lfs(project)

    async def _needed(self, project: Project) -> Collection[str]:
        return await self.core.database.read(partial(needed_commits, project=project))

    async def _tell(self, project: Project, size: int) -> None:
        self.core.meter.deleted("git", 1, size)
        log.info("garbage collected", project=project.id, bytes=size)
        await self.core.database.write(
            lambda connection: Deed(self.core, None, project).record(
                connection, "retention.garbage_collected", bytes=size
            )
        )

    async def _collect_lfs(self, project: Project) -> None:
        before = self.core.now() - LFS_GRACE
        # What is old enough is read first: what is pushed meanwhile was announced, and is renewed.
        old = await self.core.database.read(
            lambda connection: stored_lfs.objects_before(connection, project.id, before)
        )
        if not old:
            return
        pointed = set(await self.core.repositories.pointed_objects(project.id))
        going = [oid for oid in old if oid not in pointed]
        for begin in range(0, len(going), LFS_AT_ONCE):
            await self._delete_lfs(project, going[begin : begin + LFS_AT_ONCE])

    async def _delete_lfs(self, project: Project, oids: Sequence[str]) -> None:
        before = self.core.now() - LFS_GRACE

        async def delete(connection: AsyncConnection) -> Mapping[str, int]:
            gone = await stored_lfs.delete_objects(connection, project.id, oids, before)
            if gone:
                await doom_blobs(connection, project.account_id, gone)
                await Deed(self.core, None, project).record(
                    connection, "retention.lfs_deleted", count=len(gone), bytes=sum(gone.values())
                )
            return gone

        def committed(gone: Mapping[str, int]) -> None:
            self.core.meter.deleted("lfs", len(gone), sum(gone.values()))
            self.deletions.wake()

        await self.core.database.write(delete, committed=committed)
