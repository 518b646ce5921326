"""The ends of hand-outs, with a clock of our own over a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.lifecycle import BuildState, StepEvent, StepState
from coordinator.domain.model import AgentRecord, Attempt, AttemptState, Build
from coordinator.domain.steps.hand_outs import HandOut, HandOuts, HandOutState
from coordinator.services.steps import advance, leases
from coordinator.services.steps.dispatch import RESULT_GRACE_SECONDS, Dispatch
from coordinator.services.steps.polls import Polls
from coordinator.services.steps.presence import Presence
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from pipelines_schema import NEVER
from pipelines_schema.contract import LeaseRef, PollRequest, RenewRequest
from tests.integration.coordinator_fixture import eventually
from tests.integration.core_fixture import Clock, TestedCore, open_core, step_of

LEASE, ACCEPT = 60.0, 5.0


def record_at(clock: Clock) -> AgentRecord:
    now = clock.now()
    return AgentRecord(
        id="a", account_id=None, name="a", labels={}, slots=1, created_at=now, last_seen_at=now
    )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[TestedCore, Dispatch]]:
    async with open_core(folder, lease_seconds=LEASE, accept_seconds=ACCEPT) as tested:
        dispatch = Dispatch(tested.core, tested.clock)
        task = asyncio.create_task(dispatch.run())
        try:
            yield tested, dispatch
        finally:
            task.cancel()
            await asyncio.wait([task])


pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running(tmp_path) as (tested, dispatch):
        record = record_at(tested.clock)
        await tested.core.database.write(
            lambda connection: stored_accounts.insert_agent(connection, record)
        )
        yield Agent(tested, dispatch, record)


class Agent:
    def __init__(self, tested: TestedCore, dispatch: Dispatch, record: AgentRecord) -> None:
        self.tested, self.dispatch, self.record = tested, dispatch, record

    async def offered(self) -> LeaseRef:
        answer = await self.dispatch.poll(self.record, PollRequest(free=1))
        [offer] = answer.offers
        return LeaseRef(step_id=offer.step_id, epoch=offer.epoch)

    async def taken(self) -> LeaseRef:
        """Accepted, as the runner does it."""
        lease, core = await self.offered(), self.tested.core

        async def accept(connection: AsyncConnection) -> None:
            step = await stored_steps.find_step(connection, lease.step_id)
            assert step is not None
            attempt = Attempt(
                step_id=step.id,
                epoch=step.epoch,
                number=step.attempt + 1,
                state=AttemptState.RUNNING,
                holder=step.holder or "",
                exit_code=None,
                reason=None,
                log_bytes=None,
                log_sha256=None,
                started_at=core.now(),
                finished_at=None,
            )
            await stored_attempts.insert_attempt(connection, attempt)
            await advance.move_step(
                core, connection, step, StepEvent.ACCEPT, attempt=attempt.number
            )
            await advance.begin_build(core, connection, step.build_id)

        await core.database.write(accept)
        step = await core.database.read(
            lambda connection: stored_steps.find_step(connection, lease.step_id)
        )
        assert step is not None
        self.dispatch.begin(step)
        return lease

    def pass_time(self, seconds: float) -> None:
        self.tested.clock.seconds += seconds
        self.dispatch.leases.tick()

    async def awake(self, seconds: float) -> None:
        """Time passes in which the coordinator is not away: it looks at the clock every second."""
        while seconds > 0:
            self.pass_time(min(seconds, 1.0))
            seconds -= 1.0
            await asyncio.sleep(0)

    async def renew(self, lease: LeaseRef) -> list[LeaseRef]:
        return (await self.dispatch.renew(self.record, RenewRequest(leases=[lease]))).lost

    async def state(self, build: Build) -> tuple[StepState, int]:
        [step] = await self.tested.steps(build)
        return step.state, step.attempt

    async def becomes(self, build: Build, *wanted: object) -> None:
        async def is_so() -> bool:
            return await self.state(build) == wanted

        await eventually(is_so)

    async def written(self) -> None:
        """Until the database has done what it was asked before."""

        async def nothing(connection: AsyncConnection) -> None:
            return None

        for _ in range(5):
            await asyncio.sleep(0)
            await self.tested.core.database.write(nothing)


async def new_build(agent: Agent, **says: Any) -> Build:
    project = await agent.tested.new_project()
    return await agent.tested.new_build(project, step_of("test", **says))


async def test_a_silent_agents_step_is_ready_again_when_its_lease_is_over(agent: Agent) -> None:
    build = await new_build(agent)
    lease = await agent.taken()
    await agent.awake(LEASE - 1)
    await agent.written()
    assert await agent.state(build) == (StepState.RUNNING, 1)
    await agent.awake(2)
    await agent.becomes(build, StepState.READY, 1)
    assert await agent.renew(lease) == [lease]


async def test_a_renewal_of_another_epoch_keeps_no_lease(agent: Agent) -> None:
    build = await new_build(agent)
    lease = await agent.taken()
    await agent.awake(LEASE / 2)
    older = LeaseRef(step_id=lease.step_id, epoch=lease.epoch - 1)
    assert await agent.renew(older) == [older]
    await agent.awake(LEASE / 2 + 1)
    await agent.becomes(build, StepState.READY, 1)


async def test_a_coordinator_that_was_away_takes_nobody_for_lost(agent: Agent) -> None:
    """It was stopped, or its machine slept: agents could not be heard."""
    build = await new_build(agent)
    lease = await agent.taken()
    await agent.awake(2)
    agent.pass_time(10 * LEASE)
    await agent.written()
    assert await agent.state(build) == (StepState.RUNNING, 1)
    assert await agent.renew(lease) == []
    await agent.awake(LEASE + 1)
    await agent.becomes(build, StepState.READY, 1)


async def test_a_tick_that_comes_a_little_late_is_no_absence(agent: Agent) -> None:
    build = await new_build(agent)
    await agent.taken()
    await agent.awake(LEASE - 2)
    agent.pass_time(leases.AWAY_SECONDS)
    await agent.becomes(build, StepState.READY, 1)


@pytest.mark.parametrize("says", [{"at_most_once": True}, {"retries": NEVER}])
async def test_the_result_of_a_step_that_may_not_run_again_is_waited_for(
    agent: Agent, says: dict[str, Any]
) -> None:
    build = await new_build(agent, timeout_seconds=100, **says)
    lease = await agent.taken()
    await agent.awake(100 + RESULT_GRACE_SECONDS - 1)
    await agent.written()
    assert await agent.state(build) == (StepState.RUNNING, 1)
    assert await agent.renew(lease) == []
    await agent.awake(100 + RESULT_GRACE_SECONDS + 1)
    await agent.becomes(build, StepState.FAILED, 1)
    [step] = await agent.tested.steps(build)
    assert (step.reason or "").startswith("lost agent: how far it came is not known")
    assert (await agent.tested.build(build)).state is BuildState.FAILED


@pytest.mark.parametrize("says", [{"at_most_once": True}, {"retries": NEVER}])
async def test_a_step_that_may_not_run_again_fails_at_once_with_an_agent_that_is_another_now(
    agent: Agent, says: dict[str, Any]
) -> None:
    build = await new_build(agent, timeout_seconds=100, **says)
    await agent.taken()
    agent.dispatch.gone(agent.record.id, "its process")
    await agent.becomes(build, StepState.FAILED, 1)
    [step] = await agent.tested.steps(build)
    assert (step.reason or "").startswith("lost agent: how far it came is not known")


async def test_an_offer_whose_poll_broke_off_goes_back_before_its_time(tmp_path: Path) -> None:
    """The connection breaks after the offer was made and before it is answered."""
    async with open_core(tmp_path, lease_seconds=LEASE, accept_seconds=ACCEPT) as tested:
        hand_outs, clock = HandOuts(accept_seconds=ACCEPT), tested.clock
        moved = asyncio.Event()
        polls = Polls(
            tested.core,
            hand_outs,
            Presence(clock),
            clock,
            wake=lambda: None,
            moved=moved.set,
        )
        record = record_at(clock)
        poll = asyncio.create_task(polls.poll(record, PollRequest(free=1)))

        async def is_held() -> bool:
            return bool(polls.waiting())

        await eventually(is_held)
        offer = HandOut(
            step_id="s",
            build_id="b",
            epoch=1,
            holder="agent:a",
            state=HandOutState.OFFERED,
            deadline=0.0,
            term_seconds=LEASE,
            lease_seconds=LEASE,
        )
        assert polls.deliver(offer)
        hand_outs.offer(offer, clock())
        poll.cancel()
        await asyncio.wait([poll])
        assert hand_outs.next_deadline() == clock()
        assert moved.is_set()
        assert polls.waiting() == []


async def test_only_a_poll_with_a_free_slot_wakes_dispatch(tmp_path: Path) -> None:
    async with open_core(tmp_path, poll_hold_seconds=1) as tested:
        woken: list[int] = []
        clock = tested.clock
        polls = Polls(
            tested.core,
            HandOuts(accept_seconds=ACCEPT),
            Presence(clock),
            clock,
            wake=lambda: woken.append(free),
            moved=lambda: None,
        )
        for free in (0, 1):
            await polls.poll(record_at(clock), PollRequest(free=free))
        assert woken == [1]
