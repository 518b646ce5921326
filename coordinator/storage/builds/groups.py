"""Builds that are on their way, in line and in time: by group, and by deadline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.model import Build
from coordinator.storage.builds.builds import build_of
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns
from coordinator.storage.tables import builds
from coordinator.storage.tables.build_tables import ON_ITS_WAY_IN_A_GROUP

_RUNNING = sa.text("state = 'running' AND deadline IS NOT NULL")


async def of_group(connection: AsyncConnection, project_id: str, group: str) -> Sequence[Build]:
    """Those on their way and in line, the oldest first."""
    query = (
        sa.select(*columns(Build, builds))
        .where(
            builds.c.project_id == project_id,
            builds.c.concurrency_group == group,
            sa.text(ON_ITS_WAY_IN_A_GROUP),
        )
        .order_by(builds.c.ordinal)
    )
    return [build_of(row) for row in await connection.execute(query)]


async def is_in_line(connection: AsyncConnection, build_id: str) -> bool:
    query = sa.select(builds.c.in_line).where(builds.c.id == build_id)
    return bool((await connection.execute(query)).scalar_one_or_none())


async def set_in_line(connection: AsyncConnection, build_id: str, *, in_line: bool) -> None:
    await connection.execute(builds.update().where(builds.c.id == build_id).values(in_line=in_line))


async def past_deadline(connection: AsyncConnection, now: datetime, limit: int) -> Sequence[Build]:
    query = (
        sa.select(*columns(Build, builds))
        .where(_RUNNING, builds.c.deadline <= now)
        .order_by(builds.c.deadline)
        .limit(limit)
    )
    return [build_of(row) for row in await connection.execute(query)]


async def forget_deadline(connection: AsyncConnection, build_id: str) -> None:
    await connection.execute(builds.update().where(builds.c.id == build_id).values(deadline=None))


async def set_clock(connection: AsyncConnection, build_id: str, **values: Any) -> None:
    """`open_gates`, `deadline`, `timeout_left`."""
    await connection.execute(builds.update().where(builds.c.id == build_id).values(**values))


async def first_deadline(connection: AsyncConnection) -> datetime | None:
    query = sa.select(sa.func.min(builds.c.deadline)).where(_RUNNING)
    found: datetime | None = (await connection.execute(query)).scalar_one_or_none()
    return found
