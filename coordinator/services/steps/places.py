"""Who has the places that a build's steps are in line for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Step
from coordinator.services.core import Core
from coordinator.storage.steps.places import holders_of


async def holders(core: Core, steps: Sequence[Step]) -> Mapping[str, Sequence[str]]:
    """By group, of those that a step of the build waits for: each as `deploy of shop#12`."""
    in_line = [step for step in steps if step.state is StepState.IN_LINE]
    if not in_line:
        return {}
    account_id = in_line[0].account_id
    groups = {step.concurrency_group or "" for step in in_line}
    return await core.database.read(
        lambda connection: holders_of(connection, account_id, sorted(groups))
    )
