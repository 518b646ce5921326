"""Cancels of what is offered, and of what runs, reach an agent by its poll."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator, lease_of, open_coordinator, step_of
from tests.integration.core_fixture import Clock
from tests.integration.steps.polling_agents import LONG, holding


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """Its leases and offers outlive the test."""
    async with open_coordinator(tmp_path, clock=Clock(), **LONG) as coordinator:
        yield coordinator


async def test_a_cancel_reaches_a_held_poll_at_once_and_does_not_make_it_spin(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent()
    build = await admin.new_build(
        await admin.new_project(), step_of("test"), step_of("after", "test")
    )
    spec = await agent.take()
    poll = holding(agent, free=0, leases=[lease_of(spec)])
    await asyncio.sleep(0.05)
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    async with asyncio.timeout(10):
        answer = await poll
    assert answer["cancels"] == [lease_of(spec)]
    assert answer["seen"]
    # Being carried out: the same cursor is held, an older one is answered at once.
    held = holding(agent, free=0, leases=[lease_of(spec)], seen=answer["seen"])
    await asyncio.sleep(0.2)
    assert not held.done()
    held.cancel()
    await asyncio.wait([held])
    async with asyncio.timeout(10):
        repeated = await agent.poll(free=0, leases=[lease_of(spec)], seen="0")
    assert repeated["cancels"] == [lease_of(spec)]
    assert (await agent.renew(spec))["cancels"] == [lease_of(spec)]
    done = await agent.complete(spec, status="failed", exitCode=137, reason="cancelled")
    assert done.expect(200).json["stepStatus"] == "CANCELLED"
    shown = await admin.build(build["id"])
    assert (shown["state"], shown["status"]) == ("cancelled", "FAILED")
    assert shown["reason"] == "cancelled by admin"
    assert {step["status"] for step in shown["steps"]} == {"CANCELLED"}


async def test_a_second_cancel_wakes_a_poll_that_has_seen_the_first(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    builds = [await admin.new_build(project) for _ in range(2)]
    specs = [await agent.take(), await agent.take()]
    seen = ""
    for build in builds:
        poll = holding(agent, free=0, seen=seen)
        await asyncio.sleep(0.05)
        assert not poll.done()
        (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
        async with asyncio.timeout(10):
            answer = await poll
        seen = answer["seen"]
    wanted = sorted(spec["stepId"] for spec in specs)
    assert sorted(lease["stepId"] for lease in answer["cancels"]) == wanted


async def test_a_cancelled_offer_can_not_be_accepted_and_frees_its_slot(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    build = await admin.new_build(project)
    [offer] = (await agent.poll(free=1))["offers"]
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    assert (await admin.build(build["id"]))["state"] == "cancelled"
    assert (await agent.accept(offer)).status == 409
    await admin.new_build(project)
    async with asyncio.timeout(10):
        assert len((await agent.poll(free=1))["offers"]) == 1
