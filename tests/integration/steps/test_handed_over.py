"""The answer to a completion brings the next step: what it costs, and what becomes of it when the
answer, or whoever reads it, is lost."""

from __future__ import annotations

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
    new_work_tree,
    open_coordinator,
    step_of,
)
from tests.integration.step_costs import (
    MOST_COMMITS_OF_A_BUILD,
    MOST_STATEMENTS_OF_A_BUILD,
    MOST_STATEMENTS_OF_A_STEP,
    costs_of_a_build,
    costs_of_a_step,
    new_chain,
    next_of,
    patient_coordinator,
)

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with patient_coordinator(tmp_path) as coordinator:
        yield coordinator


async def step_row(coordinator: Coordinator, name: str) -> dict[str, Any]:
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database:
        database.row_factory = sqlite3.Row
        query = "SELECT state, epoch, attempt, lost_count FROM steps WHERE name = ?"
        return dict(database.execute(query, [name]).fetchone())


async def test_the_next_step_comes_with_the_answer_and_runs_already(
    coordinator: Coordinator,
) -> None:
    agent, spec = await new_chain(coordinator.admin, 3)
    names, build_id = [spec["name"]], spec["buildId"]
    while spec := await next_of(agent, spec):
        row = await step_row(coordinator, spec["name"])
        assert row == {"state": "running", "epoch": 1, "attempt": 1, "lost_count": 0}
        assert spec["env"]["PUSHROD_ATTEMPT"] == "1"
        names.append(spec["name"])
    assert names == ["s00", "s01", "s02"]
    assert (await coordinator.admin.build(build_id))["status"] == "SUCCESS"


async def test_the_same_completion_is_answered_with_the_same_step(
    coordinator: Coordinator,
) -> None:
    agent, first = await new_chain(coordinator.admin, 3)
    given = await next_of(agent, first)
    assert await next_of(agent, first) == given
    await coordinator.restart()
    assert await next_of(agent, first) == given
    assert (await step_row(coordinator, "s01"))["epoch"] == 1
    # Once that has ended too, the first one's answer says nothing of it any more.
    await agent.complete(given)
    assert await next_of(agent, first) is None


async def test_who_does_not_ask_or_has_not_polled_is_offered_it_as_ever(
    coordinator: Coordinator,
) -> None:
    agent, first = await new_chain(coordinator.admin, 3)
    assert "next" not in (await agent.complete(first)).expect(200).json
    second = await agent.take()
    await coordinator.restart()
    assert await next_of(agent, second) is None
    assert (await agent.take())["name"] == "s02"


async def test_it_is_whose_turn_it_is_that_is_handed_over(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent, first = await new_chain(admin, 2)
    other = await admin.new_project("other")
    await admin.new_build(other, step_of("a"), step_of("b"))
    [busy] = [await agent.take()]
    assert busy["name"] == "a"
    # The other project has one running, so that it is the first one's turn.
    second = await next_of(agent, first)
    assert second["name"] == "s01"
    assert (await next_of(agent, second))["name"] == "b"


TWO_STEPS = """
steps:
  - {name: a, image: base, run: "true"}
  - {name: b, dependsOn: [a], image: base, run: "true", MORE}
"""


async def pushed(coordinator: Coordinator, folder: Path, more: str) -> AgentCaller:
    """Two steps in a row, the second with `more`; an agent that may take them."""
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    path = f"/api/projects/{project['id']}/secrets/KEY"
    (await admin.call("PUT", path, data=b'{"value": "hush"}', headers=JSON)).expect(200)
    tree = await new_work_tree(folder, admin, project)
    await tree.commit({".pushrod.yml": TWO_STEPS.replace("MORE", more)})
    await tree.push()
    return agent


async def test_what_an_agent_does_not_suit_is_not_handed_to_it(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    agent = await pushed(coordinator, tmp_path, "agents: {os: plan9}")
    assert await next_of(agent, await agent.take()) is None
    assert (await step_row(coordinator, "b"))["state"] == "ready"


async def test_a_process_that_knows_nothing_of_it_gives_it_back_uncounted(
    coordinator: Coordinator,
) -> None:
    agent, first = await new_chain(coordinator.admin, 2)
    assert (await next_of(agent, first, "one"))["name"] == "s01"
    [offer] = (await agent.poll(instance="two"))["offers"]
    spec = (await agent.accept(offer)).expect(200).json
    assert await step_row(coordinator, "s01") == {
        "state": "running",
        "epoch": 2,
        "attempt": 1,
        "lost_count": 0,
    }
    assert spec["env"]["PUSHROD_ATTEMPT"] == "1"
    assert (await next_of(agent, first)) is None


async def test_once_it_was_named_its_loss_counts(coordinator: Coordinator) -> None:
    agent, first = await new_chain(coordinator.admin, 2)
    given = await next_of(agent, first, "one")
    assert (await agent.renew(given))["lost"] == []
    [offer] = (await agent.poll(instance="two"))["offers"]
    spec = (await agent.accept(offer)).expect(200).json
    assert spec["env"]["PUSHROD_ATTEMPT"] == "2"
    row = await step_row(coordinator, "s01")
    assert (row["epoch"], row["attempt"], row["lost_count"]) == (2, 2, 1)


async def test_silence_after_it_counts_as_a_loss(tmp_path: Path) -> None:
    """The agent may have begun it before it was cut off: its log is not to be forgotten."""
    async with open_coordinator(
        tmp_path, lease_seconds=1.0, accept_seconds=30.0, poll_hold_seconds=15.0
    ) as coordinator:
        agent, first = await new_chain(coordinator.admin, 2)
        given = await next_of(agent, first)
        await agent.append(given, 0, b"begun\n")

        async def lost() -> bool:
            return (await step_row(coordinator, "s01"))["lost_count"] == 1

        await eventually(lost)
        steps = (await coordinator.admin.build(given["buildId"]))["steps"]
        path = f"/api/steps/{steps[1]['id']}/log?attempt=1"
        assert (await coordinator.admin.get(path)).body == b"begun\n"


async def test_a_step_that_runs_once_at_most_is_never_given_a_second_time(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    agent = await pushed(coordinator, tmp_path, "atMostOnce: true")
    await next_of(agent, await agent.take(), "one")
    assert (await agent.renew())["lost"] == []
    await agent.post("/api/agents/goodbye", {"instance": "one"})

    async def failed() -> bool:
        return (await step_row(coordinator, "b"))["state"] == "failed"

    await eventually(failed)


async def test_a_step_that_runs_once_at_most_is_not_waited_for_when_nobody_knows_of_it(
    tmp_path: Path,
) -> None:
    """The answer was lost, and its agent was killed while the lead changed: whoever leads now can't
    see that the process is another. It hears it speak of other things alone."""
    async with open_coordinator(
        tmp_path, lease_seconds=1.0, accept_seconds=30.0, poll_hold_seconds=1.0
    ) as coordinator:
        agent = await pushed(coordinator, tmp_path, "atMostOnce: true")
        await next_of(agent, await agent.take(), "one")
        await coordinator.restart()

        async def failed() -> bool:
            await agent.poll(instance="two", free=0)
            return (await step_row(coordinator, "b"))["state"] == "failed"

        await eventually(failed)


async def test_a_step_that_can_t_be_given_does_not_hold_up_the_report(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    agent = await pushed(coordinator, tmp_path, "secrets: [KEY]")
    first = await agent.take()
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database, database:
        database.execute("UPDATE secret_values SET sealed = x'00'")
    assert await next_of(agent, first) is None
    assert (await step_row(coordinator, "a"))["state"] == "succeeded"
    assert (await step_row(coordinator, "b"))["state"] in ("ready", "offered")


@pytest.mark.parametrize("length", [10, 50])
async def test_what_a_step_of_a_chain_costs_does_not_grow(
    coordinator: Coordinator, length: int
) -> None:
    """One request and one commit, and the same few statements for each."""
    costs = await costs_of_a_step(coordinator, length)
    # What runs by itself beside them (the agent was heard, a queue's timeout) is a few in all.
    assert costs.commits <= 1 + 2 / length
    assert costs.reads <= 4 / length
    assert costs.statements <= MOST_STATEMENTS_OF_A_STEP + 8 / length


async def test_what_a_build_of_one_step_costs(coordinator: Coordinator) -> None:
    costs = await costs_of_a_build(coordinator)
    assert costs.commits <= MOST_COMMITS_OF_A_BUILD + 0.2
    assert costs.statements <= MOST_STATEMENTS_OF_A_BUILD + 0.8
