"""What happens to a build is written down for others, in the transaction in which it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coordinator.domain.model import Build
from coordinator.domain.outbox.messages import facts_of
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit
from coordinator.storage.outbox.messages import write_down


@dataclass(frozen=True, slots=True)
class Telling:
    """Enters itself where builds change their state."""

    core: Core
    wake: Callable[[], None]
    """Once it is committed: there is something to send."""

    def begin(self) -> None:
        self.core.announcements.moved = self.moved

    async def moved(self, connection: AsyncConnection, build: Build) -> None:
        if build.commit_hash is None:  # no forge knows of it
            return
        await write_down(connection, build, facts_of(build), self.core.now())
        after_commit(connection, self.wake)
