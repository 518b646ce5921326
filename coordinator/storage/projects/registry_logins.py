"""Logins to registries, sealed: what is stored here opens only with the coordinator's key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.model import RegistryLoginShown
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import registry_logins

_shown = reader(RegistryLoginShown)


async def put_login(
    connection: AsyncConnection,
    scope_id: str,
    host: str,
    *,
    username: str,
    sealed: bytes,
    now: datetime,
) -> None:
    """A second one for the host replaces the first."""
    await delete_login(connection, scope_id, host)
    await connection.execute(
        registry_logins.insert().values(
            scope_id=scope_id, host=host, username=username, sealed=sealed, updated_at=now
        )
    )


async def delete_login(connection: AsyncConnection, scope_id: str, host: str) -> bool:
    """Whether there was one."""
    done = await connection.execute(
        registry_logins.delete().where(
            registry_logins.c.scope_id == scope_id, registry_logins.c.host == host
        )
    )
    return bool(done.rowcount)


async def list_logins(
    connection: AsyncConnection, scope_ids: Sequence[str]
) -> Sequence[RegistryLoginShown]:
    query = sa.select(*columns(RegistryLoginShown, registry_logins)).where(
        registry_logins.c.scope_id.in_(scope_ids)
    )
    return [_shown(row) for row in await connection.execute(query)]


async def sealed_logins(
    connection: AsyncConnection, scope_ids: Sequence[str]
) -> Sequence[sa.Row[Any]]:
    """In the order of the scopes."""
    query = sa.select(registry_logins).where(registry_logins.c.scope_id.in_(scope_ids))
    rows = (await connection.execute(query)).all()
    return sorted(rows, key=lambda row: scope_ids.index(row.scope_id))
