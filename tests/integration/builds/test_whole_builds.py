"""What a workflow says of a build as a whole: `concurrency`, `failFast`, `timeout`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
)

STEP = "{name: %s, image: base, run: 'true'%s}"
GROUPED = "on: {push: {}, tag: ['*']}\nconcurrency: %s\nsteps:\n" + "".join(
    f"  - {STEP % (name, more)}\n"
    for name, more in (
        ("first", ""),
        ("clean", ", dependsOn: [first], runOn: [success, cancelled]"),
    )
)


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project()


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent()


async def pushed(admin: Caller, tree: WorkTree, workflow: str, *refs: str) -> dict[str, Any]:
    """The build of that push."""
    await tree.commit({".pushrod.yml": workflow})
    await tree.push(*refs)
    newest = (await admin.get("/api/projects/-/builds?limit=1")).expect(200).json["builds"][0]
    return await admin.build(newest["id"])


async def state(admin: Caller, build: Mapping[str, Any]) -> tuple[str, str | None]:
    found = await admin.build(build["id"])
    return found["state"], found.get("reason")


def states(build: Mapping[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"].lower() for step in build["steps"]}


async def finish(agent: AgentCaller, **ends: Any) -> str:
    """Take a step and end it; its name."""
    spec = await agent.take()
    (await agent.complete(spec, **ends)).expect(200)
    return str(spec["name"])


# concurrency


async def test_one_build_of_a_group_runs_and_the_newest_waits(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    workflow = GROUPED % "deploy"
    first = await pushed(admin, tree, workflow)
    second, third = [await pushed(admin, tree, workflow) for _ in range(2)]
    assert first["concurrencyGroup"] == "deploy"
    assert await state(admin, second) == ("cancelled", "superseded by #3")
    assert states(await admin.build(second["id"])) == {"first": "cancelled", "clean": "cancelled"}
    waiting = await admin.build(third["id"])
    assert (waiting["state"], states(waiting)["first"]) == ("queued", "blocked")
    assert waiting["steps"][0]["waitsFor"] == (
        "waits for the build that is on its way in the group `deploy`"
    )
    assert await finish(agent) == "first"
    assert await finish(agent) == "clean"
    assert await state(admin, first) == ("succeeded", None)
    assert states(await admin.build(third["id"]))["first"] == "ready"
    spec = await agent.take()
    assert spec["buildNumber"] == 3


async def test_groups_are_told_apart_by_what_their_names_hold(
    admin: Caller, tree: WorkTree
) -> None:
    workflow = GROUPED % '"deploy-${{ ref }}"'
    main = await pushed(admin, tree, workflow)
    other = await pushed(admin, tree, workflow, "main:other")
    tag = await pushed(admin, tree, workflow, "main:refs/tags/v1")
    groups = [build["concurrencyGroup"] for build in (main, other, tag)]
    assert groups == [f"deploy-refs/{ref}" for ref in ("heads/main", "heads/other", "tags/v1")]
    assert [build["steps"][0]["status"] for build in (main, other, tag)] == ["READY"] * 3


async def test_the_running_build_is_cancelled_and_the_next_begins_when_it_has_cleaned_up(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    workflow = GROUPED % "{group: deploy, cancelRunning: true}"
    old = await pushed(admin, tree, workflow)
    spec = await agent.take()
    polled = asyncio.create_task(agent.poll(free=0, leases=[lease(spec)]))
    new = await pushed(admin, tree, workflow)
    assert [one["stepId"] for one in (await polled)["cancels"]] == [spec["stepId"]]
    assert await state(admin, old) == ("running", "superseded by #2")
    (await agent.complete(spec, status="failed", reason="cancelled", exitCode=None)).expect(200)
    assert states(await admin.build(new["id"]))["first"] == "blocked"
    clean = await agent.take()
    assert (clean["name"], clean["buildNumber"]) == ("clean", 1)
    (await agent.complete(clean)).expect(200)
    assert await state(admin, old) == ("cancelled", "superseded by #2")
    assert (await agent.take())["buildNumber"] == 2


async def test_a_build_that_has_not_begun_is_superseded_at_once(
    admin: Caller, tree: WorkTree
) -> None:
    workflow = GROUPED % "{group: deploy, cancelRunning: true}"
    old = await pushed(admin, tree, workflow)
    new = await pushed(admin, tree, workflow)
    assert await state(admin, old) == ("cancelled", "superseded by #2")
    assert states(new)["first"] == "ready"


async def test_one_in_line_begins_after_a_cancel_and_a_restart(
    coordinator: Coordinator, admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    workflow = GROUPED % "deploy"
    first = await pushed(admin, tree, workflow)
    second = await pushed(admin, tree, workflow)
    await coordinator.restart()
    assert states(await admin.build(second["id"]))["first"] == "blocked"
    (await admin.post(f"/api/projects/-/builds/{first['id']}/cancel")).expect(200)
    assert (await agent.take())["buildNumber"] == second["number"]


async def test_one_in_line_may_be_cancelled_and_retried(admin: Caller, tree: WorkTree) -> None:
    workflow = GROUPED % "deploy"
    first = await pushed(admin, tree, workflow)
    second = await pushed(admin, tree, workflow)
    (await admin.post(f"/api/projects/-/builds/{second['id']}/cancel")).expect(200)
    assert (await state(admin, second))[0] == "cancelled"
    assert (await state(admin, first))[0] == "queued"
    retried = await admin.post(f"/api/projects/-/builds/{second['id']}/retry")
    third = await admin.build(retried.expect(201).json["id"])
    assert (third["concurrencyGroup"], states(third)["first"]) == ("deploy", "blocked")


async def test_a_group_is_its_projects(admin: Caller, tree: WorkTree, tmp_path: Path) -> None:
    workflow = GROUPED % "deploy"
    await pushed(admin, tree, workflow)
    other = await new_work_tree(tmp_path, admin, await admin.new_project(name="other"), "other")
    assert states(await pushed(admin, other, workflow))["first"] == "ready"


# failFast


FAILING = "steps:\n" + "".join(
    f"  - {STEP % (name, more)}\n"
    for name, more in (
        ("lint", ""),
        ("test", ""),
        ("pack", ", dependsOn: [test]"),
        ("may", ", allowFailure: true"),
        ("tell", ", dependsOn: [lint], runOn: [failure]"),
    )
)


async def test_the_first_failure_ends_the_others(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(admin, tree, "failFast: true\n" + FAILING)
    taken = {}
    for _ in range(3):
        spec = await agent.take()
        taken[spec["name"]] = spec
    (await agent.complete(taken["may"], status="failed", exitCode=1)).expect(200)
    assert states(await admin.build(build["id"]))["test"] == "running"
    leases = [lease(taken["test"]), lease(taken["lint"])]
    polled = asyncio.create_task(agent.poll(free=0, leases=leases))
    (await agent.complete(taken["lint"], status="failed", exitCode=3)).expect(200)
    assert [one["stepId"] for one in (await polled)["cancels"]] == [taken["test"]["stepId"]]
    found = await admin.build(build["id"])
    assert (states(found)["pack"], states(found)["tell"]) == ("cancelled", "ready")
    (await agent.complete(taken["test"], status="failed", reason="cancelled")).expect(200)
    assert await finish(agent) == "tell"
    ended = await admin.build(build["id"])
    assert (ended["state"], ended["reason"]) == ("failed", "step lint failed: exit code 3")
    reasons = {step["name"]: step.get("reason") for step in ended["steps"]}
    assert reasons["test"] == reasons["pack"] == "cancelled by failFast, after lint"


async def test_a_matrix_ends_its_own_combinations_alone(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    step = "  - {name: t, image: base, run: 'true', matrix: {v: [a, b, c], failFast: true}}\n"
    build = await pushed(admin, tree, f"steps:\n{step}  - {STEP % ('other', '')}\n")
    spec = await agent.take()
    assert spec["name"] == "t (a)"
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    found = states(await admin.build(build["id"]))
    assert found == {
        "t (a)": "failed",
        "t (b)": "cancelled",
        "t (c)": "cancelled",
        "other": "ready",
    }
    assert await finish(agent) == "other"
    assert await state(admin, build) == ("failed", "step t (a) failed: exit code 1")


async def test_a_step_that_no_agent_takes_in_time_is_a_failure_like_any(
    admin: Caller, tree: WorkTree
) -> None:
    late = STEP % ("late", ", queueTimeout: 1s")
    build = await pushed(
        admin, tree, f"failFast: true\nsteps:\n  - {late}\n  - {STEP % ('b', '')}\n"
    )

    async def has_ended() -> bool:
        return (await state(admin, build))[0] == "failed"

    await eventually(has_ended)
    assert states(await admin.build(build["id"])) == {"late": "failed", "b": "cancelled"}


async def test_a_clean_up_that_fails_makes_no_failure_of_a_cancelled_build(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    cleaning = ", dependsOn: [slow], runOn: [success, cancelled]"
    steps = (STEP % ("slow", ""), STEP % ("a", cleaning), STEP % ("b", cleaning))
    workflow = "failFast: true\nsteps:\n" + "".join(f"  - {step}\n" for step in steps)
    build = await pushed(admin, tree, workflow)
    slow = await agent.take()
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    (await agent.complete(slow, status="failed", reason="cancelled")).expect(200)
    assert await finish(agent, status="failed", exitCode=1) == "a"
    assert await finish(agent) == "b"
    assert await state(admin, build) == ("cancelled", "cancelled by admin")


async def test_without_it_the_others_go_on(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(admin, tree, FAILING)
    spec = await agent.take()
    (await agent.complete(spec, status="failed", exitCode=3)).expect(200)
    assert states(await admin.build(build["id"]))["test"] == "ready"


# timeout


async def test_a_build_that_takes_too_long_fails(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(admin, tree, "timeout: 1s\n" + FAILING)
    await asyncio.sleep(1.2)
    assert (await state(admin, build))[0] == "queued"  # it counts from the first step's start
    spec = await agent.take()

    async def is_ending() -> bool:
        return (await admin.build(build["id"])).get("reason") is not None

    await eventually(is_ending)
    (await agent.complete(spec, status="failed", reason="cancelled")).expect(200)
    ended = await admin.build(build["id"])
    assert (ended["state"], ended["reason"]) == (
        "failed",
        "timeout: the build took longer than 1s",
    )
    assert set(states(ended).values()) <= {"cancelled", "skipped"}


async def test_one_that_somebody_cancelled_stays_cancelled_and_its_clean_up_ends(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    clean = STEP % ("clean", ", dependsOn: [slow], runOn: [success, cancelled]")
    workflow = f"timeout: 3s\nsteps:\n  - {STEP % ('slow', '')}\n  - {clean}\n"
    build = await pushed(admin, tree, workflow)
    slow = await agent.take()
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    (await agent.complete(slow, status="failed", reason="cancelled")).expect(200)
    assert (await agent.take())["name"] == "clean"
    spec = (await admin.build(build["id"]))["steps"][1]

    async def is_told() -> bool:
        return bool(
            (await agent.poll(free=0, leases=[{"stepId": spec["id"], "epoch": 1}]))["cancels"]
        )

    await eventually(is_told)
    lease_ = {"stepId": spec["id"], "epoch": 1}
    (await agent.complete(lease_, status="failed", reason="cancelled")).expect(200)
    assert await state(admin, build) == ("cancelled", "cancelled by admin")


def lease(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"stepId": spec["stepId"], "epoch": spec["epoch"]}
