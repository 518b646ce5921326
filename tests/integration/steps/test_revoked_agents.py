"""An agent whose credential was revoked: what it held is lost once it registers anew, not before,
and nothing that was handed out under the old credential is reported any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    eventually,
    open_coordinator,
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """Its leases outlive the test: what is lost is lost at once, or not within it."""
    async with open_coordinator(
        tmp_path, lease_seconds=60.0, accept_seconds=30.0, poll_hold_seconds=15.0
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def revoke(admin: Caller, agent_name: str) -> None:
    tokens = (await admin.get("/api/tokens")).expect(200).json
    [token_id] = [each["id"] for each in tokens if each["name"] == f"agent {agent_name}"]
    (await admin.call("DELETE", f"/api/tokens/{token_id}")).expect(204)


async def taken(agent: AgentCaller, instance: str = "one") -> dict[str, Any]:
    [offer] = (await agent.poll(instance=instance))["offers"]
    return dict((await agent.accept(offer)).expect(200).json)


async def the_step(admin: Caller, build: dict[str, Any]) -> dict[str, Any]:
    [step] = (await admin.build(build["id"]))["steps"]
    return dict(step)


async def test_what_a_revoked_agent_held_is_lost_at_once_when_it_registers_anew(
    admin: Caller,
) -> None:
    agent = await admin.new_agent("first")
    await admin.new_build(await admin.new_project())
    old = await taken(agent)
    await revoke(admin, "first")
    again = await admin.new_agent("again", instance="one", previous=agent.token)
    spec = await taken(again)
    assert (spec["stepId"], spec["attempt"]) == (old["stepId"], 2)
    assert not (await admin.get("/api/agents")).json[-1]["online"]
    entries = (await admin.get("/api/audit-logs")).expect(200).text
    assert agent.agent_id in entries
    assert str(agent.token) not in entries


async def test_a_revoked_agents_held_poll_ends_at_once_and_gets_no_offer(admin: Caller) -> None:
    agent = await admin.new_agent("first")
    # The second poll of an agent ends the first: so the one that is left is held.
    polls = [asyncio.create_task(agent.poll(instance="one")) for _ in range(2)]
    _, [held] = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
    await revoke(admin, "first")
    await admin.new_build(await admin.new_project())
    assert (await held)["offers"] == []
    assert (await agent.post("/api/agents/poll", {"free": 1})).status == 401


async def test_an_offer_that_a_revoked_agent_has_is_given_to_another(admin: Caller) -> None:
    agent = await admin.new_agent("first")
    await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll(instance="one"))["offers"]
    await revoke(admin, "first")
    again = await admin.new_agent("again", instance="one", previous=agent.token)
    assert (await taken(again))["stepId"] == offer["stepId"]


async def test_a_restarted_agent_that_registers_anew_speaks_for_the_process_before(
    admin: Caller,
) -> None:
    agent = await admin.new_agent("first")
    await admin.new_build(await admin.new_project())
    await taken(agent, "one")
    await revoke(admin, "first")
    again = await admin.new_agent("again", instance="two", previous=agent.token)
    assert (await taken(again))["attempt"] == 2


async def test_two_processes_with_a_revoked_credential_lose_only_their_own(admin: Caller) -> None:
    """Somebody copied an agent's folder: the other process's script may still run."""
    agent = await admin.new_agent("first", slots=2)
    for instance in ("one", "two", "one"):
        await agent.post("/api/agents/renew", {"leases": [], "instance": instance})
    project = await admin.new_project()
    its_own_build = await admin.new_build(project)
    await taken(agent, "one")
    others_build = await admin.new_build(project)
    await taken(agent, "two")
    await revoke(admin, "first")
    again = await admin.new_agent("again", slots=2, instance="one", previous=agent.token)
    await taken(again)
    assert (await the_step(admin, its_own_build))["attempt"] == 2
    assert (await the_step(admin, others_build))["attempt"] == 1


@pytest.mark.parametrize("known", ["valid", "unknown", "another's", "without a process"])
async def test_nobody_else_makes_a_hand_out_lost(admin: Caller, known: str) -> None:
    project = await admin.new_project("acme")
    registrant = await admin.new_token(kind="registration", account="acme")
    agent = await registrant.new_agent("first")
    build = await admin.new_build(project)
    await taken(agent)
    claim: dict[str, Any] = {"instance": "one", "previous": agent.token}
    if known != "valid":
        await revoke(admin, "first")
    if known == "another's":
        registrant = await admin.new_token(kind="registration", account="other")
    if known == "unknown":
        claim["previous"] = "x" * 43
    if known == "without a process":
        del claim["instance"]
    await registrant.new_agent("again", **claim)
    # A build that is made now and taken shows that whatever was to be lost is lost.
    helper = await admin.new_agent("helper")
    await admin.new_build(project)
    await taken(helper, "helper")
    assert (await the_step(admin, build))["status"] == "RUNNING"
    assert (await the_step(admin, build))["attempt"] == 1


@pytest.mark.parametrize("registered", [False, True])
async def test_nothing_is_reported_any_more_under_a_revoked_credential(
    coordinator: Coordinator, admin: Caller, registered: bool
) -> None:
    """Not by the attempt's own token either, before and after the attempt is lost."""
    agent = await admin.new_agent("first")
    build = await admin.new_build(await admin.new_project())
    spec = await taken(agent)
    attempt = AgentCaller(coordinator, spec["token"], agent.agent_id)
    (await attempt.append(spec, 0, b"before\n")).expect(204)
    await revoke(admin, "first")
    reporters: list[AgentCaller] = [attempt]
    if registered:
        reporters.append(await admin.new_agent("again", instance="one", previous=agent.token))

        async def ready() -> bool:
            return bool((await the_step(admin, build))["status"] == "READY")

        await eventually(ready)
    for reporter in reporters:
        for refused in (
            await reporter.append(spec, 7, b"after\n"),
            await reporter.upload(spec, "app", b"TROJAN"),
            await reporter.complete(spec),
        ):
            assert (refused.status, refused.json["stale"]) == (409, True)
    assert (await agent.complete(spec)).status == 401
    step = await the_step(admin, build)
    assert step["status"] == ("READY" if registered else "RUNNING")
    assert (await admin.get(f"/api/steps/{step['id']}/artifacts")).json == []
