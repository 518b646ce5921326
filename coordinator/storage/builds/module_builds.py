"""Builds of modules."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import builds
from coordinator.storage.tables.build_tables import BUILT_MODULE


async def newest_built(
    connection: AsyncConnection, project_id: str, module_name: str
) -> str | None:
    """Id of the newest build of that module that succeeded."""
    query = (
        sa.select(builds.c.id)
        .where(
            builds.c.project_id == project_id,
            sa.text(BUILT_MODULE),
            builds.c.module["name"].as_string() == module_name,
        )
        .order_by(builds.c.ordinal.desc())
        .limit(1)
    )
    return (await connection.execute(query)).scalar_one_or_none()
