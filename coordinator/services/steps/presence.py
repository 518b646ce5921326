"""Which agents are there: when each was heard last, and what it said of itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from coordinator.domain.steps.scheduling import WaitingAgent

log = structlog.get_logger()

ONLINE_SECONDS = 75.0
"""An agent that was silent for longer is shown as offline."""
WRITTEN_EVERY_SECONDS = 300.0
"""How often the database is told that an agent was heard."""
FORGOTTEN_AFTER_SECONDS = 3600.0
"""By then what the database was told of it is near enough."""
PROCESSES_KNOWN = 16
ENDED_KNOWN = 256
"""Processes that said goodbye last. None lives for longer than its last request is on its way."""


@dataclass(slots=True)
class _Heard:
    at: float
    written_at: float | None = None
    said: WaitingAgent | None = None
    processes: list[str] = field(default_factory=list)
    """Newest last."""
    twins: bool = False


class Presence:
    """Agents of which nothing was heard for FORGOTTEN_AFTER_SECONDS are forgotten: whoever
    registers anew has a new id, and the old ones must not pile up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._paused: set[str] = set()
        self._drained: dict[str, set[str | None]] = {}
        """With those of its processes that were told so."""
        self._elsewhere: dict[str, tuple[WaitingAgent, float]] = {}
        """At other coordinators, and when that was seen."""
        self._ended: deque[tuple[str, str]] = deque(maxlen=ENDED_KNOWN)

    def pause(self, *agent_ids: str) -> None:
        """They take no new steps, from now on and whether they were heard or not."""
        self._paused.update(agent_ids)

    def drain(self, *agent_ids: str) -> None:
        """Their processes end, those that begin later too; what is drained is paused."""
        self.pause(*agent_ids)
        for agent_id in agent_ids:
            self._drained.setdefault(agent_id, set())

    def resume(self, agent_id: str) -> None:
        self._paused.discard(agent_id)
        self._drained.pop(agent_id, None)

    def follow(self, agent_id: str, *, paused: bool, drained: bool) -> None:
        """What another coordinator was told to do with it."""
        if drained:
            self.drain(agent_id)
        elif paused:
            self._drained.pop(agent_id, None)
            self.pause(agent_id)
        else:
            self.resume(agent_id)

    def known(self) -> Sequence[str]:
        """The agents that were heard of."""
        return list(self._heard)

    def is_drained(self, agent_id: str) -> bool:
        return agent_id in self._drained

    def is_to_be_drained(self, agent_id: str, instance: str | None) -> bool:
        """Whether that process was not told yet; then it is."""
        told = self._drained.get(agent_id)
        if told is None or instance in told:
            return False
        told.add(instance)
        return True

    def is_paused(self, agent_id: str) -> bool:
        return agent_id in self._paused

    def heard(self, agent_id: str, instance: str | None = None) -> None:
        if self.has_ended(agent_id, instance):
            return
        now = self._clock()
        if agent_id not in self._heard:
            self._forget_the_silent(now)
            self._heard[agent_id] = _Heard(now)
        self._heard[agent_id].at = now

    def is_to_be_written(self, agent_id: str) -> bool:
        """Whether the database is to be told once more that the agent was heard; then it is."""
        heard, now = self._heard.get(agent_id), self._clock()
        if heard is None:
            return False
        if heard.written_at is not None and now - heard.written_at < WRITTEN_EVERY_SECONDS:
            return False
        heard.written_at = now
        return True

    def says(self, agent: WaitingAgent) -> None:
        self.heard(agent.agent_id)
        self._heard[agent.agent_id].said = agent

    def see_elsewhere(self, agents: Sequence[WaitingAgent]) -> None:
        """All that are online at other coordinators now, as those say."""
        now = self._clock()
        self._elsewhere = {one.agent_id: (one, now) for one in agents}

    def elsewhere(self) -> Sequence[WaitingAgent]:
        """Those that were seen so lately that they are online."""
        now = self._clock()
        found = self._elsewhere.items()
        return [
            one for id_, (one, at) in found if now - at < ONLINE_SECONDS and id_ not in self._heard
        ]

    def is_known(self, agent_id: str) -> bool:
        """Whether it was heard of here."""
        return agent_id in self._heard

    def is_only_process(self, agent_id: str, instance: str) -> bool:
        """False for good once an earlier process speaks after a later one: then two work with one
        credential, and neither's silence says anything about its scripts."""
        self.heard(agent_id)  # a goodbye may have come while its request waited
        heard = self._heard[agent_id]
        if instance in heard.processes[:-1] and not heard.twins:
            heard.twins = True
            log.warning("two processes work as one agent: give each its own", agent=agent_id)
        if instance not in heard.processes:
            heard.processes = [*heard.processes[1 - PROCESSES_KNOWN :], instance]
        return not heard.twins

    def said(self, agent_id: str) -> WaitingAgent | None:
        """What it said in its last poll."""
        heard = self._heard.get(agent_id)
        if heard is None or heard.said is None:
            return None
        return replace(heard.said, paused=True) if self.is_paused(agent_id) else heard.said

    def takes_nothing(self, agent_id: str) -> None:
        """Until its next poll."""
        if heard := self._heard.get(agent_id):
            heard.said = None

    def left(self, agent_id: str, instance: str | None = None) -> None:
        """Its process ended: a request of that one which is still on its way says nothing."""
        self._heard.pop(agent_id, None)
        if instance is not None:
            self._ended.append((agent_id, instance))

    def has_ended(self, agent_id: str, instance: str | None) -> bool:
        return (agent_id, instance) in self._ended

    def silent_seconds(self, agent_id: str) -> float | None:
        """For how long nothing was heard of it; None where it isn't known."""
        heard, seen = self._heard.get(agent_id), self._elsewhere.get(agent_id)
        times = [heard.at] if heard else []
        times += [seen[1]] if seen else []
        return self._clock() - max(times) if times else None

    def is_online(self, agent_id: str) -> bool:
        silent = self.silent_seconds(agent_id)
        return silent is not None and silent < ONLINE_SECONDS

    def online(self) -> Sequence[WaitingAgent]:
        """What each of them said in its last poll."""
        return [*self.here(), *self.elsewhere()]

    def here(self) -> Sequence[WaitingAgent]:
        """Those of them that said it to this coordinator."""
        found = [self.said(agent_id) for agent_id in self._heard if self.is_online(agent_id)]
        return [said for said in found if said is not None]

    def _forget_the_silent(self, now: float) -> None:
        silent = [id_ for id_, one in self._heard.items() if now - one.at > FORGOTTEN_AFTER_SECONDS]
        for agent_id in silent:
            del self._heard[agent_id]
