"""Steps that no agent takes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.domain.lifecycle import BuildState, StepEvent, StepState
from coordinator.domain.model import Build
from coordinator.services.steps import advance
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import queue as stored_queue
from coordinator.storage.steps import steps as stored_steps
from tests.integration.coordinator_fixture import eventually
from tests.integration.core_fixture import TestedCore, open_core, step_of

pytestmark = pytest.mark.usefixtures("each_database")

DAY = 24 * 3600.0


class dispatching:  # noqa: N801 - read as a verb
    """A coordinator without agents."""

    def __init__(self, tested: TestedCore) -> None:
        self._dispatch = Dispatch(tested.core, tested.clock)

    async def __aenter__(self) -> Dispatch:
        self._task = asyncio.create_task(self._dispatch.run())
        return self._dispatch

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def ended(tested: TestedCore, build: Build) -> Build:
    async def is_over() -> Build | None:
        found = await tested.build(build)
        return found if found.finished_at is not None else None

    return await eventually(is_over)  # type: ignore[no-any-return]


async def test_a_step_that_nobody_takes_within_a_day_fails_and_says_why(
    tmp_path: Path,
) -> None:
    async with open_core(tmp_path) as tested:
        project = await tested.new_project()
        build = await tested.new_build(project, step_of("test"), step_of("after", "test"))
        tested.clock.seconds += DAY - 1
        later = await tested.new_build(project, step_of("later"))
        tested.clock.seconds += 1
        # As after a restart: the time in the queue stands in the database.
        async with dispatching(tested):
            over = await ended(tested, build)
        assert over.state is BuildState.FAILED
        said = "no agent took it within 24h: no agent is connected: start one with `pushrod agent`"
        assert over.reason == f"step test failed: {said}"
        [test, after] = await tested.steps(build)
        assert (test.state, test.reason, test.attempt) == (StepState.FAILED, said, 0)
        assert after.state is StepState.SKIPPED
        assert [step.state for step in await tested.steps(later)] == [StepState.READY]


async def test_a_step_may_say_how_long_it_waits(tmp_path: Path) -> None:
    async with open_core(tmp_path, queue_timeout_seconds=10) as tested:
        project = await tested.new_project()
        hasty = step_of("hasty", queue_timeout_seconds=90)
        build = await tested.new_build(project, hasty, step_of("usual"))
        until = {step.name: step.queue_until for step in await tested.steps(build)}
        now = tested.clock.now()
        assert until == {"hasty": now + timedelta(seconds=90), "usual": now + timedelta(seconds=10)}
        tested.clock.seconds += 90
        async with dispatching(tested):
            await ended(tested, build)
        reasons = [(step.reason or "").partition(":")[0] for step in await tested.steps(build)]
        assert reasons == ["no agent took it within 90s", "no agent took it within 10s"]


async def test_a_step_that_becomes_ready_while_others_wait_is_seen(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested, dispatching(tested) as dispatch:
        project = await tested.new_project()
        await tested.new_build(project, step_of("long"))
        dispatch.wake()
        build = await tested.new_build(project, step_of("short", queue_timeout_seconds=5))
        tested.clock.seconds += 5
        dispatch.wake()
        assert (await ended(tested, build)).state is BuildState.FAILED


async def test_a_build_succeeds_whose_only_step_may_fail_and_was_not_taken(
    tmp_path: Path,
) -> None:
    async with open_core(tmp_path) as tested:
        project = await tested.new_project()
        build = await tested.new_build(project, step_of("test", allow_failure=True))
        tested.clock.seconds += DAY
        async with dispatching(tested):
            assert (await ended(tested, build)).state is BuildState.SUCCEEDED


async def test_an_offer_that_comes_back_does_not_prolong_the_wait(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        core, project = tested.core, await tested.new_project()
        build = await tested.new_build(project, step_of("test"))
        [step] = await tested.steps(build)
        tested.clock.seconds += 3600

        async def offered_and_back(connection: AsyncConnection) -> None:
            assert await stored_steps.hand_out(
                connection, step.id, to=StepState.OFFERED, holder="agent:a"
            )
            found = await stored_steps.find_step(connection, step.id)
            assert found is not None
            await advance.move_step(core, connection, found, StepEvent.EXPIRE)

        await core.database.write(offered_and_back)
        [after] = await tested.steps(build)
        assert (after.state, after.queue_until) == (StepState.READY, step.queue_until)


async def test_only_ready_steps_have_an_end_of_their_wait(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        read = tested.core.database.read
        assert await read(stored_queue.first_queue_end) is None
        build = await tested.new_build(await tested.new_project(), step_of("test"))
        [step] = await tested.steps(build)
        assert await read(stored_queue.first_queue_end) == step.queue_until
        await tested.core.database.write(
            lambda connection: stored_steps.update_step(connection, step.id, state="running")
        )
        assert await read(stored_queue.first_queue_end) is None
