"""Leases that are kept, lost, and given grace after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator, lease_of, open_coordinator
from tests.integration.core_fixture import Clock
from tests.integration.steps.polling_agents import (
    ACCEPT_SECONDS,
    LEASE_SECONDS,
    LONG,
    SHORT,
    pass_time,
)

LOOKS_SECONDS = 1.2
"""After so long it has looked at the clock."""


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """Its leases and offers outlive the test."""
    async with open_coordinator(tmp_path, clock=Clock(), **LONG) as coordinator:
        yield coordinator


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """Its offers and leases end when `pass_time` says so."""
    async with open_coordinator(tmp_path, clock=Clock(), **SHORT) as coordinator:
        yield coordinator


@pytest.mark.parametrize("seen", ["²", "٣", "-1", "x", "9" * 5000, "1e9"])
async def test_a_cursor_that_is_not_ours_is_taken_as_none(
    coordinator: Coordinator, seen: str
) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project())
    assert len((await agent.poll(seen=seen))["offers"]) == 1


async def test_a_lost_lease_makes_the_step_ready_again_with_a_new_attempt(
    hasty: Coordinator,
) -> None:
    admin = hasty.admin
    agent, other = await admin.new_agent(), await admin.new_agent("other")
    build = await admin.new_build(await admin.new_project())
    lost = await agent.take()
    (await agent.append(lost, 0, b"first try\n")).expect(204)
    pass_time(hasty, LEASE_SECONDS)
    spec = await other.take()
    assert (spec["epoch"], spec["attempt"]) == (lost["epoch"] + 1, 2)
    assert spec["token"] != lost["token"]
    (await other.append(spec, 0, b"second try\n")).expect(204)
    (await other.complete(spec)).expect(200)
    step_id = spec["stepId"]
    log = f"/api/steps/{step_id}/log"
    assert (await admin.get(log)).body == b"second try\n"
    first = await admin.get(f"{log}?attempt=1")
    assert (first.body, first.headers["Log-Complete"]) == (b"first try\n", "true")
    assert (await admin.build(build["id"]))["state"] == "succeeded"


async def test_renewing_keeps_a_lease(hasty: Coordinator) -> None:
    admin = hasty.admin
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project())
    spec = await agent.take()
    for _ in range(3):  # longer than a lease
        pass_time(hasty, LEASE_SECONDS * 0.8)
        await asyncio.sleep(LOOKS_SECONDS)
        assert (await agent.renew(spec))["lost"] == []
    (await agent.complete(spec)).expect(200)


async def test_a_step_whose_agents_are_lost_again_and_again_fails(hasty: Coordinator) -> None:
    admin = hasty.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    for number in (1, 2, 3):
        # Reported by the agent, which spares the wait for the lease to run out.
        spec = await agent.take()
        assert spec["attempt"] == number
        (await agent.complete(spec, status="failed", exitCode=None, reason="lost")).expect(200)
    shown = await admin.build(build["id"])
    assert shown["state"] == "failed"
    [step] = shown["steps"]
    assert step["reason"] == "lost agent: 3 attempts were lost with their agents"


async def test_an_accept_that_waits_for_the_database_is_not_taken_for_a_lost_agent(
    hasty: Coordinator,
) -> None:
    """The offer runs out while its accept is in the queue: whoever is first has it."""
    admin = hasty.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll())["offers"]
    with closing(sqlite3.connect(hasty.data / "pushrod.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        accept = asyncio.create_task(agent.accept(offer))
        await asyncio.sleep(0.5)
        pass_time(hasty, ACCEPT_SECONDS)
        await asyncio.sleep(LOOKS_SECONDS)
        other.rollback()
    (await accept).expect(200)
    assert (await agent.renew(offer))["lost"] == []
    shown = await admin.build(build["id"])
    assert [(s["status"], s["attempt"]) for s in shown["steps"]] == [("RUNNING", 1)]
    (await agent.complete(offer)).expect(200)


async def test_a_renewal_while_other_leases_expire_counts(hasty: Coordinator) -> None:
    """The expiry of a lease waits in the queue; a renewal that comes before it is carried out
    keeps the lease."""
    admin = hasty.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    spec = await agent.take()
    with closing(sqlite3.connect(hasty.data / "pushrod.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        pass_time(hasty, LEASE_SECONDS)
        await asyncio.sleep(LOOKS_SECONDS)
        assert (await agent.renew(spec))["lost"] == []
        other.rollback()
    await asyncio.sleep(0.2)
    assert (await agent.renew(spec))["lost"] == []
    shown = await admin.build(build["id"])
    assert [(s["status"], s["attempt"]) for s in shown["steps"]] == [("RUNNING", 1)]


async def test_leases_get_grace_after_a_restart_and_the_agent_goes_on(hasty: Coordinator) -> None:
    admin = hasty.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    spec = await agent.take()
    (await agent.append(spec, 0, b"before\n")).expect(204)
    await hasty.stop()
    pass_time(hasty, LEASE_SECONDS * 1.2)
    await hasty.start()
    answer = await agent.renew(spec)
    assert (answer["lost"], answer["cancels"]) == ([], [])
    wrong = await agent.append(spec, 0, b"after\n")
    assert (wrong.status, wrong.json["offset"]) == (409, 7)
    (await agent.append(spec, 7, b"after\n")).expect(204)
    (await agent.complete(spec, logBytes=13)).expect(200)
    shown = await admin.build(build["id"])
    assert (shown["state"], shown["steps"][0]["attempt"]) == ("succeeded", 1)
    assert (await admin.get(f"/api/steps/{spec['stepId']}/log")).body == b"before\nafter\n"


async def test_an_offer_of_before_a_restart_can_be_accepted_after_it(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll())["offers"]
    await coordinator.restart()
    (await agent.complete((await agent.accept(offer)).expect(200).json)).expect(200)


async def test_a_cancel_of_before_a_restart_is_told_after_it(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    spec = await agent.take()
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    seen = (await agent.poll(free=0))["seen"]
    await coordinator.restart()
    async with asyncio.timeout(10):
        again = await agent.poll(free=0, leases=[lease_of(spec)], seen=seen)
    assert again["cancels"] == [lease_of(spec)]


async def test_an_agent_that_stays_away_after_a_restart_loses_its_lease(hasty: Coordinator) -> None:
    admin = hasty.admin
    agent, other = await admin.new_agent(), await admin.new_agent("other")
    await admin.new_build(await admin.new_project())
    lost = await agent.take()
    await hasty.restart()
    pass_time(hasty, LEASE_SECONDS)
    spec = await other.take()
    assert spec["attempt"] == 2
    assert (await agent.renew(lost))["lost"] == [lease_of(lost)]
