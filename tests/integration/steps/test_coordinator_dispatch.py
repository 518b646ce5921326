"""Polls, offers, leases and epochs, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator, lease_of, open_coordinator, step_of
from tests.integration.core_fixture import Clock
from tests.integration.steps.polling_agents import (
    ACCEPT_SECONDS,
    LONG,
    SHORT,
    holding,
    pass_time,
    polled,
    states,
)


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


async def test_a_held_poll_is_woken_by_what_becomes_ready(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    poll = holding(agent)
    await polled(coordinator, agent)
    assert not poll.done()
    build = await admin.new_build(project)
    answer = await poll
    assert answer["offers"] == [
        {"stepId": build["steps"][0]["id"], "epoch": 1, "acceptWithinSeconds": 30.0}
    ]
    assert (answer["cancels"], answer["lost"], answer["drain"]) == ([], [], False)


async def test_an_idle_poll_is_held_and_ends_empty(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        agent = await coordinator.admin.new_agent()
        await agent.poll()  # the first is held for a part of the time
        started = asyncio.get_running_loop().time()
        answer = await agent.poll()
        assert asyncio.get_running_loop().time() - started > 0.9
        assert (answer["offers"], answer["cancels"], answer["lost"]) == ([], [], [])


async def test_an_accepted_step_runs_to_the_end_of_its_build(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    build = await admin.new_build(project, step_of("first"), step_of("second", "first"))
    spec = await agent.take()
    assert (spec["name"], spec["epoch"], spec["attempt"]) == ("first", 1, 1)
    assert await states(coordinator, build) == {"first": "RUNNING", "second": "BLOCKED"}
    answer = (await agent.complete(spec)).expect(200).json
    assert answer == {"success": True, "stepStatus": "SUCCESS", "buildComplete": False}
    answer = (await agent.complete(await agent.take())).expect(200).json
    assert answer == {"success": True, "stepStatus": "SUCCESS", "buildComplete": True}
    shown = await admin.build(build["id"])
    assert (shown["status"], shown["state"]) == ("SUCCESS", "succeeded")
    assert shown["createdAt"] <= shown["startedAt"] <= shown["finishedAt"]


async def test_an_offer_is_shown_as_ready_and_given_once(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent, other = await admin.new_agent(), await admin.new_agent("other")
    build = await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll())["offers"]
    assert await states(coordinator, build) == {"test": "READY"}
    poll = holding(other)
    await polled(coordinator, other)
    refused = await other.accept(offer)
    assert (refused.status, refused.json["stale"]) == (409, True)
    assert not poll.done()
    poll.cancel()


async def test_accepting_twice_gives_the_same_spec(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll())["offers"]
    first = (await agent.accept(offer)).expect(200)
    assert (await agent.accept(offer)).expect(200).json == first.json
    shown = await admin.build(build["id"])
    assert shown["steps"][0]["attempt"] == 1
    spec_path = f"/api/runner/{offer['stepId']}"
    again = await agent.call("GET", spec_path, headers={"Accept": "application/json"})
    assert again.expect(200).json == first.json


async def test_a_cancel_is_still_told_when_an_accept_is_repeated_after_it(
    coordinator: Coordinator,
) -> None:
    """The first accept's answer may have been lost: its repetition comes after the cancel."""
    admin = coordinator.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    [offer] = (await agent.poll())["offers"]
    (await agent.accept(offer)).expect(200)
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    (await agent.accept(offer)).expect(200)
    assert (await agent.renew(offer))["cancels"] == [lease_of(offer)]


async def test_an_offer_not_accepted_in_time_goes_to_another_and_the_old_epoch_is_stale_everywhere(
    hasty: Coordinator,
) -> None:
    admin = hasty.admin
    slow, quick = await admin.new_agent("slow"), await admin.new_agent("quick")
    build = await admin.new_build(await admin.new_project())
    [old] = (await slow.poll())["offers"]
    pass_time(hasty, ACCEPT_SECONDS)
    [new] = (await quick.poll())["offers"]
    assert (new["stepId"], new["epoch"]) == (old["stepId"], old["epoch"] + 1)
    spec = (await quick.accept(new)).expect(200).json
    for stale in (
        await slow.accept(old),
        await slow.append(old, 0, b"late"),
        await slow.upload(old, "late", b"late"),
        await slow.complete(old),
        # Nor may it speak for the epoch that isn't its own.
        await slow.accept(new),
        await slow.append(new, 0, b"late"),
        await slow.upload(new, "late", b"late"),
        await slow.complete(new),
    ):
        assert (stale.status, stale.json.get("stale")) == (409, True), stale.text
    renewed = await slow.renew(old, new)
    assert renewed["lost"] == [lease_of(old), lease_of(new)]
    poll = holding(slow, leases=[lease_of(old)])
    assert (await poll)["lost"] == [lease_of(old)]
    (await quick.complete(spec)).expect(200)
    assert (await admin.build(build["id"]))["state"] == "succeeded"


async def test_offers_count_against_the_free_slots(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent, project = await admin.new_agent(slots=3), await admin.new_project()
    steps = [step_of(f"s{n}") for n in range(5)]
    await admin.new_build(project, *steps)
    first = (await agent.poll(free=2))["offers"]
    assert len(first) == 2
    # Nothing of it is accepted yet, so only one of the three slots is left.
    second = (await agent.poll(free=3))["offers"]
    assert len(second) == 1
    poll = holding(agent, free=3)
    await asyncio.sleep(0.1)
    assert not poll.done()
    (await agent.accept(first[0])).expect(200)
    poll.cancel()
    # One runs and takes no part any more; the agent itself says that three are free.
    assert len((await agent.poll(free=3))["offers"]) == 1
    ids = [offer["stepId"] for offer in first + second]
    assert len(set(ids)) == 3


async def test_an_agent_without_free_slots_is_offered_nothing(hasty: Coordinator) -> None:
    admin = hasty.admin
    agent, other = await admin.new_agent(), await admin.new_agent("other")
    await admin.new_build(await admin.new_project())
    poll = holding(agent, free=0)
    await polled(hasty, agent)
    assert len((await other.poll())["offers"]) == 1
    assert not poll.done()
    poll.cancel()


async def test_the_second_poll_of_an_agent_ends_the_first(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent()
    first = holding(agent)
    await polled(coordinator, agent)
    second = holding(agent)
    assert (await first)["offers"] == []
    await admin.new_build(await admin.new_project())
    assert len((await second)["offers"]) == 1


async def test_a_poll_that_broke_off_gives_nothing_away(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent, other = await admin.new_agent(), await admin.new_agent("other")
    broken = holding(agent)
    await polled(coordinator, agent)
    broken.cancel()
    await asyncio.wait([broken])
    build = await admin.new_build(await admin.new_project())
    # An offer lives as long as the test, so this comes at once or never.
    async with asyncio.timeout(10):
        [offer] = (await other.poll())["offers"]
    assert offer["stepId"] == build["steps"][0]["id"]
    (await other.accept(offer)).expect(200)


async def test_polls_that_break_off_while_offers_are_made_lose_no_step(
    hasty: Coordinator,
) -> None:
    """Clients that leave at any moment: each step still gets to the one that stays.

    At once, or when the offer's time is over: an answer on its way can't be called back.
    """
    admin = hasty.admin
    project = await admin.new_project()
    workflow_id = await admin.new_workflow(project)
    flighty, steady = await admin.new_agent("flighty"), await admin.new_agent("steady")
    for delay_ms in range(0, 30, 5):
        poll = holding(flighty)
        await polled(hasty, flighty)
        path = f"/api/projects/{project['id']}/builds"
        build = asyncio.create_task(admin.post(path, {"workflowId": workflow_id}))
        await asyncio.sleep(delay_ms / 1000)
        poll.cancel()
        await asyncio.wait([poll, build])
        if not poll.cancelled():
            [offer] = poll.result()["offers"]
            (await flighty.accept(offer)).expect(200)
            (await flighty.complete(offer)).expect(200)
            continue
        pass_time(hasty, ACCEPT_SECONDS)
        async with asyncio.timeout(10):
            spec = await steady.take()
        (await steady.complete(spec)).expect(200)
