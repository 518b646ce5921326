"""The queue: which agent is offered which step. Around it, what holds hand-outs together.

Three kinds of memory meet here. The database says who holds which step (`storage/builds`), the
hand-outs until when (`domain/hand_outs`), and held polls who waits for work (`polls`): the latter
two are in memory, so that an idle poll and a renewal write nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from coordinator.domain.hand_outs import HandOut, HandOuts, HandOutState
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import AgentRecord, Step
from coordinator.domain.scheduling import Assignment, WaitingAgent, assign
from coordinator.domain.waits import why_it_waits
from coordinator.services.core import Core
from coordinator.services.leases import Leases, boot_seconds
from coordinator.services.polls import Polls, holder_of
from coordinator.services.presence import Presence
from coordinator.storage import builds as stored
from coordinator.storage.connection import AsyncConnection
from pipelines_schema.contract import PollRequest, PollResponse, RenewRequest, RenewResponse

log = structlog.get_logger()

READY_MAX = 5_000
"""Ready steps looked at in one dispatch."""


class Dispatch:
    def __init__(self, core: Core, clock: Callable[[], float] = boot_seconds) -> None:
        self._core, self._clock = core, clock
        self._hand_outs = HandOuts(
            accept_seconds=core.settings.accept_seconds,
            # Starts at the clock so that an agent's `seen` stays older across our restarts.
            cancel_sequence=int(time.time() * 1000),
        )
        self._presence = Presence(clock)
        self._leases = Leases(core, self._hand_outs, clock, self.wake)
        self._polls = Polls(
            core, self._hand_outs, self._presence, clock, wake=self.wake, moved=self._leases.moved
        )
        self._wake = asyncio.Event()

    # The background tasks

    async def load(self) -> None:
        """Take up the hand-outs of before a restart: each begins a new term."""
        for step in await self._core.database.read(stored.handed_out_steps):
            if step.state is StepState.RUNNING:
                self.begin(step)
            else:
                self._hand_outs.offer(
                    self._hand_out(step.id, step.build_id, step.epoch, step.holder or ""),
                    self._clock(),
                )
        self._leases.moved()
        self.wake()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._dispatch_forever(), name="dispatch")
            tasks.create_task(self._leases.run(), name="leases")

    def wake(self) -> None:
        """Something became ready, or somebody waits."""
        self._wake.set()

    async def _dispatch_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._dispatch()
            except Exception:  # a task root: one bad round must not stop the queue
                log.exception("dispatch failed")
                await asyncio.sleep(1)
                self._wake.set()

    async def _dispatch(self) -> None:
        waiting = self._polls.waiting()
        if not waiting:
            return
        assignments = await self._core.database.read(
            lambda connection: self._choose(connection, waiting)
        )
        if assignments:
            await self._core.database.write(
                lambda connection: self._offer(connection, assignments), committed=self._deliver
            )

    async def _choose(
        self, connection: AsyncConnection, waiting: Sequence[WaitingAgent]
    ) -> list[Assignment]:
        ready = await stored.ready_steps(connection, READY_MAX)
        if not ready:
            return []
        return assign(ready, waiting, await stored.handed_out_per_project(connection))

    async def _offer(
        self, connection: AsyncConnection, assignments: Sequence[Assignment]
    ) -> list[HandOut]:
        made = []
        for assignment in assignments:
            holder = holder_of(assignment.agent_id)
            given = await stored.hand_out(
                connection, assignment.step_id, to=StepState.OFFERED, holder=holder
            )
            if given is not None:
                epoch, build_id = given
                made.append(self._hand_out(assignment.step_id, build_id, epoch, holder))
        return made

    def _hand_out(
        self,
        step_id: str,
        build_id: str,
        epoch: int,
        holder: str,
        state: HandOutState = HandOutState.OFFERED,
        lease_seconds: float | None = None,
    ) -> HandOut:
        lease = lease_seconds or self._core.settings.lease_seconds
        return HandOut(
            step_id=step_id,
            build_id=build_id,
            epoch=epoch,
            holder=holder,
            state=state,
            deadline=0.0,
            term_seconds=lease,
            lease_seconds=lease,
        )

    def _deliver(self, made: list[HandOut]) -> None:
        now = self._clock()
        for hand_out in made:
            delivered = self._polls.deliver(hand_out)
            self._hand_outs.offer(hand_out, now)
            if not delivered:
                self._hand_outs.end_soon(hand_out.lease, now)
        self._leases.moved()

    # What others tell us

    def begin(self, step: Step) -> None:
        """The database has it as running; its lease starts now."""
        hand_out = self._hand_out(
            step.id,
            step.build_id,
            step.epoch,
            step.holder or "",
            HandOutState.RUNNING,
            step.lease_seconds,
        )
        self._polls.takes_a_slot(hand_out.holder)
        self._hand_outs.begin(hand_out, self._clock())
        if step.cancel_requested_by is not None:
            self._hand_outs.cancel_one(step.id, self._clock())
        self._leases.moved()

    def release(self, step_id: str, epoch: int) -> None:
        """The hand-out of that epoch is over."""
        self._hand_outs.release(step_id, epoch)

    def cancelled(self, build_id: str) -> None:
        """The build was cancelled: tell its agents."""
        for holder in self._hand_outs.cancel(build_id, self._clock()):
            self._polls.tell(holder)
        self._leases.moved()
        self.wake()

    # What agents and people ask

    async def poll(self, agent: AgentRecord, request: PollRequest) -> PollResponse:
        return await self._polls.poll(agent, request)

    def renew(self, agent: AgentRecord, request: RenewRequest) -> RenewResponse:
        return self._polls.renew(agent, request)

    def is_online(self, agent_id: str) -> bool:
        return self._presence.is_online(agent_id)

    def explain(self, step: Step, unfinished: Sequence[str]) -> str | None:
        """What a pending step waits for, as a sentence; None for one that doesn't wait."""
        return why_it_waits(step, unfinished, self._presence.online())
