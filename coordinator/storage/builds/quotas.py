"""What each project holds of what all share; nothing here counts more rows than the limit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from coordinator.domain.builds.quotas import Usage
from coordinator.domain.lifecycle import BuildState
from coordinator.storage.builds.build_counts import ALL_BRANCHES
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.projects.stored_bytes import (
    add_to_project,
    stored_bytes,
)
from coordinator.storage.tables import artifacts, attempts, build_counts, builds, projects, steps
from coordinator.storage.tables.step_tables import WAITS

WAITING = (BuildState.HELD, BuildState.QUEUED)


_ITS_PROJECT: sa.BindParameter[str] = sa.bindparam("its_project")
_WAITING_STEPS = (
    sa.select(sa.literal_column("1"))
    .select_from(steps)
    .where(steps.c.project_id == _ITS_PROJECT, sa.text(WAITS))
    .limit(sa.bindparam("most", type_=sa.Integer))
    .subquery()
)
_USAGE = direct(
    sa.select(
        sa.select(sa.func.coalesce(sa.func.sum(build_counts.c.builds), 0))
        .where(
            build_counts.c.branch == ALL_BRANCHES,
            build_counts.c.account_id == sa.bindparam("its_account"),
            build_counts.c.project_id == _ITS_PROJECT,
            build_counts.c.state.in_(sorted(state.value for state in WAITING)),
        )
        .scalar_subquery()
        .label("queued_builds"),
        sa.select(sa.func.count())
        .select_from(_WAITING_STEPS)
        .scalar_subquery()
        .label("waiting_steps"),
        sa.select(projects.c.stored_bytes)
        .where(projects.c.id == _ITS_PROJECT)
        .scalar_subquery()
        .label("stored_bytes"),
    )
)


async def usage_of(
    connection: AsyncConnection, account_id: str, project_id: str, max_steps: int
) -> Usage:
    """Steps are counted up to `max_steps`."""
    values = {"its_account": account_id, "its_project": project_id, "most": max_steps}
    row = (await connection.execute(_USAGE, values)).one()
    return Usage(
        queued_builds=row.queued_builds,
        waiting_steps=row.waiting_steps,
        stored_bytes=row.stored_bytes or 0,
    )


async def bytes_beside(
    connection: AsyncConnection, project_id: str, step_id: str, epoch: int, names: Sequence[str]
) -> int:
    """What the project stores besides these artifacts, which a repeated upload replaces."""
    query = sa.select(sa.func.coalesce(sa.func.sum(artifacts.c.size), 0)).where(
        artifacts.c.step_id == step_id, artifacts.c.epoch == epoch, artifacts.c.name.in_(names)
    )
    replaced = int((await connection.execute(query)).scalar_one())
    return await stored_bytes(connection, project_id) - replaced


async def forget_stored(connection: AsyncConnection, build_ids: Collection[str]) -> None:
    """Of builds whose rows are about to go. A log that one shares is not its own."""
    sizes = (
        _sizes(build_ids, artifacts, artifacts.c.size, sa.literal(0)),
        _sizes(build_ids, attempts, own_log_bytes(), own_log_bytes()),
    )
    found = sa.union_all(*sizes).subquery()
    query = sa.select(
        found.c.project_id, sa.func.sum(found.c.size), sa.func.sum(found.c.of_logs)
    ).group_by(found.c.project_id)
    for project_id, size, of_logs in (await connection.execute(query)).all():
        await add_to_project(connection, project_id, -int(size), of_logs=-int(of_logs))


def own_log_bytes() -> sa.ColumnElement[int]:
    """Of an attempt, joined with its build: what its project counts for its log. Until it is
    folded that is its text."""
    counted = sa.and_(attempts.c.log_of.is_(None), builds.c.logs_gone_at.is_(None))
    size = sa.func.coalesce(attempts.c.log_stored, attempts.c.log_bytes, 0)
    return sa.case((counted, size), else_=0)


def _sizes(
    build_ids: Collection[str],
    table: sa.Table,
    size: sa.ColumnElement[int],
    of_logs: sa.ColumnElement[int],
) -> sa.Select[Any]:
    its = builds.c.id.in_(build_ids)
    columns = (steps.c.project_id, size.label("size"), of_logs.label("of_logs"))
    query = sa.select(*columns).select_from(builds).join(steps, steps.c.build_id == builds.c.id)
    return query.join(table, table.c.step_id == steps.c.id).where(its)
