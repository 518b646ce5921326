"""The queue: which agent is offered which step. Around it, what holds hand-outs together.

Three kinds of memory meet here. The database says who holds which step (`storage/builds`), the
hand-outs until when (`domain/hand_outs`), and held polls who waits for work (`polls`): the latter
two are in memory, so that an idle poll and a renewal write nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import AgentRecord, Build, Step
from coordinator.domain.steps.hand_outs import HandOut, HandOuts, HandOutState
from coordinator.domain.steps.holders import holder_of
from coordinator.domain.steps.scheduling import Queue, WaitingAgent
from coordinator.domain.steps.verdict import may_run_again_when_lost
from coordinator.domain.steps.waits import why_it_waits
from coordinator.services.core import Core
from coordinator.services.others import AgentWord, Hear, Word
from coordinator.services.steps import advance
from coordinator.services.steps.homes import Homes
from coordinator.services.steps.leases import Leases, boot_seconds
from coordinator.services.steps.polls import Polls
from coordinator.services.steps.presence import Presence
from coordinator.services.steps.queue_loop import Begins, QueueLoop
from coordinator.services.steps.queue_timeouts import QueueTimeouts
from coordinator.services.steps.rounds import Offered, Rounds
from coordinator.services.steps.told_again import ToldAgain
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.steps import steps as stored_steps
from coordinator.storage.steps.places import groups_in_line
from coordinator.storage.steps.steps import steps_handed_out_at
from pipelines_schema.contract import (
    GoodbyeRequest,
    PollRequest,
    PollResponse,
    RenewRequest,
    RenewResponse,
    StepSpec,
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
        self.see_elsewhere, self.is_paused = self._presence.see_elsewhere, self._presence.is_paused
        self.homes = Homes(
            core, self._presence, begins=self._take_up, missed=self._missed, wake=self.wake_here
        )
        self.leases = Leases(core, self._hand_outs, clock, self.wake, self.homes.is_here)
        self._polls = Polls(
            core,
            self._hand_outs,
            self._presence,
            clock,
            wake=self.wake_here,
            moved=self.leases.moved,
            told_again=ToldAgain(core, self._hand_outs, clock, self.leases.moved).tell,
            receive=self.homes.receive,
            still_runs=self._missed,
        )
        self.has_left = self._polls.has_left
        self._rounds = Rounds(core.database, core.settings.project_max_running_steps)
        self._loop = QueueLoop(core, self._polls, self._rounds, self._deliver)
        self._timeouts = QueueTimeouts(core, self._presence, self.wake)
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
            self._take_up(step)
        self.wake()

    async def load_own(self, home: str) -> None:
        """Where another leads: of the agents that are here alone."""
        for step in await self._core.database.read(partial(steps_handed_out_at, home=home)):
            self._take_up(step)
        self.wake_here()

    def _take_up(self, step: Step) -> None:
        """It is handed out, and begins a term here."""
        if step.state is StepState.RUNNING:
            self._begin(step)
            return
        hand_out = self._hand_out(step.id, step.build_id, step.epoch, step.holder or "")
        self._hand_outs.offer(hand_out, self._clock())
        self.leases.moved()

    def _missed(self, step: Step) -> None:
        """It is handed out to an agent that is here, as the database has it; what is known of it
        here may be newer."""
        known = self._hand_outs.find(step.id)
        if known is not None and known.epoch > step.epoch:
            return
        runs = step.state is StepState.RUNNING
        if known is None or known.epoch < step.epoch or (runs and not known.runs):
            self._take_up(step)
            if runs and (known is None or known.epoch < step.epoch):
                self._polls.tell(step.holder or "")  # it may be for the next poll to tell
        elif runs and step.cancel_requested_by is not None and known.cancel_sequence is None:
            self._hand_outs.cancel_one(step.id, self._clock())
            self._polls.tell(known.holder)
            self.leases.moved()

    async def _count_anew(self, build_id: str) -> None:
        """Whatever made its counts wrong: it must not wait for nothing."""
        log.error("a build's counts were wrong", build=build_id)
        settle = partial(advance.settle_build, self._core, build_id=build_id)
        await self._core.database.write(settle)

    async def _fill_places(self, account_id: str, group: str) -> None:
        fill = partial(advance.fill_places, self._core, account_id=account_id, group=group)
        await self._core.database.write(fill)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._loop.run(), name="dispatch")
            tasks.create_task(self.leases.run(), name="leases")
            tasks.create_task(self._timeouts.run(), name="queue timeouts")
            tasks.create_task(self.homes.run(), name="homes")

    async def run_beside(self) -> None:
        """As `run`, while another leads, which ends what nobody takes."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._loop.run(), name="dispatch")
            tasks.create_task(self.leases.run(), name="leases")
            tasks.create_task(self.homes.run(), name="homes")

    def _tell(self, word: Word, *said: Any) -> None:
        if self._core.others is not None:
            self._core.others.tell(word, *said)

    @property
    def limits_projects(self) -> bool:
        """Whether a project runs so many steps at most: to hand one out is to have counted them."""
        return self._core.settings.project_max_running_steps is not None

    def wake(self) -> None:
        """Something became ready: whoever has a slot for it is to know."""
        self.wake_here()
        self._tell(Word.READY)

    def wake_here(self) -> None:
        """Something may be ready, or somebody waits here."""
        self._loop.wake()
        self._timeouts.moved()

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

    def _deliver(self, offered: Sequence[Offered]) -> None:
        now = self._clock()
        for one in offered:
            made = self._hand_out(one.step_id, one.build_id, one.epoch, one.holder)
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
        return await self._rounds.choose(connection, agent)

    def hand_over(self, step: Step, instance: str) -> None:
        """It was given with an answer, in the place of one that has ended: no other slot is taken,
        and nobody knows yet whether the answer arrives."""
        self._begin(step, instance=instance, confirmed=False)

    # A step that begins with the answer to a poll

    def begin_with_polls(self, begins: Begins) -> None:
        """From now on: by then everything is offered."""
        self._loop.begins = begins

    def give(self, step: Step, agent: WaitingAgent, spec: StepSpec) -> None:
        """It runs; its agent's poll is to be answered with it."""
        instance, now = agent.process or "", self._clock()  # its lease is not to end after ours
        self._begin(step, instance=instance, confirmed=False, with_polls=True)
        if self.has_left(agent):
            self._hand_outs.decline(step.holder or "", instance, [(step.id, step.epoch)], now)
        else:
            self._polls.give_begun(step.holder or "", (spec, now))

    # What others tell us

    def begin(self, step: Step) -> None:
        """The database has it as running; its lease starts now."""
        self._polls.takes_a_slot(step.holder or "")
        self._begin(step)

    def _begin(
        self,
        step: Step,
        *,
        instance: str | None = None,
        confirmed: bool = True,
        with_polls: bool = False,
    ) -> None:
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
        hand_out = replace(hand_out, instance=instance, confirmed=confirmed, with_polls=with_polls)
        self._hand_outs.begin(hand_out, self._clock())
        if step.cancel_requested_by is not None:
            self._hand_outs.cancel_one(step.id, self._clock())
        self.leases.moved()

    def ended(self, step_id: str, epoch: int) -> None:
        """The attempt of that epoch is over; an offer made since is taken back."""
        if self._hand_outs.find(step_id) is None:
            self._tell(Word.ENDED, step_id, epoch)
        self._hand_outs.complete(step_id, epoch)

    def cancelled(self, build_id: str, spared: Collection[str] = ()) -> None:
        """The build was cancelled, but for some steps: tell its agents."""
        self._tell(Word.CANCELLED, build_id, sorted(spared))
        self._cancel(build_id, spared)

    def _cancel(self, build_id: str, spared: Collection[str]) -> None:
        for holder in self._hand_outs.cancel(build_id, self._clock(), spared=spared):
            self._polls.tell(holder)
        self.leases.moved()
        self.wake_here()

    # What agents and people ask

    def poll(self, agent: AgentRecord, request: PollRequest) -> Coroutine[Any, Any, PollResponse]:
        return self._polls.poll(agent, request)

    async def renew(self, agent: AgentRecord, request: RenewRequest) -> RenewResponse:
        return await self._polls.renew(agent, request)

    async def goodbye(self, agent: AgentRecord, request: GoodbyeRequest) -> None:
        await self._polls.goodbye(agent, request)

    def revoked(self, agent_id: str) -> None:
        """The agent's credential is no longer good: let it notice. A poll that was let in before
        that and is held after this is noticed with the next renewal."""
        self._become(AgentWord.REVOKED, agent_id)

    def gone(self, agent_id: str, instance: str) -> None:
        """The agent of that id is another one now: see `Polls.gone`."""
        self._become(AgentWord.GONE, agent_id, instance)

    def paused(self, agent_id: str) -> None:
        """It takes no new steps: an offer that its poll was not answered with yet is taken back."""
        self._become(AgentWord.PAUSED, agent_id)

    def drained(self, agent_id: str) -> None:
        """Besides, its process is to end: a poll that is held is answered with that."""
        self._become(AgentWord.DRAINED, agent_id)

    def resumed(self, agent_id: str) -> None:
        self._become(AgentWord.RESUMED, agent_id)

    def _become(self, what: AgentWord, agent_id: str, instance: str | None = None) -> None:
        self._tell(Word.AGENT, what, agent_id, instance)
        self._hear_of_agent(what, agent_id, instance)

    def _hear_of_agent(self, what: str, agent_id: str, instance: str | None) -> None:
        match what:
            case AgentWord.REVOKED:
                self._polls.send_away(agent_id)
            case AgentWord.MOVED:
                self._polls.send_away(agent_id)
                self._presence.left(agent_id)
            case AgentWord.GONE:
                self._polls.gone(agent_id, instance or "")
            case AgentWord.PAUSED:
                self._presence.pause(agent_id)
            case AgentWord.DRAINED:
                self._presence.drain(agent_id)
                self._polls.tell(holder_of(agent_id))
            case AgentWord.RESUMED:
                self._presence.resume(agent_id)
                self.wake_here()

    def hears(self) -> Mapping[Word, Hear]:
        """What to do upon the words of other coordinators."""
        return {
            Word.READY: lambda _: self.wake_here(),
            Word.CANCELLED: lambda _, build_id, spared: self._cancel(build_id, frozenset(spared)),
            Word.ENDED: lambda _, step_id, epoch: self._hand_outs.complete(step_id, epoch),
            Word.AGENT: lambda _, *said: self._hear_of_agent(*said),
            Word.OVER: lambda _, *said: self.leases.end_at(*said),
        }

    def last_seen(self, agent: AgentRecord) -> datetime:
        """What is known here is newer than the row, which is written seldom."""
        silent = self._presence.silent_seconds(agent.id)
        if silent is None:
            return agent.last_seen_at
        return max(self._core.now() - timedelta(seconds=silent), agent.last_seen_at)

    def online(self) -> Sequence[WaitingAgent]:
        """What each agent that is there said in its last poll."""
        return self._presence.online()

    def here(self) -> Sequence[WaitingAgent]:
        """What each agent that is at this coordinator said, with the slots that it has left."""
        free = {agent.agent_id: agent.free for agent in self._polls.waiting()}
        return [replace(one, free=free.get(one.agent_id, 0)) for one in self._presence.here()]

    def is_here(self, agent_id: str) -> bool:
        """Whether it was heard of here, and went nowhere else."""
        return self._presence.is_known(agent_id)

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
        elsewhere = [one for one in self._presence.elsewhere() if one.free and not one.paused]
        online, free = self._presence.online(), [*self._polls.waiting(), *elsewhere]
        return why_it_waits(
            step, build, unfinished, online, most, holders, free, now=self._core.now()
        )
