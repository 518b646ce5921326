"""Rounds of dispatch: each gives the slots that wait what is ready, until one of both is used up.

An agent that takes steps which have begun gets them so, in a transaction for each: one that began
several would lock the rows of several builds, and wait for those of others while it holds some. All
else is offered, in one transaction.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Protocol

import structlog

from coordinator.domain.steps.scheduling import Queue, WaitingAgent, assign
from coordinator.services.core import Core
from coordinator.services.steps.polls import Polls
from coordinator.services.steps.rounds import Offered, Rounds
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()


class Came(Enum):
    """What came of beginning a queue's next step."""

    BEGUN = auto()
    NONE_LEFT = auto()
    TO_BE_OFFERED = auto()
    """Of several that were begun at a time, what stands last here is what is known of the queue."""


class Begins(Protocol):
    async def begin(self, queue: Queue, agent: WaitingAgent) -> Came:
        """The queue's next step, for the agent's process."""
        ...


class _Round:
    """What is to be given, to whom, and how many steps of each project run, while it is given."""

    def __init__(
        self,
        queues: Sequence[Queue],
        waiting: Sequence[WaitingAgent],
        busy: Mapping[str, int],
        most_of_a_project: int | None,
    ) -> None:
        self._queues = {queue.key: queue for queue in queues}
        self._others = [agent for agent in waiting if not agent.process]
        self._takers = {agent.agent_id: agent for agent in waiting if agent.process}
        self._most = most_of_a_project
        self._to_offer: list[Queue] = []
        self._answered: set[str] = set()
        self.busy = Counter(busy)

    def assigned(self) -> Sequence[tuple[Queue, Sequence[WaitingAgent]]]:
        """The agents that are to get one of each queue, as far as that has any; of those that take
        begun steps. None once something is to be offered: it has its turn at these slots."""
        if self._to_offer:
            return []
        queues, takers = self._queues.values(), list(self._takers.values())
        found: dict[tuple[str, str], list[WaitingAgent]] = {}
        for one in assign(queues, takers, self.busy, most_of_a_project=self._most):
            found.setdefault(one.queue.key, []).append(self._takers[one.agent_id])
        return [(self._queues[key], agents) for key, agents in found.items()]

    def note(self, queue: Queue, given: Sequence[WaitingAgent], end: Came) -> None:
        """Those that got one, and how it ended."""
        self.busy[queue.project_id] += len(given)
        for agent_id in (agent.agent_id for agent in given):
            agent = self._takers[agent_id]
            self._takers[agent_id] = replace(agent, free=agent.free - 1)
            self._answered.add(agent_id)
        if end is not Came.BEGUN:
            del self._queues[queue.key]
        if end is Came.TO_BE_OFFERED:
            self._to_offer.append(queue)

    def to_offer(self) -> tuple[Sequence[Queue], Sequence[WaitingAgent]]:
        """What is left, to agents whose polls still wait."""
        wait = [one for id_, one in self._takers.items() if id_ not in self._answered]
        all_left = [*self._to_offer, *self._queues.values()]
        return all_left if self._others or self._to_offer else [], [*self._others, *wait]


class QueueLoop:
    def __init__(
        self,
        core: Core,
        polls: Polls,
        rounds: Rounds,
        deliver: Callable[[Sequence[Offered]], None],
    ) -> None:
        """`deliver` is called with what was offered, once that is committed."""
        self._core, self._polls, self._rounds, self._deliver = core, polls, rounds, deliver
        self._wake = asyncio.Event()
        self.begins: Begins | None = None
        """None: everything is offered."""

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._round()
            except Exception as error:  # a task root: one bad round must not stop the queue
                tell_fault(log, "dispatch failed", error)
                await asyncio.sleep(1)
                self._wake.set()

    async def _round(self) -> None:
        waiting: Sequence[WaitingAgent] = self._polls.waiting()
        if not waiting:
            return
        queues, busy = await self._core.database.read(
            lambda connection: self._rounds.read_queues(connection, waiting)
        )
        round_ = _Round(queues, waiting, busy, self._rounds.most_of_a_project)
        if self.begins is not None and not self._rounds.counts_with_others:
            await _begin(self.begins, round_)
            queues, waiting = round_.to_offer()
        if not queues or not waiting:
            return
        await self._core.database.write(
            lambda connection: self._rounds.offer(connection, queues, waiting, round_.busy),
            committed=self._deliver,
            locking=self._rounds.most_of_a_project is None,
        )


async def _begin(begins: Begins, round_: _Round) -> None:
    """Until no queue that has a step left is assigned a slot."""
    has_ended = True
    while has_ended:
        assigned = round_.assigned()
        came = await asyncio.gather(*(_begin_of(begins, *one) for one in assigned))
        for (queue, _), (given, end) in zip(assigned, came, strict=True):
            round_.note(queue, given, end)
        has_ended = any(end is not Came.BEGUN for _, end in came)  # its slots are for others


async def _begin_of(
    begins: Begins, queue: Queue, agents: Sequence[WaitingAgent]
) -> tuple[Sequence[WaitingAgent], Came]:
    """Of one queue, which may have fewer steps than there are agents: as many at a time as it had
    by then. Those that got one, and how that ended."""
    given: list[WaitingAgent] = []
    end = Came.BEGUN
    while agents and end is Came.BEGUN:
        at_once = max(len(given), 1)
        now, agents = agents[:at_once], agents[at_once:]
        came = await asyncio.gather(*(begins.begin(queue, agent) for agent in now))
        given += [agent for agent, one in zip(now, came, strict=True) if one is Came.BEGUN]
        end = max(came, key=lambda one: one.value)
    return given, end
