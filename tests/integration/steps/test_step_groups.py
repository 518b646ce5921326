"""`concurrency` of a step: of a group's steps only so many run at once, first come first served."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.lifecycle import StepState
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import queue as stored_queue
from pipelines_schema import StepGroup
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    WorkTree,
    eventually,
    new_work_tree,
    open_coordinator,
)
from tests.integration.core_fixture import open_core, step_of

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller) -> WorkTree:
    return await new_work_tree(tmp_path, admin, await admin.new_project())


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent(slots=4)


def workflow(*steps: str) -> str:
    return "steps:\n" + "".join(f"  - {{image: base, run: 'true', {step}}}\n" for step in steps)


async def pushed(admin: Caller, tree: WorkTree, *steps: str) -> dict[str, Any]:
    await tree.commit({".pushrod.yml": workflow(*steps)})
    await tree.push()
    newest = (await admin.get("/api/projects/-/builds?limit=1")).expect(200).json["builds"][0]
    return await admin.build(newest["id"])


async def waits(admin: Caller, build: Mapping[str, Any]) -> dict[str, str | None]:
    """What each step waits for that is in line."""
    found = await admin.build(build["id"])
    return {
        step["name"]: step["waitsFor"].removeprefix("waits for a place in the group ")
        for step in found["steps"]
        if "place in the group" in step.get("waitsFor", "")
    }


async def test_those_who_wait_are_told_when_others_have_the_places(
    admin: Caller, agent: AgentCaller, tree: WorkTree, tmp_path: Path
) -> None:
    await pushed(admin, tree, "name: a, concurrency: gpu")
    other = await admin.new_project(name="lib")
    lib = await new_work_tree(tmp_path, admin, other, "lib")
    await pushed(admin, lib, "name: b, concurrency: gpu")
    waiting = await pushed(admin, lib, "name: c, concurrency: gpu")
    assert (await waits(admin, waiting))["c"] == "`gpu`, taken by a of shop#1"
    spec = await agent.take()
    seen = (await admin.build(waiting["id"]))["version"]
    path = f"/api/projects/-/builds/{waiting['id']}?wait=30&seen={seen}"
    held = asyncio.create_task(admin.get(path))
    (await agent.complete(spec)).expect(200)
    answer = (await held).expect(200).json
    assert answer["version"] == seen + 1
    [step] = answer["steps"]
    assert step["waitsFor"].endswith("`gpu`, taken by b of lib#1")
    # Who only lines up behind it changes nothing for it.
    await pushed(admin, tree, "name: d, concurrency: gpu")
    assert (await admin.build(waiting["id"]))["version"] == seen + 1


async def test_steps_of_a_group_take_turns_across_projects_as_they_came(
    admin: Caller, agent: AgentCaller, tree: WorkTree, tmp_path: Path
) -> None:
    first = await pushed(admin, tree, "name: a, concurrency: gpu", "name: b, concurrency: gpu")
    other = await admin.new_project(name="lib")
    second = await pushed(
        admin, await new_work_tree(tmp_path, admin, other, "lib"), "name: c, concurrency: gpu"
    )
    spec = await agent.take()
    assert (spec["name"], (await agent.poll(free=3))["offers"]) == ("a", [])
    taken = "`gpu`, taken by a of shop#1"
    assert await waits(admin, first) == {"b": taken}
    assert await waits(admin, second) == {"c": taken}
    b = next(step for step in first["steps"] if step["name"] == "b")
    claimed = (await admin.get(f"/api/runner/{b['id']}")).expect(409)
    assert "waits for a place in the group `gpu`" in claimed.json["error"]
    # The place goes to the next with the completion that frees it, and so does the step itself.
    answer = await agent.complete(spec, next={"instance": "one"})
    spec = answer.expect(200).json["next"]
    assert spec["name"] == "b"
    assert await waits(admin, second) == {"c": "`gpu`, taken by b of shop#1"}
    (await agent.complete(spec)).expect(200)
    assert (await admin.build(first["id"]))["state"] == "succeeded"
    assert (await agent.take())["name"] == "c"


async def test_each_steps_own_limit_counts_and_nobody_overtakes(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(
        admin,
        tree,
        *(f"name: wide {n}, concurrency: {{group: gpu, limit: 2}}" for n in range(2)),
        "name: narrow, concurrency: gpu",
        "name: last, concurrency: {group: gpu, limit: 2}",
        "name: free",
    )
    specs = {spec["name"]: spec for spec in [await agent.take() for _ in range(3)]}
    assert set(specs) == {"wide 0", "wide 1", "free"}
    (await agent.complete(specs["wide 0"])).expect(200)
    assert set(await waits(admin, build)) == {"narrow", "last"}, "one still runs"
    (await agent.complete(specs["wide 1"])).expect(200)
    # Nothing ran when the narrow one began; beside it there is room for one of limit 2.
    assert await waits(admin, build) == {}


async def test_a_retry_gives_its_place_away_and_lines_up_again(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(
        admin, tree, "name: a, retries: 1, concurrency: gpu", "name: b, concurrency: gpu"
    )
    (await agent.complete(await agent.take(), status="failed", exitCode=1)).expect(200)
    assert set(await waits(admin, build)) == {"a"}
    spec = await agent.take()
    assert spec["name"] == "b"
    (await agent.complete(spec)).expect(200)
    spec = await agent.take()
    assert (spec["name"], spec["attempt"]) == ("a", 2)


async def test_a_cancelled_build_gives_its_places_away(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    names = [f"name: s{n}, concurrency: {{group: gpu, limit: 2}}" for n in range(5)]
    first = await pushed(admin, tree, *names)
    spec = await agent.take()
    second = await pushed(admin, tree, "name: next, concurrency: gpu", "name: x, concurrency: gpu")
    (await admin.post(f"/api/projects/-/builds/{first['id']}/cancel")).expect(200)
    assert set(await waits(admin, second)) == {"next", "x"}, "what runs keeps its place"
    (await agent.complete(spec, status="failed", reason="cancelled")).expect(200)
    assert set(await waits(admin, second)) == {"x"}
    assert (await agent.take())["name"] == "next"


async def test_a_lost_agents_place_is_given_away_and_a_restart_changes_nothing(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=2) as coordinator:
        admin = coordinator.admin
        tree = await new_work_tree(tmp_path, admin, await admin.new_project())
        build = await pushed(admin, tree, "name: a, concurrency: gpu", "name: b, concurrency: gpu")
        agent = await admin.new_agent()
        spec = await agent.take()
        await coordinator.restart()
        assert set(await waits(admin, build)) == {"b"}

        async def is_lost() -> bool:
            return "a" in await waits(admin, build)

        await eventually(is_lost)
        assert set(await waits(admin, build)) == {"a"}
        # Its result comes after all, while the other has the place: it counts, and ends.
        (await agent.complete(spec)).expect(200)
        assert await waits(admin, build) == {}
        spec = await agent.take()
        assert spec["name"] == "b"
        (await agent.complete(spec)).expect(200)
        assert (await admin.build(build["id"]))["state"] == "succeeded"


async def test_names_hold_what_a_build_is_made_for(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(
        admin,
        tree,
        'name: a, env: {X: y}, concurrency: "${{ branch }}-${{ env.X }}-${{ build.number }}"',
        'name: b, matrix: {os: [p, q]}, concurrency: "on ${{ matrix.os }}"',
        "name: after, dependsOn: [a], concurrency: main-y-1",
    )
    groups = {step["name"]: step["concurrencyGroup"] for step in build["steps"]}
    assert groups == {"a": "main-y-1", "b (p)": "on p", "b (q)": "on q", "after": "main-y-1"}
    specs = [await agent.take() for _ in range(3)]
    for spec in specs:
        (await agent.complete(spec)).expect(200)
    assert (await agent.take())["name"] == "after"


async def test_agents_that_end_at_once_never_give_more_places_than_there_are(
    admin: Caller, tree: WorkTree
) -> None:
    steps = [f"name: s{n}, concurrency: {{group: gpu, limit: 2}}" for n in range(12)]
    build = await pushed(admin, tree, *steps)
    running: set[str] = set()
    most = 0

    async def work(agent: AgentCaller) -> None:
        nonlocal most
        while (await admin.build(build["id"]))["state"] != "succeeded":
            for offer in (await agent.poll())["offers"]:
                spec = (await agent.accept(offer)).expect(200).json
                running.add(spec["name"])
                most = max(most, len(running))
                await asyncio.sleep(0)
                running.discard(spec["name"])
                (await agent.complete(spec)).expect(200)

    await asyncio.gather(*[work(await admin.new_agent(f"agent {n}")) for n in range(3)])
    assert 1 <= most <= 2


async def test_steps_in_line_are_nothing_to_a_round_of_the_dispatch(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        project = await tested.new_project()
        group = StepGroup(name="gpu")
        steps = [step_of(f"s{n}", concurrency=group, agents={"n": str(n)}) for n in range(300)]
        build = await tested.new_build(project, *steps)
        states = [step.state for step in await tested.steps(build)]
        assert states == [StepState.READY, *[StepState.IN_LINE] * 299]

        async def classes(connection: AsyncConnection) -> int:
            return len(await stored_queue.waiting_classes(connection))

        assert await tested.core.database.read(classes) == 1
