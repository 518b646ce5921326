"""Which waiting poll gets which ready step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyStep:
    id: str
    project_id: str
    account_id: str
    labels: Mapping[str, str]
    ready_at: datetime
    position: int
    needs: Sequence[str] = ()
    """Capabilities that the agent's engine must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingAgent:
    agent_id: str
    account_id: str | None
    labels: Mapping[str, str]
    free: int
    warm: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    step_id: str
    agent_id: str


def serves(agent: WaitingAgent, account_id: str) -> bool:
    return agent.account_id in (None, account_id)


def has_labels(agent: WaitingAgent, labels: Mapping[str, str]) -> bool:
    return all(agent.labels.get(key) == value for key, value in labels.items())


def suits(step: ReadyStep, agent: WaitingAgent) -> bool:
    return (
        serves(agent, step.account_id)
        and agent.capabilities.issuperset(step.needs)
        and has_labels(agent, step.labels)
    )


def assign(
    steps: Sequence[ReadyStep], agents: Sequence[WaitingAgent], busy: Mapping[str, int]
) -> list[Assignment]:
    """Give each free slot the step it should run, the project with the least running first.

    `busy` counts the steps of each project that are handed out. Within a project the oldest goes
    first. Of the agents that suit, one that has the project's source is preferred, then the one
    with the most free slots.
    """
    free = {agent.agent_id: agent.free for agent in agents}
    load = dict(busy)
    waiting = sorted(steps, key=lambda step: (step.ready_at, step.position))
    queues: dict[str, list[ReadyStep]] = {}
    for step in waiting:
        queues.setdefault(step.project_id, []).append(step)
    assignments: list[Assignment] = []
    while queues and any(free.values()):
        project = min(queues, key=lambda id_: (load.get(id_, 0), queues[id_][0].ready_at))
        step = queues[project].pop(0)
        if not queues[project]:
            del queues[project]
        agent = _best(step, agents, free)
        if agent is None:
            continue
        free[agent.agent_id] -= 1
        load[project] = load.get(project, 0) + 1
        assignments.append(Assignment(step_id=step.id, agent_id=agent.agent_id))
    return assignments


def _best(
    step: ReadyStep, agents: Sequence[WaitingAgent], free: Mapping[str, int]
) -> WaitingAgent | None:
    fitting = [agent for agent in agents if free[agent.agent_id] > 0 and suits(step, agent)]
    return max(
        fitting,
        key=lambda agent: (step.project_id in agent.warm, free[agent.agent_id]),
        default=None,
    )
