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


async def add_to_project(
    connection: AsyncConnection, project_id: str, size: int, *, of_logs: int = 0
) -> None:
    """`of_logs` of the bytes are logs."""
    await connection.execute(
        projects.update().where(projects.c.id == project_id).values(_more(size, of_logs))
    )


def _more(size: int, of_logs: int) -> dict[str, Any]:
    more: dict[str, Any] = {"stored_bytes": projects.c.stored_bytes + size}
    return more | ({"log_bytes": projects.c.log_bytes + of_logs} if of_logs else {})


async def add_stored(
    connection: AsyncConnection, step_id: str, size: int, *, of_logs: int = 0
) -> None:
    """To what the step's project stores; `of_logs` of the bytes are logs."""
    if size != 0:
        owner = sa.select(steps.c.project_id).where(steps.c.id == step_id).scalar_subquery()
        await connection.execute(
            projects.update().where(projects.c.id == owner).values(_more(size, of_logs))
        )
