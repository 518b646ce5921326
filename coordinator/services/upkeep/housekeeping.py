"""What keeps the data folder from growing for ever: the timer calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from coordinator.domain.builds.keyed_requests import KEPT_FOR
from coordinator.domain.model import Project
from coordinator.services.core import Core
from coordinator.services.deletion_pause import deleting
from coordinator.storage.builds import keyed_requests as stored_requests
from coordinator.storage.outbox import messages as stored_messages
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.pushes import deliveries as stored_deliveries
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

DELIVERIES_AT_ONCE = 500
"""In one transaction, so that the writer is free in between."""


@dataclass(frozen=True, slots=True)
class Housekeeping:
    core: Core

    async def forget_deliveries(self) -> int:
        """Remove deliveries that ended long ago; return how many. Their builds stay."""
        age = timedelta(days=self.core.settings.keep_deliveries_days)
        before, forgotten = self.core.now() - age, 0
        for project in await self._projects():
            while count := await self._forget_some(project.id, before):
                forgotten += count
        if forgotten:
            log.info("deliveries forgotten", count=forgotten)
        return forgotten

    async def forget_messages(self) -> None:
        """Remove what others were told long ago."""
        age = timedelta(days=self.core.settings.keep_deliveries_days)
        before = self.core.now() - age
        # An idle coordinator writes nothing.
        while await self.core.database.read(
            lambda connection: stored_messages.any_before(connection, before)
        ):
            await self.core.database.write(
                lambda connection: stored_messages.delete_before(
                    connection, before, DELIVERIES_AT_ONCE
                )
            )

    async def forget_answers(self) -> None:
        """To requests with a key, once the key means nothing any more."""
        before = self.core.now() - KEPT_FOR
        # An idle coordinator writes nothing.
        if await self.core.database.read(
            lambda connection: stored_requests.has_answers(connection, before)
        ):
            await self.core.database.write(
                lambda connection: stored_requests.forget_answers(connection, before)
            )

    async def _forget_some(self, project_id: str, before: datetime) -> int:
        ids = await self.core.database.read(
            lambda connection: stored_deliveries.ended_before(
                connection, project_id, before, DELIVERIES_AT_ONCE
            )
        )
        if not ids:  # an idle coordinator writes nothing
            return 0
        return await self.core.database.write(
            lambda connection: stored_deliveries.delete_deliveries(connection, project_id, ids)
        )

    async def tidy_repositories(self) -> None:
        """Pack each project's repository, one after the other; a backup that is being made waits
        for one, the rest is left for the next time."""
        for project in await self._projects():
            try:
                with deleting(self.core.settings.data) as may:
                    if not may:
                        log.info("repositories are not packed while a backup is made")
                        return
                    await self.core.repositories.tidy(project.id)
            except Exception as error:  # one broken repository must not keep the others from it
                tell_fault(log, "tidying a repository failed", error, project=project.id)

    async def _projects(self) -> Sequence[Project]:
        return await self.core.database.read(
            lambda connection: stored_projects.list_projects(connection)
        )
