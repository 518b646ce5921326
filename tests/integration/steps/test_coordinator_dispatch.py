"""Polls, offers, leases and epochs, over real HTTP."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.steps.waits import FREE
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    eventually,
    lease_of,
    open_coordinator,
    step_of,
)
from tests.integration.core_fixture import Clock

LEASE_SECONDS, ACCEPT_SECONDS = 1.5, 0.5
"""By a clock that tests move. Between two looks at it, one second of the real clock apart, it may
go on by no more than a coordinator may be away."""
SHORT = {
    "lease_seconds": LEASE_SECONDS,
    "accept_seconds": ACCEPT_SECONDS,
    "poll_hold_seconds": 10.0,
}
LOOKS_SECONDS = 1.2
"""After so long it has looked at the clock."""
LONG = {"lease_seconds": 60.0, "accept_seconds": 30.0, "poll_hold_seconds": 15.0}


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


def pass_time(coordinator: Coordinator, seconds: float) -> None:
    assert isinstance(coordinator.clock, Clock)
    coordinator.clock.seconds += seconds


def holding(agent: AgentCaller, **request: Any) -> asyncio.Task[dict[str, Any]]:
    return asyncio.create_task(agent.poll(**request))


async def is_online(coordinator: Coordinator, agent: AgentCaller) -> bool:
    agents = (await coordinator.admin.get("/api/agents")).json
    return any(each["id"] == agent.agent_id and each["online"] for each in agents)


async def polled(coordinator: Coordinator, agent: AgentCaller) -> None:
    """Until the agent's poll is held: the first is after its coming was written down."""
    query = "SELECT last_seen_at > created_at FROM agents WHERE id = ?"

    async def is_written() -> bool:
        with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
            return bool(connection.execute(query, (agent.agent_id,)).fetchone()[0])

    await eventually(is_written)
    # What a poll does before it waits a renewal does, too: these come later and are answered.
    for _ in range(3):
        await agent.renew()


async def states(coordinator: Coordinator, build: dict[str, Any]) -> dict[str, str]:
    shown = await coordinator.admin.build(build["id"])
    return {step["name"]: step["status"] for step in shown["steps"]}


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
