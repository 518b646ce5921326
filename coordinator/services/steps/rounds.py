"""A round of dispatch: free slots that wait, the queues that suit them, and what each is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coordinator.domain.steps.holders import holder_of
from coordinator.domain.steps.scheduling import Assignment, Queue, WaitingAgent, assign, suits
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database, isolate
from coordinator.storage.steps import queue as stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A step that was just offered."""

    step_id: str
    build_id: str
    epoch: int
    holder: str


@dataclass(frozen=True, slots=True)
class Rounds:
    database: Database
    most_of_a_project: int | None
    """That may be handed out at a time."""

    @property
    def counts_with_others(self) -> bool:
        """Whether other coordinators hand out of what may be handed out at a time."""
        return self.most_of_a_project is not None and self.database.is_shared

    async def read_queues(
        self, connection: AsyncConnection, waiting: Sequence[WaitingAgent]
    ) -> tuple[Sequence[Queue], Mapping[str, int]]:
        """The queues that one of the agents suits, and how many steps of each project run."""
        queues = await stored.waiting_queues(
            connection, lambda one: any(suits(one, agent) for agent in waiting)
        )
        # Of one project alone nobody's turn is asked for.
        alone = self.most_of_a_project is None and len({one.project_id for one in queues}) < 2
        busy = {} if alone else await stored.handed_out_per_project(connection)
        return queues, busy

    async def choose(self, connection: AsyncConnection, agent: WaitingAgent) -> Queue | None:
        """Whose turn it is at a slot of the agent."""
        if self.most_of_a_project is not None:
            isolate(connection)
        queues, busy = await self.read_queues(connection, [agent])
        chosen = assign(queues, [agent], busy, most_of_a_project=self.most_of_a_project)
        return next((one.queue for one in chosen), None)

    async def offer(
        self,
        connection: AsyncConnection,
        queues: Sequence[Queue],
        waiting: Sequence[WaitingAgent],
        busy: Mapping[str, int],
    ) -> list[Offered]:
        """In one transaction, so that a poll is answered with all its offers.

        A queue is asked for as many steps as it may get, and may have fewer: then it is done with,
        and its slots are given once more.
        """
        made: list[Offered] = []
        most = self.most_of_a_project
        if most is not None:
            # Another may have been handed out since, with the answer to a completion or by another
            # coordinator: now nobody can, unless one of us is run again.
            busy = await stored.handed_out_per_project(connection)
        while assignments := assign(queues, waiting, busy, most_of_a_project=most):
            given, empty = await self._offer_each(connection, assignments)
            made += [offered for _, offered in given]
            if not empty:
                break
            queues = [queue for queue in queues if queue.key not in empty]
            busy = Counter(busy) + Counter(queue.project_id for queue, _ in given)
            taken = Counter(offered.holder for _, offered in given)
            waiting = [
                replace(agent, free=agent.free - taken[holder_of(agent.agent_id)])
                for agent in waiting
            ]
        return made

    async def _offer_each(
        self, connection: AsyncConnection, assignments: Sequence[Assignment]
    ) -> tuple[list[tuple[Queue, Offered]], set[tuple[str, str]]]:
        """Also the keys of queues that had fewer steps than were asked for."""
        made: list[tuple[Queue, Offered]] = []
        empty: set[tuple[str, str]] = set()
        for queue, holder in [(one.queue, holder_of(one.agent_id)) for one in assignments]:
            given = None
            if queue.key not in empty:
                given = await stored.offer_next(connection, queue, holder)
            if given is None:
                empty.add(queue.key)
            else:
                step_id, build_id, epoch = given
                offered = Offered(step_id=step_id, build_id=build_id, epoch=epoch, holder=holder)
                made.append((queue, offered))
        return made, empty
