"""The answer to a poll brings a step that runs: what becomes of it when the answer is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    eventually,
    lease_of,
    new_work_tree,
    open_coordinator,
    step_of,
)
from tests.integration.core_fixture import Clock
from tests.integration.steps.polling_agents import LONG, holding, polled

ONE = {"instance": "one", "takesBegun": True}
TWO = {"instance": "two", "takesBegun": True}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def coordinator(tmp_path: Path, clock: Clock) -> AsyncIterator[Coordinator]:
    """Its leases and offers outlive the test."""
    async with open_coordinator(tmp_path, clock=clock, **LONG) as coordinator:
        yield coordinator


def step_row(coordinator: Coordinator, name: str = "a") -> dict[str, Any]:
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database:
        database.row_factory = sqlite3.Row
        query = "SELECT state, epoch, attempt, lost_count FROM steps WHERE name = ?"
        return dict(database.execute(query, [name]).fetchone())


RUNS = {"state": "running", "epoch": 1, "attempt": 1, "lost_count": 0}


async def begun(agent: AgentCaller, **request: Any) -> list[dict[str, Any]]:
    answer = await agent.poll(**(ONE | request))
    assert answer["offers"] == []
    return list(answer["begun"])


async def new_agent_and_build(
    coordinator: Coordinator, *steps: dict[str, Any]
) -> tuple[AgentCaller, str]:
    admin = coordinator.admin
    agent, project = await admin.new_agent(slots=8), await admin.new_project()
    build = await admin.new_build(project, *(steps or [step_of("a")]))
    return agent, str(build["id"])


async def test_a_step_comes_with_the_answer_and_runs_already(coordinator: Coordinator) -> None:
    agent, build_id = await new_agent_and_build(coordinator)
    [spec] = await begun(agent)
    assert (spec["name"], spec["epoch"], spec["attempt"]) == ("a", 1, 1)
    assert step_row(coordinator) == RUNS
    (await agent.complete(spec)).expect(200)
    assert (await coordinator.admin.build(build_id))["status"] == "SUCCESS"


async def test_a_poll_that_waits_is_answered_with_what_becomes_ready(
    coordinator: Coordinator, clock: Clock
) -> None:
    """And told how long it had waited then, so that the lease is counted from that."""
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    poll = holding(agent, **ONE)
    await polled(coordinator, agent)
    clock.seconds += 7
    await admin.new_build(project, step_of("a"))
    answer = await poll
    assert [spec["name"] for spec in answer["begun"]] == ["a"]
    assert answer["heldSeconds"] == 7


async def test_as_many_begin_as_slots_are_free_the_oldest_first(coordinator: Coordinator) -> None:
    steps = [step_of(f"s{number}") for number in range(7)]
    agent, _ = await new_agent_and_build(coordinator, *steps)
    names: list[str] = []
    leases: list[dict[str, Any]] = []
    while len(names) < 5:
        came = await begun(agent, free=5 - len(leases), leases=leases)
        names += [spec["name"] for spec in came if lease_of(spec) not in leases]
        leases += [lease_of(spec) for spec in came if lease_of(spec) not in leases]
    assert sorted(names) == ["s0", "s1", "s2", "s3", "s4"]
    assert step_row(coordinator, "s5")["state"] == "ready"


async def test_it_is_told_until_it_is_named_and_takes_a_slot_till_then(
    coordinator: Coordinator,
) -> None:
    agent, _ = await new_agent_and_build(coordinator, step_of("a"), step_of("b"))
    [first] = await begun(agent)
    assert first["name"] == "a"
    # Neither of these names it: the answer may have been lost, or be on its way.
    assert await begun(agent) == [first]
    assert await begun(agent) == [first]
    assert step_row(coordinator) == RUNS
    assert step_row(coordinator, "b")["state"] == "ready"
    [second] = await begun(agent, leases=[lease_of(first)])
    assert second["name"] == "b"


async def test_a_renewal_names_it_too(coordinator: Coordinator) -> None:
    agent, _ = await new_agent_and_build(coordinator)
    [spec] = await begun(agent)
    assert (await agent.renew(spec))["lost"] == []
    poll = holding(agent, free=0, **ONE)
    await polled(coordinator, agent)
    await asyncio.sleep(0.1)
    assert not poll.done()
    poll.cancel()


async def test_a_coordinator_that_began_since_tells_it_too(coordinator: Coordinator) -> None:
    agent, build_id = await new_agent_and_build(coordinator)
    [spec] = await begun(agent)
    await coordinator.restart()
    assert await begun(agent) == [spec]
    (await agent.complete(spec)).expect(200)
    assert (await coordinator.admin.build(build_id))["status"] == "SUCCESS"
    assert step_row(coordinator) == RUNS | {"state": "succeeded"}


async def test_a_coordinator_that_began_since_tells_no_other_process(
    coordinator: Coordinator,
) -> None:
    """The one that it was given to may run it: its lease is waited for."""
    agent, _ = await new_agent_and_build(coordinator)
    await begun(agent)
    await coordinator.restart()
    poll = holding(agent, **TWO)
    await polled(coordinator, agent)
    await asyncio.sleep(0.1)
    assert not poll.done()
    assert step_row(coordinator) == RUNS
    poll.cancel()


async def test_another_process_never_had_it_and_it_goes_back_uncounted(
    coordinator: Coordinator,
) -> None:
    agent, _ = await new_agent_and_build(coordinator)
    await begun(agent)
    [spec] = await begun(agent, **TWO)
    assert (spec["epoch"], spec["attempt"]) == (2, 1)
    assert step_row(coordinator) == RUNS | {"epoch": 2}


async def test_what_is_declined_goes_to_another_at_once_and_uncounted(
    coordinator: Coordinator,
) -> None:
    agent, _ = await new_agent_and_build(coordinator)
    other = await coordinator.admin.new_agent("other")
    [spec] = await begun(agent)
    poll = holding(agent, free=0, declined=[lease_of(spec)], **ONE)
    [again] = await begun(other, **TWO)
    assert (again["epoch"], again["attempt"]) == (2, 1)
    poll.cancel()
    # What it says of it now is refused.
    assert (await agent.complete(spec)).status == 409


async def test_an_offer_is_declined_likewise(coordinator: Coordinator) -> None:
    agent, _ = await new_agent_and_build(coordinator)
    [offer] = (await agent.poll(instance="one"))["offers"]
    poll = holding(agent, free=0, declined=[offer], instance="one")
    other = await coordinator.admin.new_agent("other")
    assert (await other.take())["epoch"] == 2
    poll.cancel()


async def test_silence_after_it_counts_as_a_loss(tmp_path: Path) -> None:
    """The agent may have begun it before it was cut off: its log is not to be forgotten."""
    async with open_coordinator(
        tmp_path, lease_seconds=1.0, accept_seconds=30.0, poll_hold_seconds=15.0
    ) as coordinator:
        agent, _ = await new_agent_and_build(coordinator)
        [spec] = await begun(agent)
        await agent.append(spec, 0, b"begun\n")

        async def lost() -> bool:
            return bool(step_row(coordinator)["lost_count"] == 1)

        await eventually(lost)
        path = f"/api/steps/{spec['stepId']}/log?attempt=1"
        assert (await coordinator.admin.get(path)).body == b"begun\n"
        # Its agent may still come with a result, so the next one is to be accepted first.
        other = await coordinator.admin.new_agent("other")
        [offer] = (await other.poll(**TWO))["offers"]
        assert offer["stepId"] == spec["stepId"]


async def test_a_cancel_comes_with_the_answer_that_tells_it_again(
    coordinator: Coordinator,
) -> None:
    agent, build_id = await new_agent_and_build(coordinator)
    [spec] = await begun(agent)
    path = f"/api/projects/-/builds/{build_id}/cancel"
    (await coordinator.admin.post(path)).expect(200)
    answer = await agent.poll(**ONE)
    assert (answer["begun"], answer["cancels"]) == ([spec], [lease_of(spec)])


STEPS = """
steps:
  - {name: once, image: base, run: "true", atMostOnce: true}
"""


async def test_a_step_that_runs_once_at_most_is_offered(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Else nobody could tell whether it ran, if the answer were lost."""
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": STEPS})
    await tree.push()
    answer = await agent.poll(**ONE)
    assert (answer["begun"], len(answer["offers"])) == ([], 1)
    (await agent.accept(answer["offers"][0])).expect(200)
    assert step_row(coordinator, "once") == RUNS


async def test_agents_of_both_kinds_share_what_is_ready(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    old, new = await admin.new_agent("old", slots=2), await admin.new_agent("new", slots=2)
    polls = [holding(old, free=2), holding(new, free=2, **ONE)]
    for agent in (old, new):
        await polled(coordinator, agent)
    await admin.new_build(await admin.new_project(), *[step_of(f"s{n}") for n in range(4)])
    offered, given = [await poll for poll in polls]
    assert len(offered["offers"]) == 2
    assert offered["begun"] == given["offers"] == []
    assert 1 <= len(given["begun"]) <= 2


async def test_of_many_idle_agents_one_gets_the_step_and_none_a_second_one(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    agents = [await admin.new_agent(f"agent {n}") for n in range(12)]
    polls = [holding(agent, instance=str(n), takesBegun=True) for n, agent in enumerate(agents)]
    for agent in agents:
        await polled(coordinator, agent)
    await admin.new_build(await admin.new_project(), step_of("a"))
    done, waiting = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.1)
    assert (len(done), sum(poll.done() for poll in waiting)) == (1, 0)
    for poll in waiting:
        poll.cancel()
    assert step_row(coordinator) == RUNS
