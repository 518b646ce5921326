"""How many bytes of logs and artifacts a project has: counted, not summed up."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import projects, steps


async def stored_bytes(connection: AsyncConnection, project_id: str) -> int:
    return int((await connection.execute(stored_bytes_of(project_id))).scalar_one_or_none() or 0)


def stored_bytes_of(project_id: str) -> sa.Select[Any]:
    return sa.select(projects.c.stored_bytes).where(projects.c.id == project_id)


async def add_to_project(connection: AsyncConnection, project_id: str, size: int) -> None:
    await connection.execute(
        projects.update()
        .where(projects.c.id == project_id)
        .values(stored_bytes=projects.c.stored_bytes + size)
    )


async def add_stored(connection: AsyncConnection, step_id: str, size: int) -> None:
    """To what the step's project stores."""
    owner = sa.select(steps.c.project_id).where(steps.c.id == step_id).scalar_subquery()
    if size != 0:
        await connection.execute(
            projects.update()
            .where(projects.c.id == owner)
            .values(stored_bytes=projects.c.stored_bytes + size)
        )
