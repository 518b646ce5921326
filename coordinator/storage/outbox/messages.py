"""The outbox: what is to be told, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.model import Build
from coordinator.domain.outbox.messages import (
    DueMessage,
    Facts,
    Message,
    MessageState,
    RecipientKind,
)
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import outbox, recipients

_message = reader(Message, state=MessageState, kind=RecipientKind)
_due = reader(DueMessage, kind=RecipientKind)
_all = sa.select(*columns(Message, outbox))
_WAITING = sa.text("outbox.state = 'waiting'")
_WRITTEN = (
    "project_id",
    "recipient_id",
    "kind",
    "stream",
    "build_id",
    "build_number",
    "facts",
    "state",
    "attempts",
    "next_try_at",
    "tried_since",
    "created_at",
)
_STATUS = recipients.c.kind == RecipientKind.STATUS.value
_OTHER = recipients.c.kind != RecipientKind.STATUS.value


async def write_down(
    connection: AsyncConnection,
    build: Build,
    facts: Facts,
    occasions: Collection[str],
    now: datetime,
) -> None:
    """A message for each recipient of the project that is to know, by one statement: the forge, if
    there is a commit, and those that want to hear of one of the occasions."""
    wanted = [sa.and_(_OTHER, recipients.c.occasions.contains(one)) for one in occasions]
    if facts.commit is not None:
        wanted.append(_STATUS)
    if not wanted:
        return
    stream = sa.case((_STATUS, f"{facts.commit} {facts.context}"), else_=_own_stream(build, facts))
    its_facts = sa.literal(facts.to_json(), outbox.c.facts.type)
    chosen = _written(build, stream, its_facts, now).where(
        recipients.c.project_id == build.project_id, sa.or_(*wanted)
    )
    await connection.execute(outbox.insert().from_select(_WRITTEN, chosen))


def _written(
    build: Build, stream: sa.ColumnElement[str], facts: sa.ColumnElement[Any], now: datetime
) -> sa.Select[Any]:
    """The values of _WRITTEN, for each recipient."""
    return sa.select(
        sa.literal(build.project_id),
        recipients.c.id,
        recipients.c.kind,
        stream,
        sa.literal(build.id),
        sa.literal(build.number),
        facts,
        sa.literal(MessageState.WAITING.value),
        sa.literal(0),
        *(sa.literal(now, outbox.c.created_at.type) for _ in range(3)),
    )


async def write_down_all(
    connection: AsyncConnection, build: Build, facts: Sequence[Facts], now: datetime
) -> None:
    """Statuses of one commit, for the project's forge if it is told, by one statement."""
    rows = [
        {"its_stream": f"{one.commit} {one.context}", "its_facts": one.to_json()}
        for one in facts
        if one.commit is not None
    ]
    if rows:
        chosen = _written(
            build,
            sa.bindparam("its_stream"),
            sa.bindparam("its_facts", type_=outbox.c.facts.type),
            now,
        )
        statuses = chosen.where(recipients.c.project_id == build.project_id, _STATUS)
        await connection.execute(outbox.insert().from_select(_WRITTEN, statuses), rows)


async def write_own(
    connection: AsyncConnection,
    build: Build,
    messages: Sequence[tuple[str, RecipientKind, Facts]],
    now: datetime,
) -> None:
    """To recipients that the build's workflow names: an id for each, its kind, and the facts."""
    rows = [
        {
            "project_id": build.project_id,
            "recipient_id": recipient_id,
            "kind": kind.value,
            "stream": _own_stream(build, facts),
            "build_id": build.id,
            "build_number": build.number,
            "facts": facts.to_json(),
            "state": MessageState.WAITING.value,
            "attempts": 0,
            "next_try_at": now,
            "tried_since": now,
            "created_at": now,
        }
        for recipient_id, kind, facts in messages
    ]
    if rows:
        await connection.execute(outbox.insert(), rows)


def _own_stream(build: Build, facts: Facts) -> str:
    """Of what is told for itself, whatever follows."""
    return " ".join(filter(None, (build.id, facts.status.value, facts.gate)))


async def due_messages(
    connection: AsyncConnection,
    now: datetime,
    limit: int,
    *,
    but_for: Collection[str],
    but_for_projects: Collection[str],
) -> Sequence[DueMessage]:
    """Those to be sent now, but for these recipients' and projects', the one due first in front."""
    query = (
        sa.select(*columns(DueMessage, outbox))
        .where(
            _WAITING,
            outbox.c.next_try_at <= now,
            outbox.c.recipient_id.not_in(list(but_for)),
            outbox.c.project_id.not_in(list(but_for_projects)),
        )
        .order_by(outbox.c.next_try_at, outbox.c.id)
        .limit(limit)
    )
    return [_due(row) for row in await connection.execute(query)]


async def next_due(connection: AsyncConnection, now: datetime) -> datetime | None:
    """When the first is due after now."""
    query = sa.select(sa.func.min(outbox.c.next_try_at)).where(_WAITING, outbox.c.next_try_at > now)
    found: datetime | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def waiting_messages(connection: AsyncConnection) -> int:
    """How many were not taken yet, nor given up."""
    query = sa.select(sa.func.count()).select_from(outbox).where(_WAITING)
    return int((await connection.execute(query)).scalar_one())


async def last_of_stream(connection: AsyncConnection, message: Message) -> Message | None:
    """The newest build's last: whatever older builds still say is superseded by it."""
    query = (
        _all.where(_of_stream(message))
        .order_by(outbox.c.build_number.desc(), outbox.c.id.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).first()
    return _message(row) if row else None


async def supersede(connection: AsyncConnection, by: Message, now: datetime) -> None:
    """All of its stream that wait and come before it."""
    earlier = sa.or_(
        outbox.c.build_number < by.build_number,
        sa.and_(outbox.c.build_number == by.build_number, outbox.c.id < by.id),
    )
    await connection.execute(
        outbox.update()
        .where(_of_stream(by), _WAITING, earlier)
        .values(state=MessageState.SUPERSEDED.value, next_try_at=None, finished_at=now)
    )


async def update_message(connection: AsyncConnection, id_: int, **values: Any) -> None:
    await connection.execute(outbox.update().where(outbox.c.id == id_).values(**values))


async def get_message(connection: AsyncConnection, id_: int) -> Message | None:
    row = (await connection.execute(_all.where(outbox.c.id == id_))).first()
    return _message(row) if row else None


async def find_message(connection: AsyncConnection, project_id: str, id_: int) -> Message | None:
    query = _all.where(outbox.c.project_id == project_id, outbox.c.id == id_)
    row = (await connection.execute(query)).first()
    return _message(row) if row else None


async def list_messages(
    connection: AsyncConnection, project_id: str, limit: int, offset: int
) -> tuple[Sequence[Message], int]:
    """Newest first, and how many there are."""
    its = outbox.c.project_id == project_id
    total = (
        await connection.execute(sa.select(sa.func.count()).select_from(outbox).where(its))
    ).scalar_one()
    query = _all.where(its).order_by(outbox.c.id.desc()).limit(limit).offset(offset)
    return [_message(row) for row in await connection.execute(query)], int(total)


async def forget_recipient(connection: AsyncConnection, recipient_id: str, now: datetime) -> None:
    """What still waits for a recipient that is no more."""
    await connection.execute(
        outbox.update()
        .where(outbox.c.recipient_id == recipient_id, _WAITING)
        .values(
            state=MessageState.DEAD.value,
            reason="its recipient was removed",
            next_try_at=None,
            finished_at=now,
        )
    )


def _over_before(instant: datetime) -> sa.Select[Any]:
    return sa.select(outbox.c.id).where(
        outbox.c.created_at < instant, outbox.c.state != MessageState.WAITING.value
    )


async def any_before(connection: AsyncConnection, instant: datetime) -> bool:
    """Whether there is one that waits for nothing."""
    return (await connection.execute(_over_before(instant).limit(1))).first() is not None


async def delete_before(connection: AsyncConnection, instant: datetime, limit: int) -> None:
    """Those that wait for nothing, some at a time."""
    old = _over_before(instant).limit(limit)
    await connection.execute(outbox.delete().where(outbox.c.id.in_(old)))


def _of_stream(message: Message) -> sa.ColumnElement[bool]:
    return sa.and_(outbox.c.recipient_id == message.recipient_id, outbox.c.stream == message.stream)
