"""The queue: which agent is offered which step. Around it, what holds hand-outs together.

Three kinds of memory meet here. The database says who holds which step (`storage/builds`), the
hand-outs until when (`domain/hand_outs`), and held polls who waits for work (`polls`): the latter
two are in memory, so that an idle poll and a renewal write nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import AgentRecord, Build, Step
from coordinator.domain.steps.hand_outs import HandOut, HandOuts, HandOutState
from coordinator.domain.steps.holders import holder_of
from coordinator.domain.steps.scheduling import Assignment, Queue, WaitingAgent, assign, suits
from coordinator.domain.steps.verdict import may_run_again_when_lost
from coordinator.domain.steps.waits import why_it_waits
from coordinator.services.core import Core
from coordinator.services.steps import advance
from coordinator.services.steps.leases import Leases, boot_seconds
from coordinator.services.steps.polls import Polls
from coordinator.services.steps.presence import Presence
from coordinator.services.steps.queue_timeouts import QueueTimeouts
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.steps import queue as stored_queue
from coordinator.storage.steps import steps as stored_steps
from coordinator.storage.steps.places import groups_in_line
from coordinator.storage.trouble import tell_fault
from pipelines_schema.contract import (
    GoodbyeRequest,
    PollRequest,
    PollResponse,
    RenewRequest,
    RenewResponse,
)

log = structlog.get_logger()


RESULT_GRACE_SECONDS = 300.0
"""How long after its timeout the result of a step is waited for that may not run again."""


class Dispatch:
    def __init__(self, core: Core, clock: Callable[[], float] = boot_seconds) -> None:
        self._core, self._clock = core, clock
        self._hand_outs = HandOuts(
            accept_seconds=core.settings.accept_seconds,
            # Starts at the clock so that an agent's `seen` stays older across our restarts.
            cancel_sequence=int(time.time() * 1000),
        )
        self._presence = Presence(clock)
        self.leases = Leases(core, self._hand_outs, clock, self.wake)
        self._polls = Polls(
            core, self._hand_outs, self._presence, clock, wake=self.wake, moved=self.leases.moved
        )
        self._timeouts = QueueTimeouts(core, self._presence, self.wake)
        self._wake = asyncio.Event()
        core.announcements.ready = self.wake
        core.announcements.cancelled = self.cancelled

    # The background tasks

    async def load(self) -> None:
        """Take up the hand-outs of before a restart: each begins a new term."""
        self._presence.pause(*await self._core.database.read(stored_accounts.paused_agents))
        self._presence.drain(*await self._core.database.read(stored_accounts.drained_agents))
        for build_id in await self._core.database.read(stored.miscounted_builds):
            await self._count_anew(build_id)
        for group in await self._core.database.read(groups_in_line):
            await self._fill_places(*group)
        for step in await self._core.database.read(stored_steps.handed_out_steps):
            if step.state is StepState.RUNNING:
                self.begin(step)
            else:
                self._hand_outs.offer(
                    self._hand_out(step.id, step.build_id, step.epoch, step.holder or ""),
                    self._clock(),
                )
        self.leases.moved()
        self.wake()

    async def _count_anew(self, build_id: str) -> None:
        """Whatever made its counts wrong: it must not wait for nothing."""
        log.error("a build's counts were wrong", build=build_id)
        await self._core.database.write(
            lambda connection: advance.settle_build(self._core, connection, build_id)
        )

    async def _fill_places(self, account_id: str, group: str) -> None:
        await self._core.database.write(
            lambda connection: advance.fill_places(self._core, connection, account_id, group)
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._dispatch_forever(), name="dispatch")
            tasks.create_task(self.leases.run(), name="leases")
            tasks.create_task(self._timeouts.run(), name="queue timeouts")

    def wake(self) -> None:
        """Something became ready, or somebody waits."""
        self._wake.set()
        self._timeouts.moved()

    async def _dispatch_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._dispatch()
            except Exception as error:  # a task root: one bad round must not stop the queue
                tell_fault(log, "dispatch failed", error)
                await asyncio.sleep(1)
                self._wake.set()

    async def _dispatch(self) -> None:
        """Hand out until no slot is free or no queue has a step for one."""
        waiting = self._polls.waiting()
        if not waiting:
            return
        queues, busy = await self._core.database.read(
            lambda connection: _read_queues(
                connection, waiting, self._core.settings.project_max_running_steps
            )
        )
        if queues:
            await self._core.database.write(
                lambda connection: self._offer(connection, queues, waiting, busy),
                committed=self._deliver,
            )

    async def _offer(
        self,
        connection: AsyncConnection,
        queues: Sequence[Queue],
        waiting: Sequence[WaitingAgent],
        busy: Mapping[str, int],
    ) -> list[HandOut]:
        """In one transaction, so that a poll is answered with all its offers.

        A queue is asked for as many steps as it may get, and may have fewer: then it is done with,
        and its slots are given once more.
        """
        made: list[HandOut] = []
        most = self._core.settings.project_max_running_steps
        while assignments := assign(queues, waiting, busy, most_of_a_project=most):
            given, empty = await self._offer_each(connection, assignments)
            made += [hand_out for _, hand_out in given]
            if not empty:
                break
            queues = [queue for queue in queues if queue.key not in empty]
            busy = Counter(busy) + Counter(queue.project_id for queue, _ in given)
            taken = Counter(hand_out.holder for _, hand_out in given)
            waiting = [
                replace(agent, free=agent.free - taken[holder_of(agent.agent_id)])
                for agent in waiting
            ]
        return made

    async def _offer_each(
        self, connection: AsyncConnection, assignments: Sequence[Assignment]
    ) -> tuple[list[tuple[Queue, HandOut]], set[tuple[str, str]]]:
        """Also the keys of queues that had fewer steps than were asked for."""
        made: list[tuple[Queue, HandOut]] = []
        empty: set[tuple[str, str]] = set()
        for queue, holder in [(one.queue, holder_of(one.agent_id)) for one in assignments]:
            given = None
            if queue.key not in empty:
                given = await stored_queue.offer_next(connection, queue, holder)
            if given is None:
                empty.add(queue.key)
            else:
                made.append((queue, self._hand_out(*given, holder)))
        return made, empty

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

    def _deliver(self, offered: list[HandOut]) -> None:
        now = self._clock()
        for made in offered:
            hand_out = replace(made, instance=self._polls.instance_of(made.holder))
            delivered = self._polls.deliver(hand_out)
            self._hand_outs.offer(hand_out, now)
            if not delivered:
                self._hand_outs.end_soon(hand_out.lease, now)
        self.leases.moved()

    def surely_runs(self, step_id: str, epoch: int | None, holder: str) -> bool:
        """Whether that is its holder's hand-out, as far as is known without the database."""
        held = self._hand_outs.find(step_id)
        return held is not None and held.runs and (held.epoch, held.holder) == (epoch, holder)

    # A step handed over with the answer to a completion

    def may_hand_over_to(self, agent_id: str) -> WaitingAgent | None:
        """The agent as it said in its last poll, with the slot that its completion frees; None for
        one that is paused or has not polled since this coordinator began."""
        said = self._presence.said(agent_id)
        return None if said is None or said.paused else replace(said, free=1)

    async def choose(self, connection: AsyncConnection, agent: WaitingAgent) -> Queue | None:
        """Whose turn it is at that slot, by the same rule as for slots that wait."""
        most = self._core.settings.project_max_running_steps
        queues, busy = await _read_queues(connection, [agent], most)
        return next(
            (one.queue for one in assign(queues, [agent], busy, most_of_a_project=most)), None
        )

    def hand_over(self, step: Step, instance: str) -> None:
        """It was given with an answer, in the place of one that has ended: no other slot is taken,
        and nobody knows yet whether the answer arrives."""
        self._begin(step, instance=instance, confirmed=False)

    # What others tell us

    def begin(self, step: Step) -> None:
        """The database has it as running; its lease starts now."""
        self._polls.takes_a_slot(step.holder or "")
        self._begin(step)

    def _begin(self, step: Step, *, instance: str | None = None, confirmed: bool = True) -> None:
        hand_out = self._hand_out(
            step.id,
            step.build_id,
            step.epoch,
            step.holder or "",
            HandOutState.RUNNING,
            step.lease_seconds,
        )
        if not may_run_again_when_lost(step.definition):
            waited = step.written.timeout_seconds + RESULT_GRACE_SECONDS
            hand_out = replace(hand_out, term_seconds=max(waited, hand_out.term_seconds))
        hand_out = replace(hand_out, instance=instance, confirmed=confirmed)
        self._hand_outs.begin(hand_out, self._clock())
        if step.cancel_requested_by is not None:
            self._hand_outs.cancel_one(step.id, self._clock())
        self.leases.moved()

    def ended(self, step_id: str, epoch: int) -> None:
        """The attempt of that epoch is over; an offer made since is taken back."""
        self._hand_outs.complete(step_id, epoch)

    def cancelled(self, build_id: str, spared: Collection[str] = ()) -> None:
        """The build was cancelled, but for some steps: tell its agents."""
        for holder in self._hand_outs.cancel(build_id, self._clock(), spared=spared):
            self._polls.tell(holder)
        self.leases.moved()
        self.wake()

    # What agents and people ask

    async def poll(self, agent: AgentRecord, request: PollRequest) -> PollResponse:
        return await self._polls.poll(agent, request)

    async def renew(self, agent: AgentRecord, request: RenewRequest) -> RenewResponse:
        return await self._polls.renew(agent, request)

    async def goodbye(self, agent: AgentRecord, request: GoodbyeRequest) -> None:
        await self._polls.goodbye(agent, request)

    def revoked(self, agent_id: str) -> None:
        """The agent's credential is no longer good: let it notice. A poll that was let in before
        that and is held after this is noticed with the next renewal."""
        self._polls.send_away(agent_id)

    def gone(self, agent_id: str, instance: str) -> None:
        """The agent of that id is another one now: see `Polls.gone`."""
        self._polls.gone(agent_id, instance)

    def paused(self, agent_id: str) -> None:
        """It takes no new steps: an offer that its poll was not answered with yet is taken back."""
        self._presence.pause(agent_id)

    def drained(self, agent_id: str) -> None:
        """Besides, its process is to end: a poll that is held is answered with that."""
        self._presence.drain(agent_id)
        self._polls.tell(holder_of(agent_id))

    def resumed(self, agent_id: str) -> None:
        self._presence.resume(agent_id)
        self.wake()

    def is_paused(self, agent_id: str) -> bool:
        return self._presence.is_paused(agent_id)

    def last_seen(self, agent: AgentRecord) -> datetime:
        """What is known here is newer than the row, which is written seldom."""
        silent = self._presence.silent_seconds(agent.id)
        if silent is None:
            return agent.last_seen_at
        return max(self._core.now() - timedelta(seconds=silent), agent.last_seen_at)

    def online(self) -> Sequence[WaitingAgent]:
        """What each agent that is there said in its last poll."""
        return self._presence.online()

    def is_online(self, agent_id: str) -> bool:
        return self._presence.is_online(agent_id)

    def explain(
        self,
        step: Step,
        build: Build | None = None,
        unfinished: Sequence[str] = (),
        holders: Sequence[str] = (),
    ) -> str | None:
        """What a pending step waits for, as a sentence; None for one that doesn't wait. Of a step
        that can only wait for an agent, nothing else has to be known; `holders` are those of its
        group's places."""
        most = self._core.settings.project_max_running_steps
        online, free = self._presence.online(), self._polls.waiting()
        return why_it_waits(
            step, build, unfinished, online, most, holders, free, now=self._core.now()
        )


async def _read_queues(
    connection: AsyncConnection, waiting: Sequence[WaitingAgent], most: int | None
) -> tuple[Sequence[Queue], Mapping[str, int]]:
    """The queues that one of the agents suits, and how many steps of each project run."""
    queues = await stored_queue.waiting_queues(
        connection, lambda one: any(suits(one, agent) for agent in waiting)
    )
    # Of one project alone nobody's turn is asked for.
    alone = most is None and len({queue.project_id for queue in queues}) < 2
    busy = {} if alone else await stored_queue.handed_out_per_project(connection)
    return queues, busy
