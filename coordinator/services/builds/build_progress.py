"""How far a build is, and when it will probably be done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from coordinator.domain.builds.estimates import estimated_end
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build, Step
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored

LAST_BUILDS = 20
"""So many of a workflow's finished builds say how long its steps usually take."""
GOING = (BuildState.QUEUED, BuildState.RUNNING)


async def estimate(core: Core, build: Build, steps: Sequence[Step]) -> datetime | None:
    """None for a build that was not started or is over, and where history says too little."""
    workflow_id = build.workflow_id
    if workflow_id is None or build.state not in GOING:
        return None
    now = core.now()
    history = await core.database.read(
        lambda connection: stored.past_durations(connection, workflow_id, now, last=LAST_BUILDS)
    )
    return estimated_end(steps, history, now)
