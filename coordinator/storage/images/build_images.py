"""What a tag means to the steps of one build."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import build_images


async def find_digest(connection: AsyncConnection, build_id: str, reference: str) -> str | None:
    query = sa.select(build_images.c.digest).where(
        build_images.c.build_id == build_id, build_images.c.reference == reference
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def digests_of_build(connection: AsyncConnection, build_id: str) -> dict[str, str]:
    """Reference → digest."""
    query = sa.select(build_images.c.reference, build_images.c.digest).where(
        build_images.c.build_id == build_id
    )
    return {row.reference: row.digest for row in await connection.execute(query)}


async def count_digests(connection: AsyncConnection, build_id: str) -> int:
    query = sa.select(sa.func.count()).where(build_images.c.build_id == build_id)
    return (await connection.execute(query)).scalar_one()


async def insert_digest(
    connection: AsyncConnection, build_id: str, reference: str, digest: str
) -> None:
    await connection.execute(
        build_images.insert().values(build_id=build_id, reference=reference, digest=digest)
    )
