"""Results that come after their lease has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    eventually,
    lease_of,
    open_coordinator,
    step_of,
)
from tests.integration.core_fixture import Clock
from tests.integration.steps.polling_agents import LEASE_SECONDS, LONG, SHORT, pass_time, states


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


async def lost_by_its_lease(coordinator: Coordinator, build: dict[str, Any]) -> None:
    """The first attempt of the build's only step is taken for lost."""
    pass_time(coordinator, LEASE_SECONDS)

    async def is_lost() -> bool:
        [step] = (await coordinator.admin.build(build["id"]))["steps"]
        return bool(step["status"] == "READY")

    await eventually(is_lost)


async def test_a_result_that_comes_after_the_lease_counts_while_nobody_began_anew(
    hasty: Coordinator,
) -> None:
    admin = hasty.admin
    agent = await admin.new_agent()
    build = await admin.new_build(
        await admin.new_project(), step_of("test", outputPaths=["out"]), step_of("after", "test")
    )
    spec = await agent.take()
    (await agent.append(spec, 0, b"in time\n")).expect(204)

    pass_time(hasty, LEASE_SECONDS)

    async def is_lost() -> bool:
        return (await states(hasty, build))["test"] == "READY"

    await eventually(is_lost)
    (await agent.append(spec, 8, b"late\n")).expect(204)
    with_its_token = Caller(hasty, spec["token"])
    path = f"/api/runner/{spec['stepId']}/artifacts/out"
    (await with_its_token.call("PUT", path, data=b"made")).expect(201)
    done = (await agent.complete(spec, logBytes=13)).expect(200)
    assert done.json["stepStatus"] == "SUCCESS"
    # And once more: the answer may have been lost.
    assert (await agent.complete(spec, logBytes=13)).expect(200).json == done.json
    shown = await admin.build(build["id"])
    [test, after] = shown["steps"]
    assert (test["status"], test["attempt"], after["status"]) == ("SUCCESS", 1, "READY")
    assert (await admin.get(f"/api/steps/{spec['stepId']}/log")).body == b"in time\nlate\n"
    listed = (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).expect(200).json
    assert [artifact["name"] for artifact in listed] == ["out"]


async def test_a_late_result_takes_back_an_offer_that_nobody_accepted(
    hasty: Coordinator,
) -> None:
    admin = hasty.admin
    agent, other = await admin.new_agent(), await admin.new_agent("other")
    build = await admin.new_build(await admin.new_project())
    spec = await agent.take()
    pass_time(hasty, LEASE_SECONDS)
    [offer] = (await other.poll())["offers"]
    assert (offer["stepId"], offer["epoch"]) == (spec["stepId"], spec["epoch"] + 1)
    (await agent.complete(spec)).expect(200)
    refused = await other.accept(offer)
    assert (refused.status, refused.json["stale"]) == (409, True)
    shown = await admin.build(build["id"])
    assert (shown["state"], shown["steps"][0]["attempt"]) == ("succeeded", 1)
    # The slot of the offer is free again.
    await admin.new_build(await admin.new_project(name="next"))
    async with asyncio.timeout(10):
        assert len((await other.poll())["offers"]) == 1


async def test_a_late_failure_is_judged_as_any_other(hasty: Coordinator) -> None:
    admin = hasty.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    spec = await agent.take()
    await lost_by_its_lease(hasty, build)
    done = await agent.complete(spec, status="failed", exitCode=3)
    assert done.expect(200).json["stepStatus"] == "FAILED"
    assert (await admin.build(build["id"]))["reason"] == "step test failed: exit code 3"


async def test_a_late_report_of_a_loss_leaves_the_step_where_it_is(hasty: Coordinator) -> None:
    admin = hasty.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    spec = await agent.take()
    await lost_by_its_lease(hasty, build)
    lost = {"status": "failed", "exitCode": None, "reason": "lost"}
    for _ in range(2):
        assert (await agent.complete(spec, **lost)).expect(200).json["stepStatus"] == "READY"
    again = await agent.take()
    assert (again["attempt"], again["epoch"]) == (2, spec["epoch"] + 1)


async def test_a_late_result_of_a_step_that_was_begun_anew_changes_nothing(
    hasty: Coordinator,
) -> None:
    admin = hasty.admin
    agent, other = await admin.new_agent(), await admin.new_agent("other")
    build = await admin.new_build(await admin.new_project())
    old = await agent.take()
    (await agent.append(old, 0, b"first\n")).expect(204)
    pass_time(hasty, LEASE_SECONDS)
    new = await other.take()
    late = await agent.complete(old)
    assert (late.status, late.json["stale"]) == (409, True)
    assert await states(hasty, build) == {"test": "RUNNING"}
    log = await admin.get(f"/api/steps/{old['stepId']}/log?attempt=1")
    assert log.body == b"first\n"
    (await other.complete(new)).expect(200)


async def test_a_late_result_of_a_cancelled_step_changes_nothing(hasty: Coordinator) -> None:
    admin = hasty.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    spec = await agent.take()
    await lost_by_its_lease(hasty, build)
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    assert (await agent.complete(spec)).status == 409
    assert (await admin.build(build["id"]))["state"] == "cancelled"


async def test_an_agent_that_ends_scripts_by_itself_is_not_told_to_forget_a_result(
    hasty: Coordinator,
) -> None:
    """Until somebody else has begun the step; an older agent, which goes on, is told at once."""
    admin = hasty.admin
    agent, other = await admin.new_agent(), await admin.new_agent("other")
    build = await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll(instance="one"))["offers"]
    (await agent.accept(offer)).expect(200)
    await lost_by_its_lease(hasty, build)
    named = {"leases": [lease_of(offer)], "instance": "one"}
    kept = (await agent.post("/api/agents/renew", named)).expect(200).json
    assert kept["lost"] == []
    assert (await agent.renew(offer))["lost"] == [lease_of(offer)]
    await other.take()
    lost = (await agent.post("/api/agents/renew", named)).expect(200).json
    assert lost["lost"] == [lease_of(offer)]
