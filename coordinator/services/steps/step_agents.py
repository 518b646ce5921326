"""Which agents have, or had, the steps of a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.model import Step
from coordinator.domain.steps.holders import agent_of, holder_of
from coordinator.services.core import Core
from coordinator.storage.people.accounts import agent_names


async def agents_of(core: Core, steps: Sequence[Step]) -> Mapping[str, str]:
    """Holder of a step → the agent's name."""
    holders = {step.holder for step in steps if step.holder is not None}
    ids = [agent_id for holder in holders if (agent_id := agent_of(holder)) is not None]
    if not ids:
        return {}
    names = await core.database.read(lambda connection: agent_names(connection, ids))
    return {holder_of(agent_id): name for agent_id, name in names.items()}
