"""A build is cancelled: what ends at once, what is asked to end, and what is left to clean up."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.builds.roll_up import spared_by_cancel
from coordinator.domain.errors import Conflict
from coordinator.domain.lifecycle import FINISHED_STEP, StepEvent, StepState
from coordinator.domain.model import Step
from coordinator.services.core import Core
from coordinator.services.steps import advance
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import steps as stored_steps


async def cancel_steps(
    core: Core, connection: AsyncConnection, build_id: str, steps: Sequence[Step], *, by: str
) -> None:
    """End those that aren't handed out, and ask for the end of those that run; what follows for the
    others is as after any end. Raises Conflict for one that has ended."""
    for step in steps:
        if step.state in FINISHED_STEP:
            raise Conflict(f"step `{step.name}` has ended already: it {step.state.value}")
        await _cancel_step(core, connection, step, by)
    await advance.settle_build(core, connection, build_id)


async def _cancel_step(core: Core, connection: AsyncConnection, step: Step, by: str) -> None:
    if step.state is StepState.RUNNING:
        await stored_steps.update_step(connection, step.id, cancel_requested_by=by)
    else:
        reason = f"cancelled by {by}"
        await advance.move_step(core, connection, step, StepEvent.CANCEL, reason=reason)


async def cancel_build(
    core: Core, connection: AsyncConnection, build_id: str, *, by: str, again: bool = False
) -> frozenset[str]:
    """End what isn't handed out; ask for the end of what runs. Ids of the steps that are spared;
    none where it was cancelled before. The dispatch is to be told once this is committed.

    Until the build is over, its reason says that it was cancelled.
    """
    steps = await stored.steps_of_build(connection, build_id)
    spared = frozenset[str]() if again else spared_by_cancel(steps)
    for step in steps:
        if step.state not in FINISHED_STEP and step.id not in spared:
            await _cancel_step(core, connection, step, by)
    reason, now = f"cancelled by {by}", core.now()
    await stored.update_build(connection, build_id, now=now, reason=reason)
    await advance.settle_build(core, connection, build_id)
    return spared
