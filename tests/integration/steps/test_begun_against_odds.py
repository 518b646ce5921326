"""Steps that begin with polls, where an agent leaves, stays silent or says what is not expected."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.model import Step
from coordinator.domain.steps.scheduling import Queue, WaitingAgent
from coordinator.services.steps.begun_with_polls import BegunWithPolls
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.queue_loop import Came
from coordinator.services.steps.runner import HandedOver, Runner
from coordinator.storage.steps import steps as stored_steps
from tests.integration.coordinator_fixture import (
    Coordinator,
    eventually,
    lease_of,
    open_coordinator,
    step_of,
)
from tests.integration.core_fixture import Clock
from tests.integration.steps.polling_agents import LONG, holding, polled
from tests.integration.steps.test_begun_with_polls import (
    ONE,
    RUNS,
    TWO,
    begun,
    new_agent_and_build,
    step_row,
)
from tests.integration.steps.test_revoked_agents import revoke

SOON_SECONDS = 5.0
"""Far less than a poll is held."""


@pytest.fixture
def dispatches(monkeypatch: pytest.MonkeyPatch) -> list[Dispatch]:
    """Of the coordinators that begin from now on."""
    made: list[Dispatch] = []
    load = Dispatch.load

    async def noted(dispatch: Dispatch) -> None:
        made.append(dispatch)
        await load(dispatch)

    monkeypatch.setattr(Dispatch, "load", noted)
    return made


@pytest.fixture
async def coordinator(tmp_path: Path, dispatches: list[Dispatch]) -> AsyncIterator[Coordinator]:
    """Its leases and offers outlive the test."""
    async with open_coordinator(tmp_path, clock=Clock(), **LONG) as coordinator:
        yield coordinator


async def as_stored(dispatch: Dispatch, step_id: str) -> Step:
    step = await dispatch._core.database.read(
        lambda connection: stored_steps.find_step(connection, step_id)
    )
    assert step is not None
    return step


class Held:
    """The beginning of a step is held up, as behind other writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_reached, self.may_go_on = asyncio.Event(), asyncio.Event()
        begin = BegunWithPolls.begin

        async def held(begins: BegunWithPolls, queue: Queue, agent: WaitingAgent) -> Came:
            self.is_reached.set()
            await self.may_go_on.wait()
            return await begin(begins, queue, agent)

        monkeypatch.setattr(BegunWithPolls, "begin", held)


@pytest.mark.parametrize("how", ["goodbye", "revoked"])
async def test_one_that_begins_while_its_agent_leaves_goes_to_another_at_once(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Nobody ever had it: no lease is waited for, and no loss counted."""
    admin, held = coordinator.admin, Held(monkeypatch)
    agent, _ = await new_agent_and_build(coordinator)
    other = await admin.new_agent("other")
    poll = holding(agent, **ONE)
    await held.is_reached.wait()
    if how == "goodbye":
        (await agent.post("/api/agents/goodbye", {"instance": "one"})).expect(204)
    else:
        await revoke(admin, "agent")
    held.may_go_on.set()
    assert (await poll)["begun"] == []
    async with asyncio.timeout(SOON_SECONDS):
        [spec] = await begun(other, **TWO)
    assert spec["attempt"] == 1
    assert step_row(coordinator)["lost_count"] == 0


async def test_one_that_is_being_committed_while_its_agent_leaves_goes_to_another_at_once(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, may_go_on = threading.Event(), threading.Event()
    begin_next = Runner.begin_next

    async def held(*arguments: Any, **named: Any) -> HandedOver | None:
        given = await begin_next(*arguments, **named)
        reached.set()
        may_go_on.wait(SOON_SECONDS)  # in the writer's thread
        return given

    monkeypatch.setattr(Runner, "begin_next", held)
    agent, _ = await new_agent_and_build(coordinator)
    other = await coordinator.admin.new_agent("other")
    poll = holding(agent, **ONE)
    await asyncio.to_thread(reached.wait)
    goodbye = asyncio.create_task(agent.post("/api/agents/goodbye", {"instance": "one"}))
    assert (await poll)["begun"] == []
    may_go_on.set()
    (await goodbye).expect(204)
    async with asyncio.timeout(SOON_SECONDS):
        [spec] = await begun(other, **TWO)
    assert (spec["epoch"], spec["attempt"]) == (2, 1)
    assert step_row(coordinator)["lost_count"] == 0


async def test_one_that_begins_while_another_process_takes_its_agents_place_is_that_ones(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not told to that one as it was begun for the first, which may live."""
    held = Held(monkeypatch)
    agent, _ = await new_agent_and_build(coordinator)
    poll = holding(agent, **ONE)
    await held.is_reached.wait()
    other = holding(agent, **TWO)
    assert (await poll)["begun"] == []
    held.may_go_on.set()
    async with asyncio.timeout(SOON_SECONDS):
        [spec] = (await other)["begun"]
    assert step_row(coordinator) == RUNS | {"epoch": spec["epoch"]}


async def test_none_begins_at_an_agent_that_was_paused_meanwhile(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    agent, _ = await new_agent_and_build(coordinator)
    poll = holding(agent, **ONE)
    await held.is_reached.wait()
    path = f"/api/agents/{agent.agent_id}/pause"
    (await coordinator.admin.post(path)).expect(200)
    held.may_go_on.set()
    await asyncio.sleep(0.5)
    assert step_row(coordinator)["state"] == "ready"
    poll.cancel()


async def test_what_is_to_be_offered_keeps_its_turn(coordinator: Coordinator) -> None:
    """Where there is one slot, it is not given to what begins at once, and came later."""
    admin = coordinator.admin
    await admin.new_build(await admin.new_project(name="first"), step_of("older"))
    await admin.new_build(await admin.new_project(name="second"), step_of("younger"))
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database, database:
        database.execute("UPDATE steps SET lost_count = 1 WHERE name = 'older'")
    agent = await admin.new_agent()
    answer = await agent.poll(**ONE)
    assert (answer["begun"], len(answer["offers"])) == ([], 1)
    assert step_row(coordinator, "older")["state"] == "offered"
    assert step_row(coordinator, "younger")["state"] == "ready"


async def test_an_offer_is_made_to_a_poll_that_waits_for_it(coordinator: Coordinator) -> None:
    """And not to one that was answered with what has begun: it would be taken back at once."""
    admin = coordinator.admin
    await admin.new_build(await admin.new_project(name="first"), step_of("older"))
    await admin.new_build(await admin.new_project(name="second"), step_of("younger"))
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database, database:
        database.execute("UPDATE steps SET lost_count = 1 WHERE name = 'older'")
    agent = await admin.new_agent(slots=2)
    [spec] = await begun(agent, free=2)
    assert spec["name"] == "younger"
    [offer] = (await agent.poll(leases=[lease_of(spec)], **ONE))["offers"]
    assert offer["epoch"] == 1


async def test_processes_that_die_of_it_do_not_prolong_its_time_in_the_queue(
    coordinator: Coordinator,
) -> None:
    """It goes back uncounted each time, so nothing else ends that."""

    def queue_until() -> int:
        with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database:
            [found] = database.execute("SELECT queue_until FROM steps").fetchone()
        return int(found)

    agent, _ = await new_agent_and_build(coordinator)
    until = queue_until()
    for process in range(4):
        [spec] = await begun(agent, instance=f"process {process}")
        assert (spec["epoch"], spec["attempt"]) == (process + 1, 1)
        await asyncio.sleep(0.01)
    assert queue_until() == until


async def test_one_that_is_never_named_is_lost_in_the_end(tmp_path: Path) -> None:
    """Its agent has dropped it, or can't understand what it is told: it polls on and on."""
    async with open_coordinator(
        tmp_path, lease_seconds=1.0, accept_seconds=30.0, poll_hold_seconds=1.0
    ) as coordinator:
        agent, _ = await new_agent_and_build(coordinator)
        assert len(await begun(agent)) == 1

        async def lost() -> bool:
            await begun(agent, free=0)
            await asyncio.sleep(0.1)
            return bool(step_row(coordinator)["lost_count"] == 1)

        async with asyncio.timeout(10):
            await eventually(lost)


async def test_what_ended_elsewhere_takes_no_slot(
    coordinator: Coordinator, dispatches: list[Dispatch]
) -> None:
    """A look at what others have handed out may have been before the step ended, and come after."""
    agent, _ = await new_agent_and_build(coordinator)
    [spec] = await begun(agent)
    as_read = await as_stored(dispatches[-1], spec["stepId"])
    (await agent.complete(spec)).expect(200)
    dispatches[-1]._missed(as_read)
    await coordinator.admin.new_build(
        await coordinator.admin.new_project(name="second"), step_of("b")
    )
    async with asyncio.timeout(SOON_SECONDS):
        [second] = await begun(agent)
    assert second["name"] == "b"


async def test_a_held_poll_is_ended_for_what_came_from_another_coordinator(
    coordinator: Coordinator, dispatches: list[Dispatch]
) -> None:
    """That one began it as its agent left: the next poll is answered with it."""
    agent, _ = await new_agent_and_build(coordinator)
    [spec] = await begun(agent)
    dispatches[-1]._hand_outs.release(spec["stepId"], spec["epoch"])  # it is known there alone
    poll = holding(agent, **ONE)
    await polled(coordinator, agent)
    await asyncio.sleep(0.2)
    dispatches[-1]._missed(await as_stored(dispatches[-1], spec["stepId"]))
    async with asyncio.timeout(SOON_SECONDS):
        await poll
        assert await begun(agent) == [spec]
    assert step_row(coordinator) == RUNS


async def test_more_than_a_project_may_run_never_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though another of its steps comes with the answer to a completion meanwhile."""
    held = Held(monkeypatch)
    held.may_go_on.set()
    async with open_coordinator(
        tmp_path, clock=Clock(), project_max_running_steps=1, **LONG
    ) as coordinator:
        admin = coordinator.admin
        await admin.new_build(await admin.new_project(name="other"), step_of("o"))
        one, two = await admin.new_agent("1"), await admin.new_agent("2")
        [other] = await begun(one)
        await one.renew(other)
        held.may_go_on.clear()
        held.is_reached.clear()
        await admin.new_build(await admin.new_project(), step_of("a"), step_of("b"))
        poll = holding(two, **TWO)
        await held.is_reached.wait()
        answer = await one.complete(other, next={"instance": "one"})
        given = answer.expect(200).json.get("next")
        assert given is not None
        held.may_go_on.set()
        await asyncio.sleep(0.5)
        states = [step_row(coordinator, name)["state"] for name in ("a", "b")]
        assert sorted(states) == ["ready", "running"]
        poll.cancel()
