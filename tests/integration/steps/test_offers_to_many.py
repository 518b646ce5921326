"""Which agent gets which step, each step once, whatever else waits."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.domain.steps.waits import FREE
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    eventually,
    lease_of,
    open_coordinator,
    step_of,
)
from tests.integration.core_fixture import Clock
from tests.integration.steps.polling_agents import LONG, holding, polled


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """Its leases and offers outlive the test."""
    async with open_coordinator(tmp_path, clock=Clock(), **LONG) as coordinator:
        yield coordinator


async def test_an_agent_gets_only_steps_of_its_labels_and_the_step_says_what_it_waits_for(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    project = await admin.new_project()
    build = await admin.new_build(project, step_of("a"), step_of("b", "a"))
    [a, b] = build["steps"]
    assert a["waitsFor"] == "no agent is connected: start one with `pushrod agent`"
    assert b["waitsFor"] == "waits for a"


async def test_a_step_of_an_account_waits_for_an_agent_of_that_account(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    mine = await admin.new_project("acme")
    registrar = await admin.new_token(kind="registration", account="other")
    foreign = await registrar.new_agent()
    poll = holding(foreign)
    await polled(coordinator, foreign)
    build = await admin.new_build(mine)
    await asyncio.sleep(0.1)
    assert not poll.done()
    [step] = (await admin.build(build["id"]))["steps"]
    assert step["waitsFor"].startswith("no agent is connected")
    poll.cancel()


async def test_a_poll_ends_when_the_coordinator_stops(coordinator: Coordinator) -> None:
    agent = await coordinator.admin.new_agent()
    poll = holding(agent)
    await polled(coordinator, agent)
    async with asyncio.timeout(10):
        await coordinator.stop()
        assert (await poll)["offers"] == []


async def test_idle_polls_and_renewals_write_nothing(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project())
    spec = await agent.take()

    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        before = connection.execute("PRAGMA data_version").fetchone()
        for _ in range(5):
            await agent.renew(spec)
            poll = holding(agent, free=1, leases=[lease_of(spec)])
            await asyncio.sleep(0.02)
            poll.cancel()
            await asyncio.wait([poll])
        assert connection.execute("PRAGMA data_version").fetchone() == before


async def test_60_steps_and_ten_agents_give_each_step_once(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    project = await admin.new_project()
    steps = [step_of(f"s{n}") for n in range(60)]
    build = await admin.new_build(project, *steps)
    agents = [await admin.new_agent(f"agent {n}", slots=8) for n in range(10)]
    done: list[str] = []

    async def work(agent: AgentCaller) -> None:
        while len(done) < len(steps):
            offers = (await agent.poll(free=8))["offers"]
            assert len(offers) <= 8
            for offer in offers:
                spec = (await agent.accept(offer)).expect(200).json
                (await agent.complete(spec)).expect(200)
                done.append(spec["stepId"])
            if len(done) == len(steps):
                for worker in workers:
                    if worker is not asyncio.current_task():
                        worker.cancel()

    workers = [asyncio.create_task(work(agent)) for agent in agents]
    await asyncio.wait(workers)
    for worker in workers:
        if not worker.cancelled():
            await worker
    assert sorted(done) == sorted(step["id"] for step in build["steps"])
    assert (await admin.build(build["id"]))["state"] == "succeeded"


async def test_an_accept_while_a_poll_waits_takes_one_of_its_free_slots(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agent, project = await admin.new_agent(slots=1), await admin.new_project()
    await admin.new_build(project, step_of("first"))
    [offer] = (await agent.poll(free=1))["offers"]
    # Sent before the agent had read its offer, so it still says that a slot is free.
    poll = holding(agent, free=1)
    await polled(coordinator, agent)
    (await agent.accept(offer)).expect(200)
    await admin.new_build(project, step_of("second"))
    await asyncio.sleep(0.1)
    assert not poll.done()
    poll.cancel()
    assert len((await agent.poll(free=1))["offers"]) == 1


async def test_steps_that_nobody_suits_hold_up_no_other(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    await admin.new_build(await admin.new_project("acme"), *[step_of(f"s{n}") for n in range(200)])
    build = await admin.new_build(await admin.new_project("other"))
    registrar = await admin.new_token(kind="registration", account="other")
    agent = await registrar.new_agent()
    assert (await agent.take())["buildId"] == build["id"]


async def test_an_agent_with_many_slots_gets_all_there_is_at_once(
    coordinator: Coordinator,
) -> None:
    """Also where a queue has fewer steps than it might have got."""
    admin = coordinator.admin
    agent = await admin.new_agent(slots=8)
    for name, count in (("one", 1), ("two", 2), ("four", 4)):
        steps = [step_of(f"{name} {n}") for n in range(count)]
        await admin.new_build(await admin.new_project(name=name), *steps)
    assert len((await agent.poll(free=8))["offers"]) == 7


async def test_a_project_runs_no_more_steps_at_once_than_its_limit(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, **LONG, project_max_running_steps=2) as coordinator:
        admin = coordinator.admin
        agent = await admin.new_agent(slots=8)
        build = await admin.new_build(
            await admin.new_project(), *[step_of(f"s{n}") for n in range(3)]
        )
        first = (await agent.poll(free=8))["offers"]
        assert len(first) == 2
        steps = (await admin.build(build["id"]))["steps"]
        [waits] = [step for step in steps if step["waitsFor"] != "is offered to an agent"]
        assert waits["waitsFor"].endswith("or its project runs 2 steps, as many as it may")
        poll = holding(agent, free=6)

        async def is_told_of_the_limit() -> bool:
            again = next(
                one for one in (await admin.build(build["id"]))["steps"] if one["id"] == waits["id"]
            )
            return bool(again["waitsFor"] == f"{FREE}, but its project may run 2 at once")

        await eventually(is_told_of_the_limit)
        (await agent.complete((await agent.accept(first[0])).expect(200).json)).expect(200)
        async with asyncio.timeout(10):
            assert [offer["stepId"] for offer in (await poll)["offers"]] == [waits["id"]]
