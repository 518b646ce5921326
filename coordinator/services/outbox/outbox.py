"""The outbox as people see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Conflict, NotFound
from coordinator.domain.model import Project
from coordinator.domain.outbox.messages import Message, MessageState
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox import messages as stored


@dataclass(frozen=True, slots=True)
class Outbox:
    core: Core
    released: Callable[[str], None]
    """A recipient may be tried again at once."""

    async def list_of(
        self, project: Project, limit: int, offset: int
    ) -> tuple[Sequence[Message], int]:
        """Newest first, and how many there are."""
        return await self.core.database.read(
            lambda connection: stored.list_messages(connection, project.id, limit, offset)
        )

    async def get(self, project: Project, message_id: int) -> Message:
        """Raises NotFound."""
        found = await self.core.database.read(
            lambda connection: stored.find_message(connection, project.id, message_id)
        )
        if found is None:
            raise NotFound("message not found")
        return found

    async def retry(self, principal: Principal, project: Project, message_id: int) -> Message:
        """Send it (again), at once. Raises NotFound; Conflict where a later state was written down
        meanwhile, which is the one to send."""
        principal.require(Right.BUILD)
        now = self.core.now()

        async def save(connection: AsyncConnection) -> Message:
            message = await stored.find_message(connection, project.id, message_id)
            if message is None:
                raise NotFound("message not found")
            last = await stored.last_of_stream(connection, message) or message
            if last.id != message.id:
                raise Conflict(f"a later state of it is message {last.id}: retry that one")
            await stored.update_message(
                connection,
                message.id,
                state=MessageState.WAITING.value,
                attempts=0,
                tried_since=now,
                next_try_at=now,
                finished_at=None,
            )
            await Deed(self.core, principal, project).record(
                connection, "message.retried", message=str(message.id)
            )
            return await stored.find_message(connection, project.id, message_id) or message

        return await self.core.database.write(
            save, committed=lambda message: self.released(message.recipient_id)
        )
