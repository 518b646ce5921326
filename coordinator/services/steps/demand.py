"""How many steps wait for an agent: for what starts and ends machines, and for operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.steps.demand import Demand, WaitingSteps, demand
from coordinator.services.core import Core
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import queue as stored_queue


async def demand_of(core: Core, dispatch: Dispatch, account_id: str | None) -> Sequence[Demand]:
    """Of the account's steps, or of all where it is None."""
    most = core.settings.project_max_running_steps

    async def read(
        connection: AsyncConnection,
    ) -> tuple[Sequence[WaitingSteps], Mapping[str, int]]:
        waiting = await stored_queue.waiting_steps(connection)
        busy = {} if most is None else await stored_queue.handed_out_per_project(connection)
        return waiting, busy

    waiting, busy = await core.database.read(read)
    own = [one for one in waiting if account_id in (None, one.wants.account_id)]
    return demand(own, dispatch.online(), busy, most_of_a_project=most)
