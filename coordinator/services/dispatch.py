"""Hand-outs: which agent holds which step, until when, and what it must be told.

Polls and leases live in memory, so that an idle poll and a renewal write nothing. A restart loses
only the deadlines: every hand-out in the database starts a new lease, in which its agent
reconnects.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from coordinator.domain.lifecycle import StepEvent, StepState
from coordinator.domain.model import AgentRecord, Step
from coordinator.domain.scheduling import Assignment, WaitingAgent, assign
from coordinator.domain.verdict import AttemptEnd
from coordinator.services import advance
from coordinator.services.core import Core
from coordinator.services.news import build_topic, log_topic
from coordinator.storage import accounts as stored_accounts
from coordinator.storage import builds as stored
from coordinator.storage.connection import AsyncConnection
from pipelines_schema.contract import (
    Completion,
    CompletionReason,
    LeaseRef,
    Offer,
    PollRequest,
    PollResponse,
    RenewResponse,
)

log = structlog.get_logger()

NO_CAPABLE_AGENT = (
    "no connected agent can build images: start one with `pushrod agent --engine buildkit`"
)
READY_MAX = 5_000
"""Ready steps looked at in one dispatch."""
ONLINE_SECONDS = 75.0
"""An agent that was silent for longer is shown as offline."""
SEEN_EVERY_SECONDS = 300.0
SEEN = re.compile(r"[0-9]{1,18}", re.ASCII)
"""A cursor of ours; any other is an agent that has seen nothing."""


@dataclass(slots=True)
class HandOut:
    step_id: str
    build_id: str
    epoch: int
    holder: str
    running: bool
    """Accepted; False while it is only offered."""
    deadline: float
    lease_seconds: float
    cancel_sequence: int | None = None
    """Set once its cancel was asked for; counts up over all cancels."""


@dataclass(slots=True)
class Waiter:
    agent: WaitingAgent
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    offers: list[Offer] = field(default_factory=list)


class Dispatch:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._hand_outs: dict[str, HandOut] = {}
        self._waiters: dict[str, Waiter] = {}
        self._last_heard: dict[str, float] = {}
        self._labels: dict[str, WaitingAgent] = {}
        self._wake = asyncio.Event()
        self._deadline_moved = asyncio.Event()
        # Starts at the clock so that an agent's `seen` stays older across our restarts.
        self._cancel_sequence = int(time.time() * 1000)

    # The background tasks

    async def load(self) -> None:
        """Take up the hand-outs of before a restart."""
        steps = await self._core.database.read(stored.handed_out_steps)
        for step in steps:
            running = step.state is StepState.RUNNING
            self.register(step, step.epoch, step.holder or "", running=running)
        self.wake()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._dispatch_forever(), name="dispatch")
            tasks.create_task(self._expire_forever(), name="leases")

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
        waiting = [agent for agent in map(self._effective, self._waiters.values()) if agent.free]
        if not waiting:
            return
        assignments = await self._core.database.read(
            lambda connection: self._choose(connection, waiting)
        )
        if assignments:
            await self._core.database.write(
                lambda connection: self._offer(connection, assignments), committed=self._deliver
            )

    def _effective(self, waiter: Waiter) -> WaitingAgent:
        """The agent with the slots left once its open offers are counted."""
        holder = f"agent:{waiter.agent.agent_id}"
        offered = sum(
            1 for item in self._hand_outs.values() if item.holder == holder and not item.running
        )
        return WaitingAgent(
            agent_id=waiter.agent.agent_id,
            account_id=waiter.agent.account_id,
            labels=waiter.agent.labels,
            free=max(waiter.agent.free - offered, 0),
            warm=waiter.agent.warm,
            capabilities=waiter.agent.capabilities,
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
            holder = f"agent:{assignment.agent_id}"
            given = await stored.hand_out(
                connection, assignment.step_id, to=StepState.OFFERED, holder=holder
            )
            if given is not None:
                epoch, build_id = given
                made.append(self._hand_out(assignment.step_id, build_id, epoch, holder))
        return made

    def _hand_out(self, step_id: str, build_id: str, epoch: int, holder: str) -> HandOut:
        return HandOut(
            step_id=step_id,
            build_id=build_id,
            epoch=epoch,
            holder=holder,
            running=False,
            deadline=_now() + self._core.settings.accept_seconds,
            lease_seconds=self._core.settings.lease_seconds,
        )

    def _deliver(self, made: list[HandOut]) -> None:
        for hand_out in made:
            waiter = self._waiters.get(hand_out.holder.removeprefix("agent:"))
            # The poll may have ended, or said anew what is free, while the offer was saved.
            if waiter is None or self._effective(waiter).free < 1:
                hand_out.deadline = _now()
                self._hand_outs[hand_out.step_id] = hand_out
                continue
            self._hand_outs[hand_out.step_id] = hand_out
            waiter.offers.append(
                Offer(
                    step_id=hand_out.step_id,
                    epoch=hand_out.epoch,
                    accept_within_seconds=self._core.settings.accept_seconds,
                )
            )
            waiter.woken.set()
        self._deadline_moved.set()

    async def _expire_forever(self) -> None:
        while True:
            self._deadline_moved.clear()
            due = [item for item in self._hand_outs.values() if item.deadline <= _now()]
            for hand_out in due:
                if not self._is_over(hand_out):
                    continue
                try:
                    await self._expire(hand_out)
                except Exception:  # a task root: tried again a second later
                    log.exception("expiring failed", step=hand_out.step_id, epoch=hand_out.epoch)
                    hand_out.deadline = _now() + 1
            next_deadline = min(
                (item.deadline for item in self._hand_outs.values()), default=_now() + 3600
            )
            try:
                async with asyncio.timeout(max(next_deadline - _now(), 0)):
                    await self._deadline_moved.wait()
            except TimeoutError:
                continue

    async def _expire(self, hand_out: HandOut) -> None:
        """An offer goes back to the queue; a running attempt is lost.

        The write may have to wait in its queue: what was accepted or renewed before its turn stays.
        """

        async def expire(connection: AsyncConnection) -> bool:
            step = await stored.find_step(connection, hand_out.step_id)
            if not self._is_over(hand_out):
                return False
            if step is None or step.epoch != hand_out.epoch:
                return True
            if step.state is StepState.OFFERED:
                await advance.move_step(self._core, connection, step, StepEvent.EXPIRE)
            elif step.state is StepState.RUNNING:
                if not hand_out.running:
                    return False  # accepted in this very group commit
                await self._lose(connection, step)
            return True

        def committed(expired: bool) -> None:
            if not expired:
                return
            log.info("hand-out expired", step=hand_out.step_id, epoch=hand_out.epoch)
            self.release(hand_out.step_id, hand_out.epoch)
            self._core.news.publish(build_topic(hand_out.build_id))
            self._core.news.publish(log_topic(f"{hand_out.step_id}-{hand_out.epoch}"))
            self.wake()

        await self._core.database.write(expire, committed=committed)

    def _is_over(self, hand_out: HandOut) -> bool:
        """Its time is over, and nobody has accepted, renewed or ended it meanwhile."""
        return self._hand_outs.get(hand_out.step_id) is hand_out and hand_out.deadline <= _now()

    async def _lose(self, connection: AsyncConnection, step: Step) -> None:
        attempt = await stored.find_attempt(connection, step.id, step.epoch)
        if attempt is None:
            raise LookupError(f"step {step.id} runs without an attempt {step.epoch}")
        end = AttemptEnd(status=Completion.FAILED, exit_code=None, reason=CompletionReason.LOST)
        await advance.end_attempt(self._core, connection, step, attempt, end, None, None)

    # What others tell us

    def register(
        self,
        step: Step,
        epoch: int,
        holder: str,
        *,
        running: bool,
        lease_seconds: float | None = None,
    ) -> None:
        """A hand-out that the database has; its lease starts now."""
        lease = lease_seconds or step.lease_seconds or self._core.settings.lease_seconds
        waiter = self._waiters.get(holder.removeprefix("agent:"))
        if running and waiter is not None:
            # The poll that waits may have been sent before this was accepted; the next one knows.
            waiter.agent = replace(waiter.agent, free=max(waiter.agent.free - 1, 0))
        self._hand_outs[step.id] = HandOut(
            step_id=step.id,
            build_id=step.build_id,
            epoch=epoch,
            holder=holder,
            running=running,
            deadline=_now() + (lease if running else self._core.settings.accept_seconds),
            lease_seconds=lease,
        )
        if step.cancel_requested_by is not None:
            self._mark_cancelled(self._hand_outs[step.id])
        self._deadline_moved.set()

    def release(self, step_id: str, epoch: int) -> None:
        """The hand-out of that epoch is over."""
        hand_out = self._hand_outs.get(step_id)
        if hand_out is not None and hand_out.epoch == epoch:
            del self._hand_outs[step_id]

    def cancelled(self, build_id: str) -> None:
        """The build was cancelled: tell its agents. A worker that can't be told is let go."""
        for hand_out in list(self._hand_outs.values()):
            if hand_out.build_id != build_id or hand_out.cancel_sequence is not None:
                continue
            if not hand_out.running:
                self.release(hand_out.step_id, hand_out.epoch)
                continue
            self._mark_cancelled(hand_out)
            if not hand_out.holder.startswith("agent:"):
                hand_out.deadline = _now()
            if waiter := self._waiters.get(hand_out.holder.removeprefix("agent:")):
                waiter.woken.set()
        self._deadline_moved.set()
        self.wake()

    def _mark_cancelled(self, hand_out: HandOut) -> None:
        self._cancel_sequence += 1
        hand_out.cancel_sequence = self._cancel_sequence

    # What agents ask

    async def poll(self, agent: AgentRecord, request: PollRequest) -> PollResponse:
        """Held until there is an offer, a new cancel, a lost lease, or the time is over."""
        await self._heard_of(agent)
        seen = int(request.seen) if SEEN.fullmatch(request.seen) else 0
        lost = self._renew(agent, request.leases)
        waiter = self._wait_as(agent, request)
        try:
            if not lost and not self._news_for(agent, seen):
                self.wake()
                with self._core.news.listen("closing") as closing:
                    await _first_of(
                        waiter.woken, closing, seconds=self._core.settings.poll_hold_seconds
                    )
            offers, waiter.offers = waiter.offers, []
        finally:
            if self._waiters.get(agent.id) is waiter:
                del self._waiters[agent.id]
            self._give_back(waiter.offers)
        self._last_heard[agent.id] = _now()
        cancels = [item for item in self._held_by(agent) if item.cancel_sequence is not None]
        return PollResponse(
            offers=offers,
            cancels=[_lease(item) for item in cancels],
            lost=lost,
            drain=False,
            seen=str(max([seen, *(item.cancel_sequence or 0 for item in cancels)])),
        )

    def renew(self, agent: AgentRecord, leases: Sequence[LeaseRef]) -> RenewResponse:
        self._last_heard[agent.id] = _now()
        lost = self._renew(agent, leases)
        cancels = [item for item in self._held_by(agent) if item.cancel_sequence is not None]
        return RenewResponse(cancels=[_lease(item) for item in cancels], lost=lost)

    def _renew(self, agent: AgentRecord, leases: Sequence[LeaseRef]) -> list[LeaseRef]:
        lost = []
        for lease in leases:
            held = self._hand_outs.get(lease.step_id)
            if held is None or held.epoch != lease.epoch or held.holder != f"agent:{agent.id}":
                lost.append(lease)
            elif held.running:
                held.deadline = _now() + held.lease_seconds
        return lost

    def _wait_as(self, agent: AgentRecord, request: PollRequest) -> Waiter:
        waiting = WaitingAgent(
            agent_id=agent.id,
            account_id=agent.account_id,
            labels={**agent.labels, **request.labels},
            free=request.free,
            warm=frozenset(request.warm),
            capabilities=frozenset(request.capabilities),
        )
        if older := self._waiters.get(agent.id):
            older.woken.set()
        waiter = self._waiters[agent.id] = Waiter(agent=waiting)
        self._labels[agent.id] = waiting
        return waiter

    def _news_for(self, agent: AgentRecord, seen: int) -> bool:
        return any((item.cancel_sequence or 0) > seen for item in self._held_by(agent))

    def _held_by(self, agent: AgentRecord) -> list[HandOut]:
        holder = f"agent:{agent.id}"
        return [item for item in self._hand_outs.values() if item.holder == holder]

    def _give_back(self, offers: Sequence[Offer]) -> None:
        """Offers whose poll broke off go to the next at once, not after the accept time."""
        for offer in offers:
            held = self._hand_outs.get(offer.step_id)
            if held is not None and held.epoch == offer.epoch:
                held.deadline = _now()
        if offers:
            self._deadline_moved.set()

    async def _heard_of(self, agent: AgentRecord) -> None:
        last, now = self._last_heard.get(agent.id), _now()
        self._last_heard[agent.id] = now
        if last is not None and now - last < SEEN_EVERY_SECONDS:
            return
        when = self._core.now()
        await self._core.database.write(
            lambda connection: stored_accounts.touch_agent(connection, agent.id, when)
        )

    # What people ask

    def is_online(self, agent_id: str) -> bool:
        if agent_id in self._waiters:
            return True
        last = self._last_heard.get(agent_id)
        return last is not None and _now() - last < ONLINE_SECONDS

    def explain(self, step: Step, unfinished: Sequence[str]) -> str | None:
        """What a pending step waits for, as a sentence; None for one that doesn't wait."""
        if step.state is StepState.BLOCKED and not unfinished:
            return "waits for a maintainer to approve the build"
        if step.state is StepState.BLOCKED:
            return f"waits for {', '.join(unfinished)}"
        if step.state is StepState.OFFERED:
            return "is offered to an agent"
        if step.state is not StepState.READY:
            return None
        online = [agent for id_, agent in self._labels.items() if self.is_online(id_)]
        serving = [a for a in online if a.account_id in (None, step.account_id)]
        if not serving:
            return "no agent is connected: start one with `pushrod agent`"
        serving = [agent for agent in serving if agent.capabilities.issuperset(step.needs)]
        if not serving:
            return NO_CAPABLE_AGENT
        if not any(
            all(agent.labels.get(k) == v for k, v in step.labels.items()) for agent in serving
        ):
            wanted = ", ".join(f"{key}={value}" for key, value in step.labels.items())
            return f"no connected agent has the labels {wanted}"
        return "all agents that fit are busy"


def _lease(hand_out: HandOut) -> LeaseRef:
    return LeaseRef(step_id=hand_out.step_id, epoch=hand_out.epoch)


def _now() -> float:
    return time.monotonic()


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of the events is set or the time is over."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
