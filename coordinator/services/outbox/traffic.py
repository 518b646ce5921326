"""What came in of a project's webhooks last, and what went out to its forge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.domain.model import Project
from coordinator.domain.outbox.hooks import Finding, bad, good
from coordinator.domain.outbox.messages import Message, MessageState, RecipientKind
from coordinator.domain.pushes.deliveries import Delivery, DeliveryState
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox.messages import list_messages
from coordinator.storage.pushes.deliveries import list_deliveries

IN, OUT = "in", "out"
LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class Traffic:
    core: Core
    rejected: Callable[[str], int]
    """Webhooks of a project that were not signed with its secret, since the coordinator started."""

    async def look(self, project: Project) -> Sequence[Finding]:
        async def read(
            connection: AsyncConnection,
        ) -> tuple[Sequence[Delivery], Sequence[Message]]:
            deliveries, _ = await list_deliveries(connection, project.id, 1, 0)
            messages, _ = await list_messages(connection, project.id, LOOKED_AT, 0)
            return deliveries, messages

        deliveries, messages = await self.core.database.read(read)
        told = [
            message
            for message in messages
            if message.kind is RecipientKind.STATUS and message.state is not MessageState.SUPERSEDED
        ]
        return [
            _came(project, next(iter(deliveries), None), self.rejected(project.id)),
            _went(project, next(iter(told), None)),
        ]


def _came(project: Project, newest: Delivery | None, rejected: int) -> Finding:
    unsigned = f"{rejected} came that were not signed with this project's secret"
    if newest is None:
        if rejected:
            return bad(IN, unsigned, f"`pushrod project set {project.slug} --make-webhook`")
        return good(IN, "no webhook came yet: push to try it")
    if newest.state is DeliveryState.FAILED:
        again = f"`pushrod delivery redeliver {project.slug} {newest.id}`"
        return bad(IN, f"the last webhook failed: {newest.reason}", f"when it is mended, {again}")
    return good(
        IN, f"the last webhook was {newest.state.value}" + (f"; {unsigned}" if rejected else "")
    )


def _went(project: Project, newest: Message | None) -> Finding:
    if newest is None:
        return good(OUT, "no status was told yet")
    again = f"`pushrod delivery retry {project.slug} {newest.id}`"
    if newest.state is MessageState.DEAD:
        says = f"the last status was given up: {newest.reason}"
        return bad(OUT, says, f"when it is mended, {again}")
    if newest.state is MessageState.WAITING and newest.reason is not None:
        says = f"the last status waits for another try: {newest.reason}"
        return bad(OUT, says, f"it is tried again by itself; at once by {again}")
    waits = newest.state is MessageState.WAITING
    return good(OUT, "the last status is on its way" if waits else "the last status was taken")
