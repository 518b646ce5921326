"""Every row of builds, in the order in which they refer to each other."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from coordinator.storage.builds.build_counts import Counted, count
from coordinator.storage.builds.quotas import forget_stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import (
    artifacts,
    attempts,
    build_images,
    builds,
    deployments,
    image_builds,
    output_entries,
    step_inputs,
    step_results,
    steps,
)


async def delete_builds(connection: AsyncConnection, build_ids: Collection[str]) -> int:
    """With their steps, attempts and artifacts, and the deployments they are; retries of them lose
    their link. How many there were; as many statements for all as for one.

    Logs and blobs are in the object store, where nothing here reaches; tests are too many.
    """
    await _uncount(connection, build_ids)
    await forget_stored(connection, build_ids)
    await connection.execute(
        builds.update().where(builds.c.retry_of.in_(build_ids)).values(retry_of=None)
    )
    its_images = sa.select(image_builds.c.id).where(image_builds.c.build_id.in_(build_ids))
    await connection.execute(
        deployments.update()
        .where(deployments.c.image_build_id.in_(its_images))
        .values(image_build_id=None)
    )
    for table in (deployments, image_builds, build_images, step_results):
        await connection.execute(table.delete().where(table.c.build_id.in_(build_ids)))
    its_steps = sa.select(steps.c.id).where(steps.c.build_id.in_(build_ids))
    for table in (artifacts, output_entries, attempts, step_inputs):
        await connection.execute(table.delete().where(table.c.step_id.in_(its_steps)))
    await connection.execute(steps.delete().where(steps.c.build_id.in_(build_ids)))
    deleted = await connection.execute(builds.delete().where(builds.c.id.in_(build_ids)))
    return deleted.rowcount


async def _uncount(connection: AsyncConnection, build_ids: Collection[str]) -> None:
    where = (builds.c.account_id, builds.c.project_id, builds.c.branch, builds.c.state)
    query = sa.select(*where, sa.func.count().label("those")).where(builds.c.id.in_(build_ids))
    found = (await connection.execute(query.group_by(*where))).all()
    changes = [
        (
            Counted(
                account_id=row.account_id,
                project_id=row.project_id,
                branch=row.branch,
                state=row.state,
            ),
            -row.those,
        )
        for row in found
    ]
    if changes:
        await count(connection, *changes)
