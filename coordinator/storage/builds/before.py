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
