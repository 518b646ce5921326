"""What agents ask: held polls, renewals, and what they are told."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import AgentRecord, Step
from coordinator.domain.steps.hand_outs import HandOut, HandOuts, Lease
from coordinator.domain.steps.holders import holder_of
from coordinator.domain.steps.late_reports import is_late
from coordinator.domain.steps.scheduling import AgentDisk, WaitingAgent
from coordinator.services.core import Core
from coordinator.services.news import Bell, wait_for
from coordinator.services.steps.presence import Presence
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from pipelines_schema.contract import (
    GoodbyeRequest,
    LeaseRef,
    Offer,
    PollRequest,
    PollResponse,
    RenewRequest,
    RenewResponse,
    StepSpec,
)

SEEN = re.compile(r"[0-9]{1,18}", re.ASCII)
"""A cursor of ours; any other is an agent that has seen nothing."""
FIRST_POLL_LEAST = 0.2
"""Of the time that a poll is held: the shortest that an agent's first one is."""


Begun = tuple[StepSpec, float]
"""Of a step that runs, and when its lease began."""


@dataclass(slots=True)
class Waiter:
    """An agent whose poll is held."""

    agent: WaitingAgent
    seconds: float
    """For how long, if nothing happens."""
    came_at: float
    instance: str | None = None
    woken: Bell = field(default_factory=Bell)
    offers: list[Offer] = field(default_factory=list)
    begun: list[StepSpec | LeaseRef] = field(default_factory=list)
    """Specs: leases are what old agents read of them."""
    begun_at: float = 0.0
    """When the first of their leases began."""

    def give_begun(self, spec: StepSpec, since: float) -> None:
        self.begun_at = min(self.begun_at, since) if self.begun else since
        self.begun.append(spec)


async def nowhere_else(_: AgentRecord) -> None:
    """There is one coordinator."""


async def never_told(_agent: AgentRecord, _request: PollRequest) -> Sequence[Begun]:
    """No step begins with the answer to a poll."""
    return ()


class Polls:
    def __init__(
        self,
        core: Core,
        hand_outs: HandOuts,
        presence: Presence,
        clock: Callable[[], float],
        *,
        wake: Callable[[], None],
        moved: Callable[[], None],
        told_again: Callable[[AgentRecord, PollRequest], Awaitable[Sequence[Begun]]] = never_told,
        receive: Callable[[AgentRecord], Awaitable[None]] = nowhere_else,
        still_runs: Callable[[Step], None] = lambda step: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`told_again` is asked with each poll what its answer has to bring once more, `receive` is
        called with each agent that asks, `still_runs` with what runs of its and was not known here.
        `chance` gives numbers in [0, 1)."""
        self._core, self._hand_outs, self._presence = core, hand_outs, presence
        self._clock, self._wake, self._moved, self._chance = clock, wake, moved, chance
        self._told_again, self._receive, self._still_runs = told_again, receive, still_runs
        self._waiters: dict[str, Waiter] = {}

    # What dispatch asks

    def waiting(self) -> list[WaitingAgent]:
        """Agents with a slot left once their open offers are counted."""
        agents = map(self._effective, self._waiters.values())
        return [agent for agent in agents if agent.free]

    def instance_of(self, holder: str) -> str | None:
        waiter = self._waiter(holder)
        return waiter.instance if waiter else None

    def deliver(self, hand_out: HandOut) -> bool:
        """Answer the poll with the offer; False where it ended, or said anew what is free, while
        the offer was saved."""
        waiter = self._waiter(hand_out.holder)
        if waiter is None or self._effective(waiter).free < 1:
            return False
        waiter.offers.append(
            Offer(
                step_id=hand_out.step_id,
                epoch=hand_out.epoch,
                accept_within_seconds=self._core.settings.accept_seconds,
            )
        )
        waiter.woken.set()
        return True

    def give_begun(self, holder: str, begun: Begun) -> None:
        """Answer the poll with a step that runs. Where it ended meanwhile, the next one of that
        process is answered with it."""
        if waiter := self._waiter(holder):
            waiter.give_begun(*begun)
            waiter.woken.set()

    def has_left(self, agent: WaitingAgent) -> bool:
        """The process said goodbye, was sent away, or another one has polled in its place."""
        said = self._presence.said(agent.agent_id)
        gone = said is None or said.process != agent.process
        return gone or self._presence.has_ended(agent.agent_id, agent.process)

    def takes_a_slot(self, holder: str) -> None:
        """The poll that waits may have been sent before this was accepted; the next one knows."""
        if waiter := self._waiter(holder):
            waiter.agent = replace(waiter.agent, free=max(waiter.agent.free - 1, 0))

    def tell(self, holder: str) -> None:
        """There is a cancel."""
        if waiter := self._waiter(holder):
            waiter.woken.set()

    def _waiter(self, holder: str) -> Waiter | None:
        return self._waiters.get(holder.removeprefix("agent:"))

    def _effective(self, waiter: Waiter) -> WaitingAgent:
        if self._presence.is_paused(waiter.agent.agent_id):
            return replace(waiter.agent, free=0)
        unheard = self._hand_outs.unheard_by(holder_of(waiter.agent.agent_id))
        if not unheard:  # of a thousand idle agents each poll looks at all of them
            return waiter.agent
        return replace(waiter.agent, free=max(waiter.agent.free - unheard, 0))

    # What agents ask

    async def poll(self, agent: AgentRecord, request: PollRequest) -> PollResponse:
        """Held until there is an offer, a new cancel, a lost lease, or the time is over."""
        await self._receive(agent)
        await self._heard_of(agent, request.instance)
        seen = int(request.seen) if SEEN.fullmatch(request.seen) else 0
        came_at = self._clock()
        lost = await self._renew(agent, request)
        told = await self._told_again(agent, request)
        if self._presence.has_ended(agent.id, request.instance):
            return PollResponse(seen=request.seen)
        waiter = self._wait_as(agent, request, came_at)
        for begun in told:
            waiter.give_begun(*begun)
        del agent, request, told  # a thousand of them are megabytes
        return await self._hold(waiter, seen, lost)

    async def _hold(self, waiter: Waiter, seen: int, lost: list[LeaseRef]) -> PollResponse:
        agent_id, instance = waiter.agent.agent_id, waiter.instance
        try:
            is_told = self._presence.is_to_be_drained(agent_id, instance)
            if not (lost or waiter.begun or self._news_for(agent_id, seen) or is_told):
                if waiter.agent.free:
                    self._wake()
                # One event for all, and no task for it: a thousand polls are held at a time.
                with self._core.news.ring(waiter.woken, "closing"):
                    await wait_for(waiter.woken, waiter.seconds)
            offers, waiter.offers = waiter.offers, []
            begun, waiter.begun = waiter.begun, []
        finally:
            if self._waiters.get(agent_id) is waiter:
                del self._waiters[agent_id]
            self._give_back(waiter.offers)
        self._presence.heard(agent_id, instance)
        cancels = self._hand_outs.cancels_of(holder_of(agent_id))
        return PollResponse(
            offers=offers,
            begun=begun,
            held_seconds=max(waiter.begun_at - waiter.came_at, 0.0),
            cancels=[_lease(item) for item in cancels],
            lost=lost,
            lost_because=await self._why_lost(lost),
            drain=self._presence.is_drained(agent_id),
            seen=str(max([seen, *(item.cancel_sequence or 0 for item in cancels)])),
        )

    def _hold_seconds(self, agent_id: str) -> float:
        """Agents come back all at once when a coordinator begins: by first polls of different
        lengths they do so that once alone."""
        most = self._core.settings.poll_hold_seconds
        if self._presence.said(agent_id) is not None:
            return most
        return most * (FIRST_POLL_LEAST + (1 - FIRST_POLL_LEAST) * self._chance())

    async def renew(self, agent: AgentRecord, request: RenewRequest) -> RenewResponse:
        await self._receive(agent)
        self._presence.heard(agent.id, request.instance)
        lost = await self._renew(agent, request)
        cancels = self._hand_outs.cancels_of(holder_of(agent.id))
        return RenewResponse(
            cancels=[_lease(item) for item in cancels],
            lost=lost,
            lost_because=await self._why_lost(lost),
        )

    async def goodbye(self, agent: AgentRecord, request: GoodbyeRequest) -> None:
        """Its process ends: nobody waits for what it does not report later, no step for it."""
        await self._receive(agent)
        kept = _named(request.leases)
        self._hand_outs.leave(holder_of(agent.id), request.instance, kept, self._clock())
        # Its own poll may be held still: the end of a connection is not always heard of.
        if self.instance_of(holder_of(agent.id)) == request.instance:
            self.send_away(agent.id)
        self._presence.left(agent.id, request.instance)
        self._moved()
        await self._write_down(agent)

    def gone(self, agent_id: str, instance: str) -> None:
        """Its credential was revoked, and its process, which goes on as another agent, runs nothing
        of it any more. What another process with that credential may still run is left to its
        lease: that one ends it by itself before."""
        holder, now = holder_of(agent_id), self._clock()
        self._hand_outs.leave(holder, instance, (), now)
        if self._is_only_process(agent_id, instance):
            self._hand_outs.take_over(holder, instance, (), now)
            self.send_away(agent_id)
            self._presence.left(agent_id)
        self._moved()

    def send_away(self, agent_id: str) -> None:
        """End the poll that was held since before; nothing more is offered to it, and no step
        waits for it. What it holds is left to the leases: it may still run."""
        if waiter := self._waiters.pop(agent_id, None):
            waiter.woken.set()
        self._presence.takes_nothing(agent_id)

    async def _renew(
        self, agent: AgentRecord, request: PollRequest | RenewRequest
    ) -> list[LeaseRef]:
        self._follow(agent, request)
        holder = holder_of(agent.id)
        lost: Sequence[Lease] = self._hand_outs.renew(holder, _named(request.leases), self._clock())
        if lost and self._core.others is not None:
            lost = await self._but_what_runs(holder, lost)
        if lost and request.instance:
            lost = await self._core.database.read(
                lambda connection: _lost_for_good(connection, holder, lost)
            )
        return [LeaseRef(step_id=step_id, epoch=epoch) for step_id, epoch in lost]

    async def _but_what_runs(self, holder: str, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Those that are lost, but for what another coordinator has handed out, or taken an accept
        of, which was not heard of here."""

        async def read(connection: AsyncConnection) -> list[Step | None]:
            return [await stored_steps.find_step(connection, step_id) for step_id, _ in leases]

        for step in await self._core.database.read(read):
            if step is None or step.holder != holder or step.state is not StepState.RUNNING:
                continue
            if (lease := (step.id, step.epoch)) in leases:
                self._still_runs(step)
                leases = [one for one in leases if one != lease]
        return leases

    async def _why_lost(self, lost: Sequence[LeaseRef]) -> str | None:
        generations = self._core.generations
        if not lost or generations.current is None:
            return None

        async def read(connection: AsyncConnection) -> str | None:
            for lease in lost:
                step = await stored_steps.find_step(connection, lease.step_id)
                if why := generations.refusal(step, lease.epoch):
                    return why
            return None

        return await self._core.database.read(read)

    def _follow(self, agent: AgentRecord, request: PollRequest | RenewRequest) -> None:
        """A process that was not heard before has taken the place of an earlier one."""
        if self._presence.has_ended(agent.id, request.instance):
            return
        if request.instance and self._is_only_process(agent.id, request.instance):
            held = _named(request.leases)
            self._hand_outs.take_over(holder_of(agent.id), request.instance, held, self._clock())
            self._moved()

    def _is_only_process(self, agent_id: str, instance: str) -> bool:
        """Not while another one's poll is held: it may live, as one of two with the same
        credential. Its next poll, which this one ends, tells."""
        older = self._waiters.get(agent_id)
        if older is not None and older.instance not in (None, instance):
            return False
        return self._presence.is_only_process(agent_id, instance)

    def _wait_as(self, agent: AgentRecord, request: PollRequest, came_at: float) -> Waiter:
        waiting = WaitingAgent(
            agent_id=agent.id,
            account_id=agent.account_id,
            labels={**agent.labels, **request.labels},
            free=request.free,
            warm=frozenset(request.warm),
            capabilities=_capabilities(*request.capabilities),
            name=agent.name,
            disk=_disk_of(request),
            process=request.instance if request.takes_begun else None,
        )
        if older := self._waiters.get(agent.id):
            older.woken.set()
        waiter = self._waiters[agent.id] = Waiter(
            agent=waiting,
            seconds=self._hold_seconds(agent.id),
            came_at=came_at,
            instance=request.instance,
        )
        self._presence.says(waiting)
        return waiter

    def _news_for(self, agent_id: str, seen: int) -> bool:
        cancels = self._hand_outs.cancels_of(holder_of(agent_id))
        return any((item.cancel_sequence or 0) > seen for item in cancels)

    def _give_back(self, offers: Sequence[Offer]) -> None:
        """Offers whose poll broke off go to the next at once, not after the accept time. What has
        begun is told again: another poll may be answered with it by now."""
        for offer in offers:
            self._hand_outs.end_soon((offer.step_id, offer.epoch), self._clock())
        if offers:
            self._moved()

    async def _heard_of(self, agent: AgentRecord, instance: str | None) -> None:
        self._presence.heard(agent.id, instance)
        if self._presence.is_to_be_written(agent.id):
            await self._write_down(agent)

    async def _write_down(self, agent: AgentRecord) -> None:
        when = self._core.now()
        await self._core.database.note(
            lambda connection: stored.touch_agent(connection, agent.id, when)
        )


async def _lost_for_good(
    connection: AsyncConnection, holder: str, leases: Sequence[Lease]
) -> list[Lease]:
    """Those whose result would come too late. An agent that names its instance has ended such a
    script by itself, so that it is not told to, and reports what there is."""
    lost = []
    for step_id, epoch in leases:
        step = await stored_steps.find_step(connection, step_id)
        attempt = await stored_attempts.find_attempt(connection, step_id, epoch)
        its_own = attempt is not None and attempt.holder == holder
        if step is None or attempt is None or not its_own or not is_late(step, attempt):
            lost.append((step_id, epoch))
    return lost


@lru_cache(maxsize=256)
def _capabilities(*named: str) -> frozenset[str]:
    """One set for all agents of a kind."""
    return frozenset(named)


def _named(leases: Sequence[LeaseRef]) -> list[Lease]:
    return [(lease.step_id, lease.epoch) for lease in leases]


def _lease(hand_out: HandOut) -> LeaseRef:
    return LeaseRef(step_id=hand_out.step_id, epoch=hand_out.epoch)


def _disk_of(request: PollRequest) -> AgentDisk | None:
    said = request.disk
    if "freeBytes" not in said or "totalBytes" not in said:
        return None
    return AgentDisk(free=said["freeBytes"], total=said["totalBytes"], floor=said.get("floorBytes"))
