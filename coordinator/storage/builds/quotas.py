"""What each project holds of what all share; nothing here counts more rows than the limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from coordinator.domain.builds.quotas import Usage
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.listing import Scope
from coordinator.storage.builds.build_counts import counted_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.stored_bytes import (
    add_stored,
    stored_bytes,
    stored_bytes_of,
)
from coordinator.storage.tables import artifacts, attempts, steps
from coordinator.storage.tables.step_tables import WAITS

WAITING = (BuildState.HELD, BuildState.QUEUED)


async def usage_of(
    connection: AsyncConnection, account_id: str, project_id: str, max_steps: int
) -> Usage:
    """Steps are counted up to `max_steps`."""
    scope = Scope(account_id=account_id, project_id=project_id)
    query = sa.select(
        counted_builds(scope, states=WAITING).scalar_subquery().label("queued_builds"),
        _waiting_steps(project_id, max_steps).scalar_subquery().label("waiting_steps"),
        stored_bytes_of(project_id).scalar_subquery().label("stored_bytes"),
    )
    row = (await connection.execute(query)).one()
    return Usage(
        queued_builds=row.queued_builds,
        waiting_steps=row.waiting_steps,
        stored_bytes=row.stored_bytes or 0,
    )


def _waiting_steps(project_id: str, limit: int) -> sa.Select[Any]:
    some = (
        sa.select(sa.literal(1))
        .select_from(steps)
        .where(steps.c.project_id == project_id, sa.text(WAITS))
        .limit(limit)
        .subquery()
    )
    return sa.select(sa.func.count()).select_from(some)


async def bytes_beside(
    connection: AsyncConnection, project_id: str, step_id: str, epoch: int, names: Sequence[str]
) -> int:
    """What the project stores besides these artifacts, which a repeated upload replaces."""
    query = sa.select(sa.func.coalesce(sa.func.sum(artifacts.c.size), 0)).where(
        artifacts.c.step_id == step_id, artifacts.c.epoch == epoch, artifacts.c.name.in_(names)
    )
    replaced = int((await connection.execute(query)).scalar_one())
    return await stored_bytes(connection, project_id) - replaced


async def forget_stored(connection: AsyncConnection, build_id: str) -> None:
    """Of a build whose rows are about to go. A log that it shares is not its own."""
    own_log = sa.case((attempts.c.log_of.is_(None), attempts.c.log_bytes), else_=0)
    for table, column in ((artifacts, artifacts.c.size), (attempts, own_log)):
        of_build = (
            sa.select(steps.c.id, sa.func.coalesce(sa.func.sum(column), 0).label("bytes"))
            .join(table, table.c.step_id == steps.c.id)
            .where(steps.c.build_id == build_id)
            .group_by(steps.c.id)
        )
        for row in (await connection.execute(of_build)).all():
            await add_stored(connection, row.id, -int(row.bytes))
