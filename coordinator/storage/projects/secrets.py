"""The secrets of projects, sealed: what is stored here opens only with the coordinator's key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from coordinator.domain.model import SecretName
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import secrets

_name = reader(SecretName)


async def put_secret(
    connection: AsyncConnection, project_id: str, name: str, sealed: bytes, now: datetime
) -> None:
    """Set it, or set it anew."""
    changed = await connection.execute(
        secrets.update()
        .where(secrets.c.project_id == project_id, secrets.c.name == name)
        .values(sealed=sealed, updated_at=now)
    )
    if changed.rowcount == 0:
        await connection.execute(
            secrets.insert().values(project_id=project_id, name=name, sealed=sealed, updated_at=now)
        )


async def delete_secret(connection: AsyncConnection, project_id: str, name: str) -> bool:
    """Whether there was one."""
    done = await connection.execute(
        secrets.delete().where(secrets.c.project_id == project_id, secrets.c.name == name)
    )
    return bool(done.rowcount)


async def list_secrets(connection: AsyncConnection, project_id: str) -> Sequence[SecretName]:
    query = (
        sa.select(*columns(SecretName, secrets))
        .where(secrets.c.project_id == project_id)
        .order_by(secrets.c.name)
    )
    return [_name(row) for row in await connection.execute(query)]


async def sealed_secrets(
    connection: AsyncConnection, project_id: str, names: Collection[str]
) -> Mapping[str, bytes]:
    """Those of the names that there are."""
    query = sa.select(secrets.c.name, secrets.c.sealed).where(
        secrets.c.project_id == project_id, secrets.c.name.in_(names)
    )
    return {row.name: row.sealed for row in await connection.execute(query)}
