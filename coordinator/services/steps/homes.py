"""Agents that come to this coordinator, of several.

An agent is at one of them, its home, which gives its hand-outs their terms: `agents.home` says
which. Whoever is asked by an agent whose home is gone takes it: a transaction, so that of two only
one does, and the home before it finds that out by the same row before it ends a hand-out. What the
agent has begins a new, whole term then. So a renewal writes nothing, and one that is answered was
answered by who was its home after it was sent.

What was handed out, accepted, cancelled or ended by another coordinator is told to the home. It
also looks, since words are lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import structlog

from coordinator.domain.model import AgentRecord, Step
from coordinator.domain.steps.holders import agent_of, holder_of
from coordinator.services.core import Core
from coordinator.services.others import AgentWord, Word
from coordinator.services.steps.presence import Presence
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.steps import steps as stored_steps
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

LOOK_SECONDS = 5.0


class Homes:
    """Does nothing where this coordinator has no others beside it."""

    def __init__(
        self,
        core: Core,
        presence: Presence,
        *,
        begins: Callable[[Step], None],
        missed: Callable[[Step], None],
        wake: Callable[[], None],
    ) -> None:
        """`begins` is called with what an agent has that comes, `missed` with what agents that are
        here have by now: it may be known already."""
        self._core, self._presence = core, presence
        self._begins, self._missed, self._wake = begins, missed, wake

    async def receive(self, agent: AgentRecord) -> None:
        """It asks here, and was sent nowhere else."""
        others = self._core.others
        if others is None or agent.home == others.home:
            return

        async def take(connection: AsyncConnection) -> Sequence[Step]:
            await stored_accounts.take_home(connection, agent.id, others.home)
            return await stored_steps.steps_held_by(connection, holder_of(agent.id), None)

        await self._core.database.write(take, committed=lambda held: self._came(agent, held))
        others.tell(Word.AGENT, AgentWord.MOVED, agent.id, None)

    async def take_all_of(self, gone: str) -> int:
        """Of a home that is gone, whose agents were heard of nowhere else; how many."""
        others = self._core.others
        if others is None:
            return 0

        async def take(connection: AsyncConnection) -> tuple[Collection[str], Sequence[Step]]:
            taken = await stored_accounts.take_all_of_home(connection, gone, others.home)
            held = await stored_steps.handed_out_steps(connection) if taken else []
            return taken, [step for step in held if agent_of(step.holder or "") in taken]

        taken, held = await self._core.database.write(take)
        for step in held:
            self._begins(step)
        return len(taken)

    def _came(self, agent: AgentRecord, held: Sequence[Step]) -> None:
        self._presence.follow(agent.id, paused=agent.paused, drained=agent.drained)
        for step in held:
            self._begins(step)

    async def run(self) -> None:
        """Look for what was not heard of."""
        while self._core.others is not None:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look(self._core.others.home)
            except Exception as error:  # a task root: it looks again
                tell_fault(log, "looking for what others have handed out failed", error)
            self._wake()

    async def _look(self, home: str) -> None:
        async def read(
            connection: AsyncConnection,
        ) -> tuple[Sequence[Step], Collection[str], Collection[str]]:
            return (
                await stored_steps.steps_handed_out_at(connection, home),
                set(await stored_accounts.paused_agents(connection)),
                set(await stored_accounts.drained_agents(connection)),
            )

        held, paused, drained = await self._core.database.read(read)
        for agent_id in self._presence.known():
            self._presence.follow(agent_id, paused=agent_id in paused, drained=agent_id in drained)
        for step in held:
            self._missed(step)

    async def is_here(self, connection: AsyncConnection, holder: str) -> bool:
        """Whether it is for this coordinator to end its hand-outs, in the transaction that does."""
        others, agent_id = self._core.others, agent_of(holder)
        if others is None:
            return True
        if agent_id is None:
            return others.leads
        home = await stored_accounts.home_of(connection, agent_id)
        return home == others.home or (home is None and others.leads)
