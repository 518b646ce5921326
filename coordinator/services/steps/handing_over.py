"""The next step, given with the answer to a completion.

Where one coordinator writes, it begins in the transaction that ends the step before it. Where
others write beside it, only a step of the same build does: whoever has locked one build's row and
waits for that of another may be waited for by whoever has locked that one. One of another build
begins in a transaction of its own, before the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from coordinator.domain.model import Attempt, Build
from coordinator.services.core import Core
from coordinator.services.others import LeftToTheLeader
from coordinator.services.steps.checked_report import CheckedReport
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.runner import FreeSlot, HandedOver, Runner
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import NotIsolated
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()


class NotHandedOver(Exception):
    """Its cause says why: a step that can't be given must not hold up the report on another."""


@dataclass(frozen=True, slots=True)
class HandingOver:
    core: Core
    dispatch: Dispatch
    runner: Runner

    def freed_slot(self, report: CheckedReport) -> FreeSlot | None:
        """None where no agent asks for another step."""
        asked, agent_id = report.request.next, report.principal.agent_id
        if asked is None or agent_id is None:
            return None
        agent = self.dispatch.may_hand_over_to(agent_id)
        return None if agent is None else FreeSlot(agent=agent, instance=asked.instance)

    async def with_the_end(
        self,
        connection: AsyncConnection,
        report: CheckedReport,
        slot: FreeSlot,
        attempt: Attempt,
        build: Build,
    ) -> HandedOver | None:
        """In the transaction that ends the attempt, of that build. Raises NotHandedOver."""
        shared = self.core.database.is_shared
        if shared and self.dispatch.limits_projects:
            return None
        try:
            return await self.runner.hand_over(
                connection,
                slot,
                after=attempt,
                build=build,
                only_of_it=shared,
            )
        except NotIsolated:
            raise
        except Exception as error:
            raise NotHandedOver from error

    async def apart(
        self, report: CheckedReport, slot: FreeSlot, attempt: Attempt
    ) -> HandedOver | None:
        """Once the attempt has ended, where nothing could be given with that."""

        async def hand_over(connection: AsyncConnection) -> HandedOver | None:
            return await self.runner.hand_over(connection, slot, after=attempt)

        try:
            return await self.core.database.write(
                hand_over,
                committed=lambda given: self.runner.handed_over(given) if given else None,
                locking=not self.dispatch.limits_projects,
            )
        except (NotIsolated, LeftToTheLeader):
            return None  # it is offered, and the leader takes the accept
        except Exception as error:  # the attempt has ended, and is to be answered
            tell_fault(log, "handing a step over failed", error, after=report.log_id)
            return None
