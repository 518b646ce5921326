"""Only what is needed runs again: steps that failed, or that somebody names; what succeeded is
taken over. And steps cancelled one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.builds.test_build_deletion import objects, swept
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Answer,
    Caller,
    Coordinator,
    step_of,
)

pytestmark = pytest.mark.usefixtures("each_database")

CHAIN = (step_of("make"), step_of("lint"), step_of("pack", "make", "lint"))


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project()


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent()


async def run_next(agent: AgentCaller, *, fails: tuple[str, ...] = ()) -> dict[str, Any]:
    """Its next step, which logs its name and leaves a file of that name."""
    spec = await agent.take()
    name = spec["name"].encode()
    (await agent.append(spec, 0, b"log of " + name + b"\n")).expect(204)
    (await agent.upload(spec, f"{spec['name']}.out", name)).expect(201)
    ends = {"status": "failed", "exitCode": 3} if spec["name"] in fails else {}
    (await agent.complete(spec, **ends)).expect(200)
    return spec


async def run_all(admin: Caller, agent: AgentCaller, build_id: str, *fails: str) -> dict[str, Any]:
    """The build, run until nothing of it is open; those `fails` end with exit code 3."""
    while not {"ready", "blocked"}.isdisjoint(states(await admin.build(build_id)).values()):
        await run_next(agent, fails=fails)
    return await admin.build(build_id)


async def failed_build(
    admin: Caller, agent: AgentCaller, project: Mapping[str, Any], *steps: Mapping[str, Any]
) -> dict[str, Any]:
    """Its `lint` has failed."""
    build = await admin.new_build(project, *(steps or CHAIN))
    return await run_all(admin, agent, build["id"], "lint")


async def retry(caller: Caller, build: Mapping[str, Any], **wanted: Any) -> Answer:
    return await caller.post(f"/api/projects/-/builds/{build['id']}/retry", wanted)


async def cancel(caller: Caller, build: Mapping[str, Any], *steps: str) -> Answer:
    path = f"/api/projects/-/builds/{build['id']}/cancel"
    return await caller.post(path, {"steps": list(steps)})


def states(build: Mapping[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"].lower() for step in build["steps"]}


def step_in(build: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(step for step in build["steps"] if step["name"] == name)


async def log_of(admin: Caller, build: Mapping[str, Any], name: str) -> str:
    return (await admin.get(f"/api/steps/{step_in(build, name)['id']}/log")).expect(200).text


async def test_what_failed_runs_again_and_what_succeeded_is_taken_over(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    old = await failed_build(admin, agent, project)
    assert states(old) == {"make": "success", "lint": "failed", "pack": "skipped"}
    new = await admin.build((await retry(admin, old, failed=True)).expect(201).json["id"])
    assert (new["retryOf"], new["number"]) == (old["id"], 2)
    assert states(new) == {"make": "success", "lint": "ready", "pack": "blocked"}
    made, before = step_in(new, "make"), step_in(old, "make")
    assert made["reason"] == "taken over from #1"
    assert made["id"] != before["id"]
    assert (made["startedAt"], made["finishedAt"]) == (before["startedAt"], before["finishedAt"])
    assert await log_of(admin, new, "make") == "log of make\n"
    artifact = (await admin.get(f"/api/steps/{made['id']}/artifacts/make.out")).expect(200)
    assert artifact.text == "make"
    assert (await run_next(agent))["name"] == "lint"
    spec = await run_next(agent)
    taken = {one["name"]: one["artifacts"] for one in spec["dependencies"]}
    assert [artifact["name"] for artifact in taken["make"]] == ["make.out"]
    assert f"/api/steps/{made['id']}/" in taken["make"][0]["url"]
    ended = await admin.build(new["id"])
    assert ended["state"] == "succeeded"
    assert states(await admin.build(old["id"])) == states(old)


async def test_the_whole_log_of_the_build_has_what_was_taken_over(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    old = await failed_build(admin, agent, project)
    new = (await retry(admin, old, failed=True)).expect(201).json
    ended = await run_all(admin, agent, new["id"])
    account = {"X-Tenant-ID": project["accountUuid"]}
    answer = await admin.call("GET", f"/api/v1/builds/{new['id']}/logs", headers=account)
    messages = [entry["message"] for entry in answer.expect(200).json["logs"]]
    for name in ("make", "lint", "pack"):
        assert f"log of {name}" in messages
    assert ended["state"] == "succeeded"


async def test_a_retry_of_a_retry_says_where_a_result_comes_from(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    old = await failed_build(admin, agent, project)
    second = (await retry(admin, old, failed=True)).expect(201).json
    second = await run_all(admin, agent, second["id"], "lint")
    third = await admin.build((await retry(admin, second, failed=True)).expect(201).json["id"])
    assert step_in(third, "make")["reason"] == "taken over from #1"
    for build in (old, second):
        path = f"/api/v1/builds/{build['id']}"
        account = {"X-Tenant-ID": project["accountUuid"]}
        (await admin.call("DELETE", path, headers=account)).expect(204)
    await swept(admin.coordinator)
    assert await log_of(admin, third, "make") == "log of make\n"


async def test_results_outlive_the_build_they_come_from_and_go_with_the_last_that_has_them(
    coordinator: Coordinator, admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    old = await failed_build(admin, agent, project)
    new = (await retry(admin, old, failed=True)).expect(201).json
    new = await run_all(admin, agent, new["id"])
    account = {"X-Tenant-ID": project["accountUuid"]}
    (await admin.call("DELETE", f"/api/v1/builds/{old['id']}", headers=account)).expect(204)
    await swept(coordinator)
    assert await log_of(admin, new, "make") == "log of make\n"
    artifacts = f"/api/steps/{step_in(new, 'make')['id']}/artifacts"
    assert (await admin.get(f"{artifacts}/make.out")).expect(200).text == "make"
    (await admin.call("DELETE", f"/api/v1/builds/{new['id']}", headers=account)).expect(204)
    await swept(coordinator)
    assert objects(coordinator) == set()


async def test_one_step_runs_again_with_what_depends_on_it(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, *CHAIN, step_of("other"))
    old = await run_all(admin, agent, build["id"], "other")
    assert old["state"] == "failed"
    new = await admin.build((await retry(admin, old, steps=["make"])).expect(201).json["id"])
    assert states(new) == {
        "make": "ready",
        "lint": "success",
        "pack": "blocked",
        "other": "failed",
    }
    assert step_in(new, "other")["reason"] == "exit code 3"
    ended = await run_all(admin, agent, new["id"])
    assert (ended["state"], ended["reason"]) == ("failed", "step other failed: exit code 3")
    [entry] = (await admin.get("/api/audit-logs?action=build.retried")).json["auditLogs"]
    assert entry["details"]["steps"] == "make, pack"
    assert entry["details"]["of"] == old["id"]


async def test_what_a_cancel_left_undone_is_done(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, *CHAIN)
    await run_next(agent)
    (await cancel(admin, build)).expect(200)
    old = await admin.build(build["id"])
    assert states(old) == {"make": "success", "lint": "cancelled", "pack": "cancelled"}
    new = (await retry(admin, old, failed=True)).expect(201).json
    ended = await run_all(admin, agent, new["id"])
    assert ended["state"] == "succeeded"
    assert step_in(ended, "make")["reason"] == "taken over from #1"


async def test_mistakes_are_told(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    old = await failed_build(admin, agent, project)
    wrong = (await retry(admin, old, steps=["lnt"])).expect(400).json
    assert wrong["error"] == "the build has no step `lnt`: did you mean `lint`?"
    kept_out = (await retry(admin, old, steps=["pack"])).expect(409).json["error"]
    assert "step `pack` would be skipped (dependency did not succeed: lint)" in kept_out
    new = (await retry(admin, old, failed=True)).expect(201).json
    assert "not finished" in (await retry(admin, new, failed=True)).expect(409).json["error"]
    await run_all(admin, agent, new["id"])
    assert "no step of this build failed" in (await retry(admin, new, failed=True)).expect(409).text
    viewer = await admin.new_token(role="viewer", account="default")
    (await retry(viewer, old, failed=True)).expect(403)
    (await cancel(viewer, old, "lint")).expect(403)
    (await retry(admin, old, failed="yes")).expect(400)


async def test_a_waiting_step_is_cancelled_and_the_others_go_on(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, *CHAIN)
    (await cancel(admin, build, "lint")).expect(200)
    now = await admin.build(build["id"])
    assert states(now) == {"make": "ready", "lint": "cancelled", "pack": "skipped"}
    assert step_in(now, "pack")["reason"] == "dependency did not succeed: lint"
    ended = await run_all(admin, agent, build["id"])
    assert ended["state"] == "cancelled"
    assert ended["reason"] == "step lint: cancelled by admin"
    assert (await cancel(admin, build, "lint")).expect(409).json["error"] == (
        "step `lint` has ended already: it cancelled"
    )
    assert "did you mean" in (await cancel(admin, build, "lnt")).expect(400).json["error"]
    [entry] = (await admin.get("/api/audit-logs?action=build.steps_cancelled")).json["auditLogs"]
    assert entry["details"]["steps"] == "lint"


async def test_a_running_steps_agent_is_told_of_its_cancel_alone(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("slow"), step_of("other"))
    slow, other = await agent.take(), await agent.take()
    leases = [{"stepId": spec["stepId"], "epoch": spec["epoch"]} for spec in (slow, other)]
    polled = asyncio.create_task(agent.poll(free=0, leases=leases))
    (await cancel(admin, build, "slow")).expect(200)
    assert [one["stepId"] for one in (await polled)["cancels"]] == [slow["stepId"]]
    assert states(await admin.build(build["id"])) == {"slow": "running", "other": "running"}
    (await agent.complete(slow, status="failed", reason="cancelled", exitCode=None)).expect(200)
    (await agent.complete(other)).expect(200)
    ended = await admin.build(build["id"])
    assert states(ended) == {"slow": "cancelled", "other": "success"}
    assert (ended["state"], ended["reason"]) == ("cancelled", "step slow: cancelled by admin")
