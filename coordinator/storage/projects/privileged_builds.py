"""Which builds of a project have privileged steps to run."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import builds, steps
from pipelines_schema.contract import Capability


async def privileged_builds(connection: AsyncConnection, project_id: str) -> Sequence[int]:
    """Numbers of those in which such a step has not ended, whatever it waits for."""
    finished = [state.value for state in FINISHED_STEP]
    query = (
        sa.select(builds.c.number, steps.c.needs)
        .join(steps, steps.c.build_id == builds.c.id)
        .where(steps.c.project_id == project_id, steps.c.state.not_in(finished))
        .order_by(builds.c.number)
    )
    found = (await connection.execute(query)).all()
    return list(
        dict.fromkeys(row.number for row in found if Capability.PRIVILEGED.value in row.needs)
    )
