"""A build is cancelled: what ends at once, what is asked to end, and what is left to clean up."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.builds.roll_up import spared_by_cancel
from coordinator.domain.errors import Conflict
from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.domain.model import Step
from coordinator.domain.steps.image_parts import with_their_parts
from coordinator.services.core import Core
from coordinator.services.steps import advance
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection


async def cancel_steps(
    core: Core, connection: AsyncConnection, build_id: str, steps: Sequence[Step], *, by: str
) -> None:
    """End those that aren't handed out, with the parts that build their images, and ask for the end
    of those that run; what follows for the others is as after any end. Raises Conflict for one that
    has ended."""
    for step in steps:
        if step.state in FINISHED_STEP:
            raise Conflict(f"step `{step.name}` has ended already: it {step.state.value}")
    whole = await stored.steps_of_build(connection, build_id)
    steps = [step for step in with_their_parts(steps, whole) if step.state not in FINISHED_STEP]
    for step in steps:
        await advance.cancel_step(core, connection, step, by=by, reason=f"cancelled by {by}")
    await advance.settle_build(core, connection, build_id)
    wanted = {step.id for step in steps}
    spared = [
        step.id
        for step in await stored.steps_of_build(connection, build_id)
        if step.id not in wanted
    ]
    advance.announce_cancelled(core, connection, build_id, spared)


async def cancel_build(
    core: Core,
    connection: AsyncConnection,
    build_id: str,
    *,
    by: str,
    reason: str | None = None,
    again: bool = False,
    fails_as: str | None = None,
) -> None:
    """End what isn't handed out; ask for the end of what runs, which its agents are told once this
    is committed. Steps that clean up are spared, unless it was cancelled before.

    Until the build is over, its reason says that it was cancelled; `fails_as`: it ends as failed,
    for this reason.
    """
    reason = reason or f"cancelled by {by}"
    steps = await stored.steps_of_build(connection, build_id)
    spared = frozenset[str]() if again else spared_by_cancel(steps)
    for step in steps:
        if step.state not in FINISHED_STEP and step.id not in spared:
            await advance.cancel_step(core, connection, step, by=by, reason=reason)
    await stored.update_build(
        connection, build_id, now=core.now(), reason=reason, fails_as=fails_as
    )
    await advance.settle_build(core, connection, build_id)
    advance.announce_cancelled(core, connection, build_id, spared)
