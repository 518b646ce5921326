"""The step that begins with the answer to a poll: in one transaction handed out and accepted."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from coordinator.domain.model import Step
from coordinator.domain.steps.scheduling import Queue, WaitingAgent
from coordinator.domain.steps.verdict import may_run_again_when_lost
from coordinator.services.core import Core
from coordinator.services.others import LeftToTheLeader
from coordinator.services.steps.queue_loop import Came
from coordinator.services.steps.runner import FreeSlot, HandedOver, Runner
from coordinator.services.steps.told_again import given_to
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import NotIsolated
from coordinator.storage.steps.queue import handed_out_per_project
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()


class _ToBeAccepted(Exception):
    """Its agent is to say first that it has it."""


@dataclass(frozen=True, slots=True)
class BegunWithPolls:
    core: Core
    runner: Runner

    async def begin(self, queue: Queue, agent: WaitingAgent) -> Came:
        dispatch = self.runner.dispatch
        if dispatch.is_paused(agent.agent_id) or dispatch.has_left(agent):
            dispatch.wake_here()  # for others, with whom this one is not counted any more
            return Came.NONE_LEFT
        slot = FreeSlot(agent=agent, instance=agent.process or "")

        async def begin(connection: AsyncConnection) -> HandedOver | None:
            if await self._has_enough(connection, queue.project_id):
                return None
            given = await self.runner.begin_next(
                connection, queue, slot, given_with=given_to(slot.instance)
            )
            if given is not None and _is_to_be_accepted(given.begun.step):
                raise _ToBeAccepted
            return given

        try:
            given = await self.core.database.write(
                begin,
                committed=lambda given: self.runner.begun_with_poll(given) if given else None,
                locking=True,
            )
        except (_ToBeAccepted, NotIsolated, LeftToTheLeader):
            return Came.TO_BE_OFFERED
        except Exception as error:  # its agent is told what is wrong once it accepts
            tell_fault(log, "beginning a step failed", error)
            return Came.TO_BE_OFFERED
        return Came.NONE_LEFT if given is None else Came.BEGUN

    async def _has_enough(self, connection: AsyncConnection, project_id: str) -> bool:
        """Of its steps that run: a completion may have been answered with one since the round
        began."""
        most = self.core.settings.project_max_running_steps
        if most is None:
            return False
        return (await handed_out_per_project(connection)).get(project_id, 0) >= most


def _is_to_be_accepted(step: Step) -> bool:
    """One that may not run again, of which nobody could tell whether it ran if the answer were
    lost; and one that was lost, whose earlier agent may still come with its result, until the step
    is begun anew."""
    return step.lost_count > 0 or not may_run_again_when_lost(step.definition)
