"""How many steps further agents would take, by what they want of an agent. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from coordinator.domain.steps.scheduling import QueueClass, WaitingAgent, queue_class_of, suits


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSteps:
    """The ready steps of one class and project."""

    wants: QueueClass
    project_id: str
    count: int
    oldest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    labels: Mapping[str, str]
    needs: Sequence[str]
    waiting: int
    oldest: datetime
    """Since when the first of them is ready."""
    free_slots: int
    """Of the agents that would take some of them now."""


def demand(
    waiting: Iterable[WaitingSteps],
    online: Sequence[WaitingAgent],
    busy: Mapping[str, int],
    *,
    most_of_a_project: int | None = None,
) -> Sequence[Demand]:
    """The most steps first, whatever accounts they are of.

    `busy` counts the steps of each project that are handed out: of one with as many as it may have
    no agent would take another.
    """
    running = dict(busy)
    groups: dict[str, list[WaitingSteps]] = {}
    counts: Counter[str] = Counter()
    for one in sorted(waiting, key=lambda each: each.oldest):
        count, before = one.count, running.get(one.project_id, 0)
        if most_of_a_project is not None:
            count = min(count, max(most_of_a_project - before, 0))
        running[one.project_id] = before + count
        if count:
            key = queue_class_of("", one.wants.labels, one.wants.needs)
            groups.setdefault(key, []).append(one)
            counts[key] += count
    found = [
        Demand(
            labels=its[0].wants.labels,
            needs=its[0].wants.needs,
            waiting=counts[key],
            oldest=its[0].oldest,
            free_slots=_free(online, its),
        )
        for key, its in groups.items()
    ]
    return sorted(found, key=lambda each: (-each.waiting, each.oldest, sorted(each.labels.items())))


def _free(online: Sequence[WaitingAgent], group: Sequence[WaitingSteps]) -> int:
    able = (agent for agent in online if any(suits(one.wants, agent) for one in group))
    return sum(agent.free for agent in able if not agent.paused)
