"""Which workflows are started by other projects' builds, and the builds that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.upstream import BuildListener, Following, Upstream
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import build_listeners, followings
from pipelines_schema import BuildTrigger

_listener = reader(BuildListener, definition=BuildTrigger.from_json)
_following = reader(Following, upstream=Upstream.from_json)


async def listeners_to(
    connection: AsyncConnection, account_id: str, slugs: Collection[str]
) -> Sequence[BuildListener]:
    """To a project that has, or had, these slugs."""
    query = sa.select(*columns(BuildListener, build_listeners)).where(
        build_listeners.c.account_id == account_id, build_listeners.c.upstream.in_(slugs)
    )
    return [_listener(row) for row in await connection.execute(query)]


async def replace_listeners(
    connection: AsyncConnection,
    project_id: str,
    listeners: Sequence[BuildListener],
    unread: Collection[str],
) -> None:
    """Those of the files that could not be read stay."""
    await connection.execute(
        build_listeners.delete().where(
            build_listeners.c.project_id == project_id, build_listeners.c.path.not_in(unread)
        )
    )
    if listeners:
        await connection.execute(
            build_listeners.insert(),
            [{**_values(one), "definition": one.definition.to_json()} for one in listeners],
        )


async def insert_followings(connection: AsyncConnection, added: Sequence[Following]) -> None:
    await connection.execute(
        followings.insert(), [{**_values(one), "upstream": one.upstream.to_json()} for one in added]
    )


async def list_followings(connection: AsyncConnection, limit: int) -> Sequence[Following]:
    """Those first that are due first."""
    query = (
        sa.select(*columns(Following, followings))
        .order_by(followings.c.due_at.nulls_first(), followings.c.id)
        .limit(limit)
    )
    return [_following(row) for row in await connection.execute(query)]


async def try_later(
    connection: AsyncConnection, following: Following, *, faults: int, due_at: datetime
) -> None:
    """Making it has failed so often."""
    await connection.execute(
        followings.update()
        .where(followings.c.id == following.id)
        .values(faults=faults, due_at=due_at)
    )


async def try_at_once(connection: AsyncConnection) -> None:
    """All that waits to be tried again: how often it has failed still counts."""
    late = followings.c.due_at.is_not(None)
    await connection.execute(followings.update().where(late).values(due_at=None))


async def take_following(connection: AsyncConnection, following: Following) -> bool:
    """Whether this transaction is the one that answers for it."""
    taken = await connection.execute(followings.delete().where(followings.c.id == following.id))
    return taken.rowcount == 1


def _values(one: BuildListener | Following) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one)}
