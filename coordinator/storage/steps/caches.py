"""Generations of caches: of which clean build a step's caches are."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import cache_generations


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    generation: str
    previous: str | None
    """None: the caches that the step had before any clean build."""


_generation = reader(Generation)


def _of(project_id: str, scope: str, step_name: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        cache_generations.c.project_id == project_id,
        cache_generations.c.scope == scope,
        cache_generations.c.step_name == step_name,
    )


async def find_generation(
    connection: AsyncConnection, project_id: str, scope: str, step_name: str
) -> Generation | None:
    """None where no clean build of the step has succeeded yet."""
    query = sa.select(*columns(Generation, cache_generations)).where(
        _of(project_id, scope, step_name)
    )
    row = (await connection.execute(query)).first()
    return _generation(row) if row else None


async def renew_generation(
    connection: AsyncConnection, project_id: str, scope: str, step_name: str, generation: str
) -> None:
    known = await find_generation(connection, project_id, scope, step_name)
    if known is None:
        await connection.execute(
            cache_generations.insert().values(
                project_id=project_id, scope=scope, step_name=step_name, generation=generation
            )
        )
        return
    await connection.execute(
        cache_generations.update()
        .where(_of(project_id, scope, step_name))
        .values(generation=generation, previous=known.generation)
    )
