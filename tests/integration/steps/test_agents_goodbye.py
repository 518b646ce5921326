"""Agents that go, and that come back as a new process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    lease_of,
    open_coordinator,
    step_of,
)
from tests.integration.core_fixture import Clock
from tests.integration.steps.polling_agents import LONG, holding, polled, states


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """Its leases and offers outlive the test."""
    async with open_coordinator(tmp_path, clock=Clock(), **LONG) as coordinator:
        yield coordinator


async def is_online(coordinator: Coordinator, agent: AgentCaller) -> bool:
    agents = (await coordinator.admin.get("/api/agents")).json
    return any(each["id"] == agent.agent_id and each["online"] for each in agents)


async def test_an_agent_that_says_goodbye_is_lost_at_once_and_offline(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agent, other = await admin.new_agent(slots=2), await admin.new_agent("other")
    await admin.new_build(await admin.new_project(), step_of("left"), step_of("kept"))
    offers = (await agent.poll(free=2, instance="one"))["offers"]
    specs = {}
    for offer in offers:
        spec = (await agent.accept(offer)).expect(200).json
        specs[spec["name"]] = spec
    goodbye = {"instance": "one", "leases": [lease_of(specs["kept"])]}
    (await agent.post("/api/agents/goodbye", goodbye)).expect(204)
    assert not await is_online(coordinator, agent)
    # A lease lives a minute here, so this comes at once or not within the test.
    spec = await other.take()
    assert (spec["name"], spec["attempt"]) == ("left", 2)
    assert (await agent.renew(specs["kept"]))["lost"] == []


async def test_only_an_agent_says_goodbye(coordinator: Coordinator) -> None:
    body = {"instance": "one"}
    assert (await coordinator.admin.post("/api/agents/goodbye", body)).status == 403


async def test_an_agent_that_starts_anew_loses_at_once_what_it_does_not_know_of(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agent, other = await admin.new_agent(slots=2), await admin.new_agent("other")
    await admin.new_build(await admin.new_project(), step_of("forgotten"), step_of("known"))
    specs = {}
    for offer in (await agent.poll(free=2, instance="one"))["offers"]:
        spec = (await agent.accept(offer)).expect(200).json
        specs[spec["name"]] = spec
    poll = holding(agent, free=0, instance="two", leases=[lease_of(specs["known"])])
    spec = await other.take()
    assert (spec["name"], spec["attempt"]) == ("forgotten", 2)
    poll.cancel()
    assert (await agent.renew(specs["known"]))["lost"] == []


async def test_two_processes_of_one_agent_lose_nothing_to_each_other_once_both_were_heard(
    coordinator: Coordinator,
) -> None:
    """Somebody copied an agent's folder: their steps may not run a second time beside the first."""
    admin = coordinator.admin
    agent, other = await admin.new_agent(slots=2), await admin.new_agent("other")
    for instance in ("one", "two", "one"):
        await agent.post("/api/agents/renew", {"leases": [], "instance": instance})
    build = await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll(instance="one"))["offers"]
    spec = (await agent.accept(offer)).expect(200).json
    await agent.post("/api/agents/renew", {"leases": [], "instance": "two"})
    assert (await agent.renew(spec))["lost"] == []
    poll = holding(other)
    await polled(coordinator, other)
    assert await states(coordinator, build) == {"test": "RUNNING"}
    poll.cancel()


async def test_a_new_process_takes_nothing_from_one_whose_poll_is_held(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll(instance="one"))["offers"]
    spec = (await agent.accept(offer)).expect(200).json
    first = holding(agent, free=0, instance="one", leases=[lease_of(spec)])
    await polled(coordinator, agent)
    second = holding(agent, free=0, instance="two")
    await first
    assert (await agent.renew(spec))["lost"] == []
    assert await states(coordinator, build) == {"test": "RUNNING"}
    second.cancel()
