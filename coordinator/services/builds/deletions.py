"""Deleting a build or a project: its rows in one transaction, then what is outside of the database.

No crash leaves half of it: the transaction that deletes the rows also writes down what is doomed
by that (logs, artifacts, LFS objects, the repository, and tests, which are rows too, but many):
either all of it is there, or nothing can be reached any more and the rest goes now or at the next
start. Deleting it a second time does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

import structlog

from coordinator.domain.errors import Conflict, NotFound
from coordinator.domain.lifecycle import FINISHED_BUILD
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.deletion_pause import deleting
from coordinator.services.news import build_topic
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.builds import deletions as stored
from coordinator.storage.builds.build_deletion import delete_builds
from coordinator.storage.builds.deletions import DoomedObject, ObjectKind
from coordinator.storage.builds.project_deletion import delete_project, unfinished_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.result_deletion import are_referred_to, delete_some_tests
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.steps.step_inputs import forget_lists
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

AT_ONCE = 500
USED_AT_ONCE = 50
"""Looked at once more in one transaction."""
AGAIN_SECONDS = 60.0
"""Until what could not be deleted is tried once more."""


@dataclass(slots=True)
class Deletions:
    core: Core
    made: int = 0
    """How many builds somebody has deleted: what was worked out of the others before may not hold
    any more. Read and written in the writer's transactions."""
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    async def delete_build(
        self, principal: Principal, project_id: str | None, build_id: str
    ) -> None:
        """Of any project for None.

        Raises NotFound, also for another account's; Conflict unless it has finished.
        """
        principal.require(Right.MANAGE)

        async def delete(connection: AsyncConnection) -> None:
            build = await stored_builds.find_build(connection, build_id)
            if build is None or not principal.sees(build.account_id):
                raise NotFound("build not found")
            if project_id not in (None, build.project_id):
                raise NotFound("build not found")
            if build.state not in FINISHED_BUILD:
                raise Conflict("this build has not finished: cancel it first")
            await stored.doom_builds(connection, [build.id])
            await delete_builds(connection, [build.id])
            self.made += 1
            await forget_lists(connection, build.project_id, self.core.now())
            await Deed(self.core, principal, build).record(connection, "build.deleted")

        def committed(_: None) -> None:
            self.core.news.publish(build_topic(build_id))
            self.wake()

        await self.core.database.write(delete, committed=committed)

    async def delete_project(self, principal: Principal, project: Project) -> None:
        """With all that is its. Raises NotFound; Conflict while a build has not finished.

        A build that is made meanwhile is either found here, or finds no project any more: both
        are transactions of the one writer.
        """
        principal.require(Right.MANAGE)

        async def delete(connection: AsyncConnection) -> None:
            found = await stored_projects.find_project(connection, project.id)
            if found is None:
                raise NotFound("project not found")
            _check_finished(found, await unfinished_builds(connection, found.id))
            await stored.doom_project(connection, found)
            await delete_project(connection, found.id)
            await Deed(self.core, principal, found).record(
                connection, "project.deleted", name=found.name, slug=found.slug
            )

        await self.core.database.write(delete, committed=lambda _: self.wake())

    def wake(self) -> None:
        """Something was doomed."""
        self._wanted.set()

    async def run(self) -> None:
        """Delete what is doomed: at the start what a crash left, then as builds are deleted."""
        while True:
            self._wanted.clear()
            try:
                waits = not await self._delete_doomed()
            except Exception as error:  # a task root: what is left is tried again
                tell_fault(log, "deleting objects failed", error)
                waits = True
            try:
                async with asyncio.timeout(AGAIN_SECONDS if waits else None):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def _delete_doomed(self) -> bool:
        """Whether nothing is left."""
        while doomed := await self.core.database.read(
            lambda connection: stored.list_doomed(connection, AT_ONCE)
        ):
            with deleting(self.core.settings.data) as may:
                if not may:
                    return False
                fates = [(one, await self._delete(one)) for one in doomed]
            await self._forget([one for one, fate in fates if fate is _Fate.GONE])
            used = [one for one, fate in fates if fate is _Fate.USED]
            for start in range(0, len(used), USED_AT_ONCE):
                await self._forget_used(used[start : start + USED_AT_ONCE])
            if any(fate is _Fate.WAITS for _, fate in fates):
                return False
        return True

    async def _forget(self, gone: Sequence[DoomedObject]) -> None:
        await self.core.database.write(lambda connection: stored.forget_doomed(connection, gone))

    async def _forget_used(self, used: Sequence[DoomedObject]) -> None:
        """What was in use when it was looked at may be so no more, and was then doomed anew, which
        changed nothing: it stays, for the next round."""

        async def forget(connection: AsyncConnection) -> None:
            still = [one for one in used if await _is_used(connection, one)]
            await stored.forget_doomed(connection, still)

        await self.core.database.write(forget)

    async def _delete(self, doomed: DoomedObject) -> _Fate:
        """It waits where the same bytes are arriving right now, or a git process writes into the
        repository still."""
        if doomed.kind is ObjectKind.LOG:
            # Nobody can come to share it any more: one shares only the log of a row that is there.
            if await self.core.database.read(partial(_is_used, doomed=doomed)):
                return _Fate.USED
            await self.core.logs.delete(doomed.name)
            return _Fate.GONE
        if doomed.kind is ObjectKind.REPOSITORY:
            gone = await self.core.repositories.remove(doomed.name)
            return _Fate.GONE if gone else _Fate.WAITS
        if doomed.kind is ObjectKind.TESTS:
            some = partial(delete_some_tests, tests_id=int(doomed.name))
            while await self.core.database.write(some):
                pass  # others' writes go in between
            used = await self.core.database.read(partial(_is_used, doomed=doomed))
            return _Fate.USED if used else _Fate.GONE
        with self.core.blob_claims.deleting((doomed.account_id, doomed.name)) as mine:
            if not mine:
                return _Fate.WAITS
            # Read while nobody can refer to it anew.
            if await self.core.database.read(partial(_is_used, doomed=doomed)):
                return _Fate.USED
            await self.core.blobs.delete(doomed.account_id, doomed.name)
        return _Fate.GONE


class _Fate(Enum):
    GONE = auto()
    USED = auto()
    WAITS = auto()


async def _is_used(connection: AsyncConnection, doomed: DoomedObject) -> bool:
    """Not of a repository."""
    if doomed.kind is ObjectKind.TESTS:
        return await are_referred_to(connection, int(doomed.name))
    if doomed.kind is ObjectKind.LOG:
        return await stored.has_log(connection, doomed.name)
    return await stored.is_referred_to(connection, doomed.account_id, doomed.name)


def _check_finished(project: Project, unfinished: Sequence[int]) -> None:
    """Raises Conflict. Nothing that runs, such as a deployment, is ended by the way."""
    if not unfinished:
        return
    first = f"{project.account_slug}/{project.slug}#{unfinished[0]}"
    more = f" (and {len(unfinished) - 1} more)" if len(unfinished) > 1 else ""
    raise Conflict(
        f"a build of this project has not finished: cancel it first by "
        f"`pushrod build cancel {first}`{more}"
    )
