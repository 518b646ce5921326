"""Agents as people see them, and what they do to them: pause, resume, remove."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.engines.host import HostEngine
from agent.settings import AgentSettings
from agent.worker import Agent
from coordinator.domain.steps import waits
from tests.integration.coordinator_fixture import (
    PATIENCE_SECONDS,
    AgentCaller,
    Caller,
    Coordinator,
    eventually,
    lease_of,
    open_coordinator,
    step_of,
)
from tests.integration.core_fixture import Clock


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    """Its leases outlive the test."""
    async with open_coordinator(
        tmp_path, lease_seconds=60.0, accept_seconds=30.0, poll_hold_seconds=1.0
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def tell(caller: Caller, agent: AgentCaller, what: str) -> dict[str, Any]:
    answer = await caller.post(f"/api/agents/{agent.agent_id}/{what}")
    return dict(answer.expect(200).json)


async def shown(caller: Caller, agent: AgentCaller) -> dict[str, Any]:
    return dict((await caller.get(f"/api/agents/{agent.agent_id}")).expect(200).json)


async def why(admin: Caller, build: dict[str, Any]) -> Any:
    [step] = (await admin.build(build["id"]))["steps"]
    return step.get("waitsFor")


async def audited(admin: Caller) -> list[str]:
    entries = (await admin.get("/api/audit-logs?limit=100")).expect(200).json["auditLogs"]
    return [entry["action"] for entry in entries if entry["action"].startswith("agent.")]


async def test_a_paused_agent_finishes_what_runs_and_takes_nothing_new(admin: Caller) -> None:
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project())
    spec = await agent.take()
    assert (await tell(admin, agent, "pause"))["paused"] is True
    build = await admin.new_build(await admin.new_project("default", "another"))
    assert (await agent.poll(free=5))["offers"] == []
    assert (await agent.renew(spec))["lost"] == []
    (await agent.complete(spec)).expect(200)
    assert await why(admin, build) == waits.PAUSED
    assert (await tell(admin, agent, "resume"))["paused"] is False
    assert (await agent.take())["buildId"] == build["id"]
    assert await audited(admin) == ["agent.resumed", "agent.paused", "agent.registered"]


async def test_a_step_says_that_the_agents_that_fit_are_short_of_disk(admin: Caller) -> None:
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    disk = {"freeBytes": 300 * 1024**2, "totalBytes": 9 * 1024**3, "floorBytes": 1024**3}
    assert (await agent.poll(free=0, disk=disk))["offers"] == []
    name = (await shown(admin, agent))["name"]
    assert await why(admin, build) == (
        f"all agents that fit are short of disk: {name} has 300 MiB free and takes work from "
        "1.0 GiB on"
    )
    [said] = (await admin.get("/api/storage")).expect(200).json["agents"]
    assert said == {"id": agent.agent_id, "name": name} | disk
    assert (await agent.poll(disk={**disk, "freeBytes": 2 * 1024**3}))["offers"]


async def test_a_pause_reaches_a_poll_that_is_held_and_so_does_its_end(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=30.0) as coordinator:
        admin = coordinator.admin
        agent = await admin.new_agent()
        poll = asyncio.create_task(agent.poll())
        await eventually(lambda: _online(admin, agent))
        await tell(admin, agent, "pause")
        build = await admin.new_build(await admin.new_project())
        await eventually(lambda: _is(admin, build, waits.PAUSED))
        assert not poll.done()
        await tell(admin, agent, "resume")
        [offer] = (await poll)["offers"]
        (await agent.accept(offer)).expect(200)


async def _online(admin: Caller, agent: AgentCaller) -> bool:
    return bool((await shown(admin, agent))["online"])


async def _is(admin: Caller, build: dict[str, Any], reason: str) -> bool:
    return bool(await why(admin, build) == reason)


async def test_a_paused_agent_gets_no_step_with_a_report_and_claims_none(admin: Caller) -> None:
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project(), step_of("a"), step_of("b", "a"))
    spec = await agent.take()
    await tell(admin, agent, "pause")
    [_, second] = (await admin.build(build["id"]))["steps"]
    done = await agent.complete(spec, next={"instance": "one"})
    assert "next" not in done.expect(200).json
    answer = await agent.get(f"/api/runner/{second['id']}")
    assert (answer.status, "paused" in answer.json["error"]) == (409, True)


async def test_a_pause_outlives_a_restart(coordinator: Coordinator) -> None:
    agent = await coordinator.admin.new_agent()
    await tell(coordinator.admin, agent, "pause")
    await coordinator.stop()
    await coordinator.start()
    build = await coordinator.admin.new_build(await coordinator.admin.new_project())
    agent = AgentCaller(coordinator, agent.token, agent.agent_id)
    assert (await agent.poll())["offers"] == []
    assert await why(coordinator.admin, build) == waits.PAUSED


async def test_a_drained_agent_is_told_to_end_and_takes_nothing(admin: Caller) -> None:
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project())
    spec = await agent.take()
    drained = await tell(admin, agent, "drain")
    assert (drained["paused"], drained["drained"]) == (True, True)
    build = await admin.new_build(await admin.new_project("default", "another"))
    answer = await agent.poll(free=1, leases=[lease_of(spec)])
    assert (answer["drain"], answer["offers"], answer["lost"]) == (True, [], [])
    (await agent.complete(spec)).expect(200)
    assert await why(admin, build) == waits.PAUSED
    assert (await tell(admin, agent, "resume"))["drained"] is False
    assert (await agent.poll(free=0))["drain"] is False
    assert (await agent.take())["buildId"] == build["id"]
    assert await audited(admin) == ["agent.resumed", "agent.drained", "agent.registered"]


@pytest.mark.parametrize("free", [0, 1])
async def test_a_drain_reaches_a_poll_that_is_held(tmp_path: Path, free: int) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=55.0) as coordinator:
        admin = coordinator.admin
        agent = await admin.new_agent()
        poll = asyncio.create_task(agent.poll(free=free))
        await eventually(lambda: _online(admin, agent))
        await tell(admin, agent, "drain")
        async with asyncio.timeout(30.0):  # not by its end
            assert (await poll)["drain"] is True


async def test_a_drain_outlives_a_restart(coordinator: Coordinator) -> None:
    agent = await coordinator.admin.new_agent()
    await tell(coordinator.admin, agent, "drain")
    await coordinator.stop()
    await coordinator.start()
    agent = AgentCaller(coordinator, agent.token, agent.agent_id)
    assert (await agent.poll(free=1))["drain"] is True
    assert (await shown(coordinator.admin, agent))["drained"] is True


@pytest.mark.parametrize("by_itself", [True, False])
async def test_an_agent_that_is_drained_ends_unless_its_process_is_the_coordinators(
    tmp_path: Path, by_itself: bool
) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin, folder = coordinator.admin, tmp_path / "agent"
        settings = AgentSettings(
            url=coordinator.url,
            token=admin.token or "",
            data_dir=folder,
            name="worker",
            by_itself=by_itself,
        )
        agent = Agent(settings, HostEngine(data_dir=folder, work_dir=tmp_path / "work"))
        running = asyncio.create_task(agent.run())
        await agent.signed_in.wait()
        [found] = (await admin.get("/api/agents")).json
        (await admin.post(f"/api/agents/{found['id']}/drain")).expect(200)
        if by_itself:
            await asyncio.wait_for(running, PATIENCE_SECONDS)
            return
        build = await admin.new_build(await admin.new_project(), step_of("test", runScript="true"))
        await eventually(lambda: _is(admin, build, waits.PAUSED))
        (await admin.post(f"/api/agents/{found['id']}/resume")).expect(200)
        await eventually(lambda: _was_taken(admin, build))
        agent.cancel_all()
        await asyncio.wait_for(running, PATIENCE_SECONDS)


async def _was_taken(admin: Caller, build: dict[str, Any]) -> bool:
    return bool((await admin.build(build["id"]))["steps"][0].get("attempt") == 1)


async def test_what_waits_for_an_agent_is_told_by_what_it_wants(admin: Caller) -> None:
    linux = {"os": "linux"}
    on_linux = [step_of(name, agents=linux) for name in "ab"]
    project = await admin.new_project("acme")
    await admin.new_build(project, *on_linux, step_of("c"), step_of("d", "c"))
    await admin.new_build(await admin.new_project("other"), step_of("e"))
    await (await admin.new_agent(slots=4)).poll(free=0)
    viewer = await admin.new_token(role="viewer", account="acme")

    of_all, of_one = [
        (await caller.get("/api/agents/demand")).expect(200).json["groups"]
        for caller in (admin, viewer)
    ]

    told = [(one["waiting"], one["labels"]) for one in of_all]
    assert sorted(told, key=str) == [(2, linux), (2, {})]
    assert [(one["waiting"], one["labels"]) for one in of_one] == [(2, linux), (1, {})]
    assert all(one["oldestSeconds"] >= 0 and one["needs"] == [] for one in of_all)


async def test_only_if_all_that_fit_are_paused_a_step_says_so(admin: Caller) -> None:
    fits, other = await admin.new_agent("fits"), await admin.new_agent("other")
    elsewhere = await admin.new_token(kind="registration", account="elsewhere")
    for agent in (fits, other, await elsewhere.new_agent("unfit")):
        await agent.poll(free=0)
    build = await admin.new_build(await admin.new_project())
    await tell(admin, fits, "pause")
    assert await why(admin, build) == waits.BUSY
    await tell(admin, other, "pause")
    assert await why(admin, build) == waits.PAUSED


async def test_an_agent_is_shown_with_the_steps_that_it_has(admin: Caller) -> None:
    agent = await admin.new_agent("big", slots=3, labels={"os": "debian"})
    for account in ("acme", "other"):
        project = await admin.new_project(account)
        await admin.new_build(project)
    specs = [await agent.take(), await agent.take()]
    assert {step["id"] for step in (await shown(admin, agent))["steps"]} == {
        spec["stepId"] for spec in specs
    }
    viewer = await admin.new_token(role="viewer", account="acme")
    seen = await shown(viewer, agent)
    assert (seen["name"], seen["slots"], seen["labels"]) == ("big", 3, {"os": "debian"})
    assert (seen["online"], seen["paused"], seen.get("accountId")) == (True, False, None)
    [step] = seen["steps"]
    assert step["name"] == "test"
    assert lease_of({"stepId": step["id"], "epoch": 1}) in [lease_of(spec) for spec in specs]


async def test_an_agent_of_all_accounts_is_the_administrators(admin: Caller) -> None:
    await admin.new_project("acme")
    agent = await admin.new_agent()
    own = await admin.new_token(role="maintainer", account="acme")
    wide = await admin.new_token(role="maintainer", allAccounts=True)
    for caller in (own, wide):
        await shown(caller, agent)
        for method, what in (("POST", "/pause"), ("POST", "/resume"), ("DELETE", "")):
            answer = await caller.call(method, path_of(agent) + what)
            assert (answer.status, "administrator" in answer.json["error"]) == (403, True)
    assert (await shown(admin, agent))["paused"] is False


async def test_an_agent_that_registers_anew_stays_paused(admin: Caller) -> None:
    agent = await admin.new_agent("first")
    await tell(admin, agent, "pause")
    tokens = (await admin.get("/api/tokens")).expect(200).json
    [token_id] = [each["id"] for each in tokens if each["name"] == "agent first"]
    (await admin.call("DELETE", f"/api/tokens/{token_id}")).expect(204)
    again = await admin.new_agent("again", instance="one", previous=agent.token)
    assert (await shown(admin, again))["paused"] is True
    await admin.new_build(await admin.new_project())
    assert (await again.poll())["offers"] == []


async def test_a_removed_agent_is_gone_and_its_step_goes_elsewhere(tmp_path: Path) -> None:
    clock = Clock()
    async with open_coordinator(
        tmp_path, clock=clock, lease_seconds=1.5, poll_hold_seconds=1.0
    ) as coordinator:
        admin = coordinator.admin
        agent, other = await admin.new_agent("stolen"), await admin.new_agent("other")
        await admin.new_build(await admin.new_project())
        spec = await agent.take()
        step = Caller(coordinator, spec["token"])
        await remove(admin, agent)
        for caller, path in ((agent, "/api/agents/poll"), (agent, "/api/agents/renew")):
            assert (await caller.post(path, {"free": 1, "leases": []})).status == 401
        late = await step.post(
            f"/api/runner/{spec['stepId']}/complete", {"status": "success", "epoch": 1}
        )
        assert late.json["stale"], "its steps' own tokens end with it"
        assert [one["name"] for one in (await admin.get("/api/agents")).json] == ["other"]
        assert (await admin.get("/api/tokens")).text.count("agent stolen") == 0
        for call in (admin.get(path_of(agent)), admin.post(f"{path_of(agent)}/pause")):
            assert (await call).status == 404
        assert (await admin.call("DELETE", path_of(agent))).status == 404
        clock.seconds += 2.0
        again = await other.take()
        assert (again["stepId"], again["attempt"]) == (spec["stepId"], 2)
        assert (await audited(admin))[0] == "agent.removed"


async def test_no_step_waits_for_an_agent_that_was_removed(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=30.0) as coordinator:
        admin = coordinator.admin
        agent = await admin.new_agent()
        poll = asyncio.create_task(agent.poll())
        await eventually(lambda: _online(admin, agent))
        await remove(admin, agent)
        assert (await poll)["offers"] == []
        build = await admin.new_build(await admin.new_project())
        assert await why(admin, build) == waits.NO_AGENT


async def remove(caller: Caller, agent: AgentCaller) -> None:
    (await caller.call("DELETE", path_of(agent))).expect(204)


def path_of(agent: AgentCaller) -> str:
    return f"/api/agents/{agent.agent_id}"


async def test_when_an_agent_was_seen_last_is_told_to_the_second(
    coordinator: Coordinator, admin: Caller
) -> None:
    agent = await admin.new_agent()
    await agent.poll()
    before = (await shown(admin, agent))["lastSeenAt"]
    written = last_seen_row(coordinator, agent)
    await agent.renew()
    seen = await shown(admin, agent)
    assert seen["lastSeenAt"] > before
    assert seen["lastSeenAt"] > seen["createdAt"]
    assert last_seen_row(coordinator, agent) == written, "no write for each call"
    [listed] = (await admin.get("/api/agents")).json
    assert listed["lastSeenAt"] >= seen["lastSeenAt"]


async def test_an_agents_token_says_that_it_is_used(admin: Caller) -> None:
    agent = await admin.new_agent("first")
    await agent.poll()
    tokens = (await admin.get("/api/tokens")).expect(200).json
    [token] = [each for each in tokens if each["name"] == "agent first"]
    assert token["lastUsedAt"] >= token["createdAt"]


def last_seen_row(coordinator: Coordinator, agent: AgentCaller) -> int:
    query = "SELECT last_seen_at FROM agents WHERE id = ?"
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        return int(connection.execute(query, (agent.agent_id,)).fetchone()[0])


async def test_a_goodbye_ends_the_held_poll_and_no_step_waits_for_its_agent(
    coordinator: Coordinator, admin: Caller
) -> None:
    """Its connections may end later than it, as behind a proxy."""
    agent = await admin.new_agent()
    poll = asyncio.create_task(agent.poll(instance="one"))
    await eventually(lambda: _online(admin, agent))
    (await agent.post("/api/agents/goodbye", {"instance": "one"})).expect(204)
    assert (await poll)["offers"] == []
    await agent.poll(instance="one")
    await agent.post("/api/agents/renew", {"leases": [], "instance": "one"})
    said = await shown(admin, agent)
    assert said["online"] is False
    build = await admin.new_build(await admin.new_project())
    assert await why(admin, build) == waits.NO_AGENT
    await coordinator.restart()
    assert (await shown(coordinator.admin, agent))["lastSeenAt"] >= said["lastSeenAt"]
    again = AgentCaller(coordinator, agent.token, agent.agent_id)
    assert len((await again.poll(instance="two"))["offers"]) == 1


async def test_a_goodbye_of_one_process_leaves_the_poll_of_another_alone(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=30.0) as coordinator:
        agent = await coordinator.admin.new_agent()
        poll = asyncio.create_task(agent.poll(instance="two"))
        await eventually(lambda: _online(coordinator.admin, agent))
        (await agent.post("/api/agents/goodbye", {"instance": "one"})).expect(204)
        await coordinator.admin.new_build(await coordinator.admin.new_project())
        assert len((await poll)["offers"]) == 1
