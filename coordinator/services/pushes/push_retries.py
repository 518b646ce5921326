"""Pushes whose builds could not be made: tried again until they have them.

What a push moved stays told by the refs, whatever happens to this process; what is kept here is
only when to look again. A push that finds the database locked or the disk full waits for as long as
that lasts. One whose commit can't be taken in by our own fault gets a failed build after a few
tries, so that somebody sees it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from coordinator.domain.errors import Conflict
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal
from coordinator.domain.pushes.deliveries import retry_delay
from coordinator.services.core import Core
from coordinator.services.news import wait_for
from coordinator.services.pushes.ingest import Ingest
from coordinator.storage.projects import projects as stored
from coordinator.storage.trouble import tell_fault, trouble_of

log = structlog.get_logger()

FIRST_RETRY_SECONDS = 1.0
TRIES_OF_A_FAULT = 3
"""Of our own: the same commit will hardly be taken in at the fourth."""
IDLE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPush:
    """A project some of whose pushes have no builds yet."""

    project: Project
    principal: Principal | None
    reason: str
    since: datetime
    tries: int
    faults: int
    """How many of the tries failed by our own fault, one after the other."""
    due: float
    """When it is tried again, of the monotonic clock."""

    @property
    def lines(self) -> list[str]:
        """For the one who pushed."""
        return [
            f"pushrod: your push is stored, but its build could not be made yet: {self.reason}.",
            "pushrod: it is tried again by itself; nothing needs to be pushed a second time.",
        ]


@dataclass(slots=True)
class PushRetries:
    core: Core
    ingest: Ingest
    clock: Callable[[], float] = time.monotonic
    _waiting: dict[str, WaitingPush] = field(default_factory=dict)
    """By project id."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def waiting(self, project_id: str) -> WaitingPush | None:
        return self._waiting.get(project_id)

    async def received(self, project: Project, principal: Principal | None = None) -> Sequence[str]:
        """Build what moved, now or as soon as it can be; lines for the one who pushed."""
        before = self._waiting.get(project.id)
        try:
            if before is not None and before.faults >= TRIES_OF_A_FAULT:
                lines = await self.ingest.give_up(project, principal, before.reason)
            else:
                lines = await self.ingest.refs_moved(project, principal)
        except Conflict as error:  # archived or deleted while it was pushed
            self._waiting.pop(project.id, None)
            return [f"pushrod: nothing is built: {error.message}"]
        except Exception as error:  # a task root: whatever it was, the refs have moved
            if await self._is_gone(project):
                self._waiting.pop(project.id, None)
                return ["pushrod: nothing is built: this project was deleted"]
            tell_fault(log, "a push has no builds yet", error, project=project.id)
            return self._wait(project, principal, error).lines
        self._waiting.pop(project.id, None)
        return lines

    async def _is_gone(self, project: Project) -> bool:
        try:
            found = await self.core.database.read(
                lambda connection: stored.find_project(connection, project.id)
            )
        except Exception:  # part of a task root: a database in trouble says nothing
            return False
        return found is None

    def _wait(self, project: Project, principal: Principal | None, error: Exception) -> WaitingPush:
        before = self._waiting.get(project.id)
        reason, is_fault = _reason(error)
        tries = before.tries + 1 if before else 1
        faults = (before.faults if before else 0) + 1 if is_fault else 0
        delay = retry_delay(tries, FIRST_RETRY_SECONDS).total_seconds()
        waiting = self._waiting[project.id] = WaitingPush(
            project=project,
            principal=before.principal if before and before.principal else principal,
            reason=reason,
            since=before.since if before else self.core.now(),
            tries=tries,
            faults=faults,
            due=self.clock() + delay,
        )
        self._wake.set()
        return waiting

    async def run(self) -> None:
        """Catch up with what was pushed while nobody looked, then try again what waits."""
        await self._catch_up()
        while True:
            self._wake.clear()
            now = self.clock()
            for one in [one for one in self._waiting.values() if one.due <= now]:
                await self.received(one.project, one.principal)
            next_due = min((one.due for one in self._waiting.values()), default=now + IDLE_SECONDS)
            await wait_for(self._wake, next_due - self.clock())

    async def _catch_up(self) -> None:
        for project in await self._projects():
            # A remote one's pushes come as deliveries, which have an inbox of their own.
            if project.repo_url is None:
                await self.received(project)
            try:
                await self.ingest.refresh_modules(project)
            except Exception as error:  # a task root: the other projects are caught up all the same
                tell_fault(log, "reading modules failed", error, project=project.id)

    async def _projects(self) -> Sequence[Project]:
        tries = 0
        while True:
            try:
                return await self.core.database.read(
                    lambda connection: stored.list_projects(connection)
                )
            except Exception as error:  # a task root: a database in trouble is asked again
                tell_fault(log, "reading the projects failed", error)
                tries += 1
                await asyncio.sleep(retry_delay(tries, FIRST_RETRY_SECONDS).total_seconds())


def _reason(error: Exception) -> tuple[str, bool]:
    """In words for people, and whether it is our own fault rather than the machine's state."""
    trouble = trouble_of(error)
    if trouble is not None:
        return trouble.value, False
    return f"internal error ({type(error).__name__}), which the coordinator's log explains", True
