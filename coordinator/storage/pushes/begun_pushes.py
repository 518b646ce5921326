"""How many processes began to read a push and did not come to its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import begun_pushes

Push = tuple[str, str]
"""Ref and sha."""


async def processes_of_pushes(connection: AsyncConnection, project_id: str) -> Mapping[Push, int]:
    """Of the project's pushes that were begun and not ended."""
    query = sa.select(begun_pushes).where(begun_pushes.c.project_id == project_id)
    return {(row.ref, row.sha): row.processes for row in await connection.execute(query)}


async def save_processes(
    connection: AsyncConnection, project_id: str, counts: Mapping[Push, int]
) -> None:
    await forget_pushes(connection, project_id, counts)
    rows = [
        {"project_id": project_id, "ref": ref, "sha": sha, "processes": processes}
        for (ref, sha), processes in counts.items()
    ]
    if rows:
        await connection.execute(begun_pushes.insert(), rows)


async def forget_pushes(
    connection: AsyncConnection, project_id: str, pushes: Collection[Push]
) -> None:
    for ref, sha in pushes:
        await connection.execute(
            begun_pushes.delete().where(
                begun_pushes.c.project_id == project_id,
                begun_pushes.c.ref == ref,
                begun_pushes.c.sha == sha,
            )
        )
