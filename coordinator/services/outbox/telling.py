"""What happens to a build is written down for others, in the transaction in which it happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Build, Step
from coordinator.domain.outbox.messages import Facts, facts_of
from coordinator.domain.outbox.notifications import occasions_of, of_workflow
from coordinator.domain.outbox.step_facts import facts_of_gates, facts_of_step, status_of
from coordinator.services.core import Core
from coordinator.storage.builds.builds import find_build
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit
from coordinator.storage.outbox.messages import write_down, write_down_all, write_own
from pipelines_schema import Occasion


@dataclass(frozen=True, slots=True)
class Telling:
    """Enters itself where builds change their state."""

    core: Core
    wake: Callable[[], None]
    """Once it is committed: there is something to send."""

    def begin(self) -> None:
        announcements = self.core.announcements
        announcements.moved = self.moved
        announcements.gates_wait = self.gates_wait
        announcements.steps_added = self.steps_added
        announcements.step_moved = self.step_moved

    async def moved(self, connection: AsyncConnection, build: Build) -> None:
        facts = facts_of(build)
        await self._write(connection, build, facts, occasions_of(build, facts.status))

    async def gates_wait(
        self, connection: AsyncConnection, build: Build, gates: Sequence[Step], asked: bool
    ) -> None:
        """People are notified of each when it asks, and not again when another was answered."""
        facts = facts_of_gates(build, gates)
        occasions = occasions_of(build, facts.status) if asked else ()
        await self._write(connection, build, facts, occasions)

    async def steps_added(
        self, connection: AsyncConnection, build: Build, steps: Sequence[Step]
    ) -> None:
        facts = [facts_of_step(build, step) for step in steps]
        await write_down_all(connection, build, facts, self.core.now())
        after_commit(connection, self.wake)

    async def step_moved(self, connection: AsyncConnection, step: Step, before: StepState) -> None:
        if status_of(step.state) is status_of(before):
            return
        build = await find_build(connection, step.build_id)
        if build is not None:
            await self._write(connection, build, facts_of_step(build, step), ())

    async def _write(
        self,
        connection: AsyncConnection,
        build: Build,
        facts: Facts,
        occasions: Sequence[Occasion],
    ) -> None:
        words, now = [occasion.value for occasion in occasions], self.core.now()
        await write_down(connection, build, facts, words, now)
        await write_own(connection, build, of_workflow(build, facts, occasions), now)
        after_commit(connection, self.wake)
