"""Which LFS objects a project has; their bytes are in the account's blob store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import lfs_objects, lfs_origins
from pipelines_schema.contract_sources import LfsObject


async def known_objects(
    connection: AsyncConnection, project_id: str, oids: Collection[str]
) -> dict[str, int]:
    """Of these, the ones the project has: oid → size."""
    query = sa.select(lfs_objects.c.oid, lfs_objects.c.size).where(
        lfs_objects.c.project_id == project_id, lfs_objects.c.oid.in_(list(oids))
    )
    return {row.oid: row.size for row in await connection.execute(query)}


async def save_objects(
    connection: AsyncConnection, project_id: str, objects: Iterable[LfsObject], now: datetime
) -> None:
    """Those that are there already stay as they are."""
    wanted = {item.oid: item.size for item in objects}
    known = await known_objects(connection, project_id, wanted)
    rows = [
        {"project_id": project_id, "oid": oid, "size": size, "created_at": now}
        for oid, size in wanted.items()
        if oid not in known
    ]
    if rows:
        await connection.execute(lfs_objects.insert(), rows)


async def fetched_objects(
    connection: AsyncConnection, project_id: str, origin: str, oids: Collection[str]
) -> dict[str, int]:
    """Of these, the ones that were fetched from there for the project: oid → size."""
    query = (
        sa.select(lfs_objects.c.oid, lfs_objects.c.size)
        .join(
            lfs_origins,
            sa.and_(
                lfs_origins.c.project_id == lfs_objects.c.project_id,
                lfs_origins.c.oid == lfs_objects.c.oid,
            ),
        )
        .where(
            lfs_objects.c.project_id == project_id,
            lfs_origins.c.origin == origin,
            lfs_objects.c.oid.in_(list(oids)),
        )
    )
    return {row.oid: row.size for row in await connection.execute(query)}


async def renew_objects(
    connection: AsyncConnection, project_id: str, oids: Collection[str], now: datetime
) -> None:
    """As if they had come now: a push that names them may follow."""
    await connection.execute(
        lfs_objects.update()
        .where(lfs_objects.c.project_id == project_id, lfs_objects.c.oid.in_(list(oids)))
        .values(created_at=now)
    )


async def objects_before(
    connection: AsyncConnection, project_id: str, before: datetime
) -> Sequence[str]:
    """The oids of those that came, or were renewed, before that."""
    query = sa.select(lfs_objects.c.oid).where(
        lfs_objects.c.project_id == project_id, lfs_objects.c.created_at < before
    )
    return list((await connection.execute(query)).scalars())


async def delete_objects(
    connection: AsyncConnection, project_id: str, oids: Collection[str], before: datetime
) -> Mapping[str, int]:
    """Of those, the ones that nobody renewed since: oid → size. Their bytes are to be doomed."""
    still = sa.select(lfs_objects.c.oid, lfs_objects.c.size).where(
        lfs_objects.c.project_id == project_id,
        lfs_objects.c.oid.in_(list(oids)),
        lfs_objects.c.created_at < before,
    )
    found = {row.oid: row.size for row in await connection.execute(still)}
    for table in (lfs_origins, lfs_objects):
        of_project = table.c.project_id == project_id
        await connection.execute(table.delete().where(of_project, table.c.oid.in_(list(found))))
    return found


async def save_fetched(
    connection: AsyncConnection,
    project_id: str,
    origin: str,
    objects: Sequence[LfsObject],
    now: datetime,
) -> None:
    """Their bytes were seen, so these are their sizes."""
    oids = [item.oid for item in objects]
    known = await known_objects(connection, project_id, oids)
    fetched = await fetched_objects(connection, project_id, origin, oids)
    await save_objects(connection, project_id, objects, now)
    for item in objects:
        if known.get(item.oid, item.size) != item.size:
            await connection.execute(
                lfs_objects.update()
                .where(lfs_objects.c.project_id == project_id, lfs_objects.c.oid == item.oid)
                .values(size=item.size)
            )
    new = set(oids) - fetched.keys()
    rows = [{"project_id": project_id, "oid": oid, "origin": origin} for oid in new]
    if rows:
        await connection.execute(lfs_origins.insert(), rows)
