"""What happens to a build is written down for others, in the transaction in which it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coordinator.domain.model import Build
from coordinator.domain.outbox.messages import facts_of
from coordinator.domain.outbox.notifications import occasions_of, of_workflow
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit
from coordinator.storage.outbox.messages import write_down, write_own


@dataclass(frozen=True, slots=True)
class Telling:
    """Enters itself where builds change their state."""

    core: Core
    wake: Callable[[], None]
    """Once it is committed: there is something to send."""

    def begin(self) -> None:
        self.core.announcements.moved = self.moved

    async def moved(self, connection: AsyncConnection, build: Build) -> None:
        facts, now = facts_of(build), self.core.now()
        occasions = occasions_of(build, facts.status)
        words = [occasion.value for occasion in occasions]
        await write_down(connection, build, facts, words, now)
        await write_own(connection, build, of_workflow(build, facts, occasions), now)
        after_commit(connection, self.wake)
