"""To whom a project tells of its builds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from coordinator.domain.outbox.messages import MessageState, RecipientKind
from coordinator.domain.outbox.recipients import Recipient
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox.messages import forget_recipient
from coordinator.storage.projects.sealed_things import RECIPIENTS
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import outbox, projects, recipients

_recipient = reader(Recipient, kind=RecipientKind)


async def find_recipient(connection: AsyncConnection, recipient_id: str) -> Recipient | None:
    query = sa.select(*columns(Recipient, recipients)).where(recipients.c.id == recipient_id)
    row = (await connection.execute(query)).first()
    return _recipient(row) if row else None


async def forges_of(
    connection: AsyncConnection, project_ids: Collection[str]
) -> Mapping[str, Recipient]:
    """By project: where its statuses go, if anywhere."""
    query = sa.select(*columns(Recipient, recipients)).where(recipients.c.id.in_(project_ids))
    return {row.project_id: _recipient(row) for row in await connection.execute(query)}


async def recipients_of(connection: AsyncConnection, project_id: str) -> Sequence[Recipient]:
    """Oldest first."""
    query = (
        sa.select(*columns(Recipient, recipients))
        .where(recipients.c.project_id == project_id)
        .order_by(recipients.c.created_at, recipients.c.id)
    )
    return [_recipient(row) for row in await connection.execute(query)]


async def count_tells(connection: AsyncConnection, project_id: str) -> None:
    """Whether the project's builds are told to anybody, as its recipients are now."""
    any_recipient = sa.exists().where(recipients.c.project_id == project_id)
    await connection.execute(
        projects.update().where(projects.c.id == project_id).values(tells=any_recipient)
    )


async def forget_forge(connection: AsyncConnection, project_id: str, now: datetime) -> None:
    """The token was for a forge at which the project's repository no longer is."""
    if await RECIPIENTS.delete(connection, project_id, {"kind": RecipientKind.STATUS.value}):
        await forget_recipient(connection, project_id, now)
        await count_tells(connection, project_id)


async def revive(
    connection: AsyncConnection, recipient_id: str, since: datetime, now: datetime
) -> None:
    """What was given up since then is tried again: whatever stood in the way may be mended."""
    await connection.execute(
        outbox.update()
        .where(
            outbox.c.recipient_id == recipient_id,
            outbox.c.state == MessageState.DEAD.value,
            outbox.c.created_at >= since,
        )
        .values(
            state=MessageState.WAITING.value,
            attempts=0,
            next_try_at=now,
            tried_since=now,
            finished_at=None,
        )
    )
