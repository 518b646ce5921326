"""Generations of caches: of which clean build a step's caches are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import cache_generations, module_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    generation: str
    previous: str | None
    """None: the caches that the step had before any clean build."""


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """Whose caches they are, within a project."""

    scope: str
    step_name: str
    """Empty: all steps'."""


async def find_generations(
    connection: AsyncConnection, project_id: str, owners: Collection[Owner]
) -> Mapping[Owner, Generation]:
    """Of those of which a clean build has succeeded."""
    table = cache_generations.c
    wanted = sa.tuple_(table.scope, table.step_name).in_(
        [(owner.scope, owner.step_name) for owner in owners]
    )
    query = sa.select(table.scope, table.step_name, table.generation, table.previous)
    rows = await connection.execute(query.where(table.project_id == project_id, wanted))
    return {
        Owner(row.scope, row.step_name): Generation(
            generation=row.generation, previous=row.previous
        )
        for row in rows
    }


async def default_branch(connection: AsyncConnection, project_id: str) -> str | None:
    """As the last push that was looked at left it; None where there is none."""
    query = sa.select(module_files.c.branch).where(module_files.c.project_id == project_id)
    return (await connection.execute(query)).scalar()


async def renew_generation(
    connection: AsyncConnection, project_id: str, owner: Owner, generation: str
) -> None:
    known = (await find_generations(connection, project_id, [owner])).get(owner)
    if known is None:
        await connection.execute(
            cache_generations.insert().values(
                project_id=project_id,
                scope=owner.scope,
                step_name=owner.step_name,
                generation=generation,
            )
        )
        return
    await connection.execute(
        cache_generations.update()
        .where(
            cache_generations.c.project_id == project_id,
            cache_generations.c.scope == owner.scope,
            cache_generations.c.step_name == owner.step_name,
        )
        .values(generation=generation, previous=known.generation)
    )
