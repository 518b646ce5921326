"""What others are told of a build and its steps is part of the transaction in which it happens.

Who is told is looked for, so that such a transaction is an isolated one.
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.lifecycle import FINISHED_BUILD, BuildState, StepState
from coordinator.domain.model import Build, Step
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import isolate
from coordinator.storage.steps.steps import waiting_gates


async def tell(core: Core, connection: AsyncConnection, build: Build) -> None:
    """The build has come to this state. While one of its gates waits, that was told, and counts.
    Other projects may wait for its success."""
    if build.tells and (build.state in FINISHED_BUILD or not build.open_gates):
        isolate(connection)
        await core.announcements.moved(connection, build)
    if build.starts_others and build.state is BuildState.SUCCEEDED:
        isolate(connection)
        await core.announcements.succeeded(connection, build)


async def tell_new(
    core: Core, connection: AsyncConnection, build: Build, steps: Sequence[Step]
) -> None:
    """Of a new build, or one that is held no more, and its steps."""
    await tell(core, connection, build)
    if build.state is BuildState.HELD:
        return
    if gates := [step for step in steps if step.state is StepState.WAITING]:
        await _tell_gates(core, connection, build, gates, asked=True)
    await tell_steps(core, connection, build, steps)


async def tell_steps(
    core: Core, connection: AsyncConnection, build: Build, steps: Sequence[Step]
) -> None:
    """The build has them now."""
    if to_tell := [step for step in steps if step.definition.told]:
        isolate(connection)
        await core.announcements.steps_added(connection, build, to_tell)


async def tell_step(core: Core, connection: AsyncConnection, step: Step, before: StepState) -> None:
    """The step has come to its state."""
    if step.definition.told:
        isolate(connection)
        await core.announcements.step_moved(connection, step, before)


async def tell_gate(core: Core, connection: AsyncConnection, build: Build, *, asked: bool) -> None:
    """A gate of the build has begun to wait, or waits no more; `build` has the new count."""
    if not build.tells or build.state in FINISHED_BUILD:
        return
    if build.open_gates:
        gates = await waiting_gates(connection, build.id)
        await _tell_gates(core, connection, build, gates, asked=asked)
    else:
        await tell(core, connection, build)


async def _tell_gates(
    core: Core, connection: AsyncConnection, build: Build, gates: Sequence[Step], *, asked: bool
) -> None:
    """Each is told by itself when it asks."""
    if not build.tells or not gates:
        return
    isolate(connection)
    await core.announcements.gates_wait(connection, build, gates, asked)
