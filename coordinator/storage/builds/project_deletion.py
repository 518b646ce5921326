"""Every row of a project, in the order in which they refer to each other."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from coordinator.domain.lifecycle import FINISHED_BUILD
from coordinator.storage import tables
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import (
    artifacts,
    attempts,
    build_images,
    builds,
    deployments,
    image_builds,
    output_entries,
    projects,
    steps,
)

_OF_STEPS = (artifacts, output_entries, attempts, tables.step_inputs)
_OF_SCOPES = (tables.registry_logins, tables.retention, tables.secret_values)
_OF_PROJECTS = (
    tables.step_results,
    tables.test_names,
    steps,
    builds,
    tables.build_counts,
    tables.workflows,
    tables.credentials,
    tables.former_slugs,
    tables.cache_generations,
    tables.input_lists,
    tables.image_projects,
    tables.seen_refs,
    tables.begun_pushes,
    tables.module_files,
    tables.modules,
    tables.schedules,
    tables.build_listeners,
    tables.followings,
    tables.deliveries,
    tables.outbox,
    tables.recipients,
    tables.lfs_objects,
    tables.lfs_origins,
)


async def unfinished_builds(connection: AsyncConnection, project_id: str) -> Sequence[int]:
    """Their numbers."""
    finished = [state.value for state in FINISHED_BUILD]
    query = sa.select(builds.c.number).where(
        builds.c.project_id == project_id, builds.c.state.not_in(finished)
    )
    return (await connection.execute(query.order_by(builds.c.number))).scalars().all()


async def delete_project(connection: AsyncConnection, project_id: str) -> None:
    """With all that is its; only the audit log goes on to tell of it.

    Repository, logs and blobs are outside, where nothing here reaches; tests are too many.
    """
    its_builds = sa.select(builds.c.id).where(builds.c.project_id == project_id)
    its_steps = sa.select(steps.c.id).where(steps.c.project_id == project_id)
    its_images = sa.select(image_builds.c.id).where(image_builds.c.build_id.in_(its_builds))
    await connection.execute(deployments.delete().where(deployments.c.build_id.in_(its_builds)))
    await connection.execute(
        deployments.update()
        .where(deployments.c.image_build_id.in_(its_images))
        .values(image_build_id=None)
    )
    for table in (image_builds, build_images):
        await connection.execute(table.delete().where(table.c.build_id.in_(its_builds)))
    for table in _OF_STEPS:
        await connection.execute(table.delete().where(table.c.step_id.in_(its_steps)))
    for table in _OF_SCOPES:
        await connection.execute(table.delete().where(table.c.scope_id == project_id))
    for table in _OF_PROJECTS:
        await connection.execute(table.delete().where(table.c.project_id == project_id))
    await connection.execute(projects.delete().where(projects.c.id == project_id))
