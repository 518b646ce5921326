"""Why a step can't be claimed by a worker."""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.domain.errors import Conflict
from coordinator.domain.lifecycle import FINISHED_STEP, StepState
from coordinator.domain.model import Step
from coordinator.domain.steps.waits import (
    RESOLVING,
    for_a_place,
    until_tried_again,
    why_it_is_held,
)
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection


async def refusal_of_claim(core: Core, connection: AsyncConnection, step: Step) -> Conflict:
    """Why a step that is not ready has no script."""
    if step.state is StepState.BLOCKED:
        steps = await stored.steps_of_build(connection, step.build_id)
        waits_for = unfinished_dependencies(step, steps)
        if not waits_for:
            build = await stored.find_build(connection, step.build_id)
            why = "is not ready" if build is None else why_it_is_held(build)
            return Conflict(f"step {step.name!r} {why}")
        return Conflict(f"step {step.name!r} waits for {', '.join(waits_for)}", waitsFor=waits_for)
    if step.state is StepState.RESOLVING:
        return Conflict(f"step {step.name!r} {RESOLVING}")
    if step.state in FINISHED_STEP:
        return Conflict(f"step {step.name!r} has finished")
    if step.state is StepState.IN_LINE:
        return Conflict(f"step {step.name!r} {for_a_place(step)}")
    if step.state is StepState.DELAYED:
        return Conflict(f"step {step.name!r} is {until_tried_again(step, core.now())}")
    if step.state is StepState.WAITING:
        return Conflict(f"step {step.name!r} waits for somebody's approval: it has no script")
    return Conflict(f"step {step.name!r} is handed out to another worker")


def unfinished_dependencies(step: Step, steps: Iterable[Step]) -> list[str]:
    states = {other.name: other.state for other in steps}
    return [name for name in step.depends_on if states[name] not in FINISHED_STEP]
