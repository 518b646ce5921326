"""What there was before a build, of its workflow and branch."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.domain.lifecycle import BuildState
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import builds

_this = builds.alias("this")


async def failed_before(connection: AsyncConnection, build_id: str) -> bool:
    """Whether the last one that ended by itself had failed."""
    query = (
        sa.select(builds.c.state)
        .join(
            _this,
            sa.and_(
                _this.c.project_id == builds.c.project_id,
                _this.c.branch == builds.c.branch,
                _this.c.workflow_name == builds.c.workflow_name,
                _this.c.ordinal > builds.c.ordinal,
            ),
        )
        .where(
            _this.c.id == build_id,
            builds.c.state.in_([BuildState.SUCCEEDED.value, BuildState.FAILED.value]),
        )
        .order_by(builds.c.ordinal.desc())
        .limit(1)
    )
    state = (await connection.execute(query)).scalar_one_or_none()
    return state == BuildState.FAILED.value


async def last_state(
    connection: AsyncConnection, project_id: str, branch: str | None, workflow: str | None
) -> BuildState | None:
    """Of the project's newest build of no pull request, that waits for nobody."""
    query = (
        sa.select(builds.c.state)
        .where(
            builds.c.project_id == project_id,
            builds.c.pull_request.is_(None),
            builds.c.state != BuildState.HELD.value,
        )
        .order_by(builds.c.ordinal.desc())
        .limit(1)
    )
    if branch is not None:
        query = query.where(builds.c.branch == branch)
    if workflow is not None:
        query = query.where(builds.c.workflow_name == workflow)
    state = (await connection.execute(query)).scalar_one_or_none()
    return None if state is None else BuildState(state)
