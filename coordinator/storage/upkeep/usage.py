"""How much each project uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from coordinator.domain.upkeep.retention import Used
from coordinator.storage.builds.build_counts import ALL_BRANCHES
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import reader
from coordinator.storage.tables import (
    accounts,
    build_counts,
    builds,
    doomed_objects,
    lfs_objects,
    projects,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectUsage:
    id: str
    account: str
    slug: str
    builds: int
    log_bytes: int
    artifact_bytes: int
    lfs_bytes: int
    keeping_builds: int
    """With outputs that say themselves how long they stay."""


_usage = reader(ProjectUsage)


async def used_by_projects(connection: AsyncConnection) -> Mapping[str, Used]:
    """By project, from counters."""
    found, _ = await usage_of_projects(connection, None)
    return {
        one.id: Used(builds=one.builds, size=one.log_bytes + one.artifact_bytes) for one in found
    }


async def usage_of_projects(
    connection: AsyncConnection, account_id: str | None
) -> tuple[Sequence[ProjectUsage], int]:
    """Those that use most first; and how many objects are doomed, of those accounts."""
    counted = (
        sa.select(sa.func.coalesce(sa.func.sum(build_counts.c.builds), 0))
        .where(
            build_counts.c.branch == ALL_BRANCHES,
            build_counts.c.account_id == projects.c.account_id,
            build_counts.c.project_id == projects.c.id,
        )
        .scalar_subquery()
    )
    lfs = (
        sa.select(sa.func.coalesce(sa.func.sum(lfs_objects.c.size), 0))
        .where(lfs_objects.c.project_id == projects.c.id)
        .scalar_subquery()
    )
    keeping = (
        sa.select(sa.func.count())
        .select_from(builds)
        .where(builds.c.project_id == projects.c.id, builds.c.keeps.is_not(None))
        .scalar_subquery()
    )
    query = (
        sa.select(
            projects.c.id,
            accounts.c.slug.label("account"),
            projects.c.slug,
            counted.label("builds"),
            projects.c.log_bytes,
            (projects.c.stored_bytes - projects.c.log_bytes).label("artifact_bytes"),
            lfs.label("lfs_bytes"),
            keeping.label("keeping_builds"),
        )
        .join_from(projects, accounts)
        .order_by(projects.c.stored_bytes.desc(), projects.c.id)
    )
    doomed = sa.select(sa.func.count()).select_from(doomed_objects)
    if account_id is not None:
        query = query.where(projects.c.account_id == account_id)
        doomed = doomed.where(doomed_objects.c.account_id == account_id)
    found = [_usage(row) for row in await connection.execute(query)]
    return found, int((await connection.execute(doomed)).scalar_one())
