"""Which waiting poll gets which ready step."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


def queue_class_of(account_id: str, labels: Mapping[str, str], needs: Sequence[str]) -> str:
    """The same for steps that the same agents suit, and for no others."""
    wanted = json.dumps([account_id, sorted(labels.items()), sorted(needs)])
    return hashlib.sha256(wanted.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueClass:
    """What the ready steps of a class ask of an agent."""

    id: str
    account_id: str
    labels: Mapping[str, str]
    needs: Sequence[str] = ()
    """Capabilities that the agent's engine must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The ready steps of one class and one project, which go oldest first."""

    wants: QueueClass
    project_id: str
    oldest: datetime
    """Since when its first step is ready."""

    @property
    def key(self) -> tuple[str, str]:
        return self.wants.id, self.project_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDisk:
    """In bytes."""

    free: int
    total: int
    floor: int | None = None
    """With less it takes no work; None: it did not say."""

    @property
    def is_short(self) -> bool:
        return self.floor is not None and self.free < self.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingAgent:
    agent_id: str
    account_id: str | None
    labels: Mapping[str, str]
    free: int
    warm: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    paused: bool = False
    name: str = ""
    disk: AgentDisk | None = None
    """None where it says nothing of it."""
    process: str | None = None
    """That takes steps which have begun; None of one that takes offers alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The next step of this queue is the agent's; there may be none by then."""

    queue: Queue
    agent_id: str


def serves(agent: WaitingAgent, account_id: str) -> bool:
    return agent.account_id in (None, account_id)


ANY_LABEL = "*"
"""The label `*=*`: of an agent that takes every step, whatever labels it asks for."""


def has_labels(agent: WaitingAgent, labels: Mapping[str, str]) -> bool:
    return agent.labels.get(ANY_LABEL) == ANY_LABEL or all(
        agent.labels.get(key) == value for key, value in labels.items()
    )


def suits(wants: QueueClass, agent: WaitingAgent) -> bool:
    return (
        serves(agent, wants.account_id)
        and agent.capabilities.issuperset(wants.needs)
        and has_labels(agent, wants.labels)
    )


def assign(
    queues: Iterable[Queue],
    agents: Sequence[WaitingAgent],
    busy: Mapping[str, int],
    *,
    most_of_a_project: int | None = None,
) -> list[Assignment]:
    """Give each free slot the queue whose step it should run, the project with the least running
    first; a queue is taken to be endless.

    `busy` counts the steps of each project that are handed out. Of projects with the same number
    the one that waits longest goes first. Of the agents that suit, one that has the project's
    source is preferred, then the one with the most free slots.
    """
    slots = _Slots(agents)
    load = dict(busy)
    line = [
        (load.get(queue.project_id, 0), queue.oldest, number, queue)
        for number, queue in enumerate(queues)
    ]
    heapq.heapify(line)
    assignments: list[Assignment] = []
    while line and slots.left:
        running, oldest, number, queue = heapq.heappop(line)
        now_running = load.get(queue.project_id, 0)
        if most_of_a_project is not None and now_running >= most_of_a_project:
            continue
        if running == now_running:
            agent_id = slots.take(queue)
            if agent_id is None:
                continue  # nor will one suit later in this round
            assignments.append(Assignment(queue=queue, agent_id=agent_id))
            load[queue.project_id] = now_running = now_running + 1
        heapq.heappush(line, (now_running, oldest, number, queue))
    return assignments


class _Slots:
    """The free slots of the agents, the best of those that suit a queue found without looking at
    all of them: free slots only become fewer, so an entry that is out of date moves down."""

    def __init__(self, agents: Sequence[WaitingAgent]) -> None:
        self._agents = agents
        self._free = {agent.agent_id: agent.free for agent in agents}
        self.left = sum(self._free.values())
        self._warm: dict[str, list[WaitingAgent]] = {}
        for agent in agents:
            for project_id in agent.warm:
                self._warm.setdefault(project_id, []).append(agent)
        self._heaps: dict[tuple[str, str | None], list[tuple[int, int, str]]] = {}

    def take(self, queue: Queue) -> str | None:
        """A slot of the best agent that suits; None where none has one left."""
        found = self._best(queue.wants, self._warm.get(queue.project_id, ()), queue.project_id)
        found = found or self._best(queue.wants, self._agents, None)
        if found is not None:
            self._free[found] -= 1
            self.left -= 1
        return found

    def _best(
        self, wants: QueueClass, agents: Sequence[WaitingAgent], project_id: str | None
    ) -> str | None:
        if not agents:
            return None
        heap = self._heaps.get((wants.id, project_id))
        if heap is None:
            fitting = enumerate(agent for agent in agents if suits(wants, agent))
            heap = [(-self._free[agent.agent_id], n, agent.agent_id) for n, agent in fitting]
            heapq.heapify(heap)
            self._heaps[wants.id, project_id] = heap
        while heap:
            known, order, agent_id = heap[0]
            free = self._free[agent_id]
            if free and free == -known:
                return agent_id
            if free:
                heapq.heapreplace(heap, (-free, order, agent_id))
            else:
                heapq.heappop(heap)
        return None
