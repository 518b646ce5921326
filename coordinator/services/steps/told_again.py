"""Steps that began with the answer to a poll, until their agent is known to have got it.

Nobody can tell an answer that was lost from one that is on its way. So each further poll of that
process is answered with them, too, for as long as it does not name them; an agent that has them
already passes them over. A later process that does not name them never had them, by the rule for
what came with completions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import AgentRecord
from coordinator.domain.steps.hand_outs import HandOut, HandOuts, Lease
from coordinator.domain.steps.holders import holder_of
from coordinator.services.core import Core
from coordinator.services.steps.step_specs import StepSpecs
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from coordinator.storage.trouble import tell_fault
from pipelines_schema.contract import PollRequest, StepSpec

log = structlog.get_logger()


def given_to(instance: str) -> str:
    """How an attempt's row says which process began it by a poll (`given_with`)."""
    return f"poll:{hashlib.sha256(instance.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class ToldAgain:
    core: Core
    hand_outs: HandOuts
    clock: Callable[[], float]
    moved: Callable[[], None]
    """Called when the end of a hand-out has come or changed."""

    async def tell(
        self, agent: AgentRecord, request: PollRequest
    ) -> Sequence[tuple[StepSpec, float]]:
        """What this process was given and does not name, each with when its lease began anew."""
        if not request.instance:
            return ()
        holder, instance = holder_of(agent.id), request.instance
        await self._find_of_before(holder, request)
        if request.declined:
            declined = [(one.step_id, one.epoch) for one in request.declined]
            self.hand_outs.decline(holder, instance, declined, self.clock())
            self.moved()
        told = []
        for hand_out in self.hand_outs.to_be_told(holder, instance, self.clock()):
            try:
                spec, now = await self._spec(hand_out), self.clock()
            except Exception as error:  # all else is answered; this is left to its lease
                tell_fault(log, "a begun step can't be told", error, step=hand_out.step_id)
                continue
            if spec is None:  # it has ended, of which word came before it was known here
                self.hand_outs.release(*hand_out.lease)
            elif self.hand_outs.tell_again(hand_out.lease, instance, now):
                told.append((spec, now))
            self.moved()
        return told

    async def _find_of_before(self, holder: str, request: PollRequest) -> None:
        """This coordinator may have begun since, or the agent come from another one: the rows say
        which process was given what."""
        named = {(one.step_id, one.epoch) for one in request.leases}
        unknown = self.hand_outs.of_unknown_processes(holder, named)
        if not unknown:
            return

        async def read(connection: AsyncConnection) -> list[Lease]:
            found = [
                await stored_attempts.find_attempt(connection, one.step_id, one.epoch)
                for one in unknown
            ]
            its = given_to(request.instance or "")
            return [(one.step_id, one.epoch) for one in found if one and one.given_with == its]

        for lease in await self.core.database.read(read):
            self.hand_outs.tell_again(lease, request.instance or "", self.clock())

    async def _spec(self, hand_out: HandOut) -> StepSpec | None:
        """None where it does not run any more."""

        async def read(connection: AsyncConnection) -> StepSpec | None:
            step = await stored_steps.find_step(connection, hand_out.step_id)
            if step is None or step.epoch != hand_out.epoch or step.state is not StepState.RUNNING:
                return None
            return await StepSpecs(self.core).read(connection, step)

        try:
            return await self.core.database.read(read)
        except (
            Exception
        ) as error:  # what else the agent asks is answered; this is left to its lease
            tell_fault(log, "a begun step can't be told", error, step=hand_out.step_id)
            return None
