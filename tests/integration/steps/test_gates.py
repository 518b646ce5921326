"""Steps at which a build waits for somebody's approval."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.services.core import utc_now
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Answer,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
    open_coordinator,
)

WORKFLOW = """
on: {push: {}}
%s
steps:
  - {name: test, image: base, run: make}
  - name: release
    dependsOn: [test]
    approve: {message: Release?, %s}
  - {name: deploy, image: base, dependsOn: [release], run: make deploy}
"""
PARAMS = "params: {channel: {oneOf: [beta, stable]}, notes: {default: none}}"


class Clock:
    ahead = timedelta()

    def now(self) -> Any:
        return utc_now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def coordinator(tmp_path: Path, clock: Clock) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, now=clock.now, poll_hold_seconds=1) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller) -> WorkTree:
    return await new_work_tree(tmp_path, admin, await admin.new_project())


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent()


async def pushed(admin: Caller, tree: WorkTree, workflow: str) -> dict[str, Any]:
    await tree.commit({".pushrod.yml": workflow})
    await tree.push()
    newest = (await admin.get("/api/projects/-/builds?limit=1")).expect(200).json["builds"][0]
    return await admin.build(newest["id"])


async def asked(
    admin: Caller, agent: AgentCaller, tree: WorkTree, *, of_build: str = "", gate: str = PARAMS
) -> dict[str, Any]:
    """A build that waits at its gate, the first step done."""
    build = await pushed(admin, tree, WORKFLOW % (of_build, gate))
    (await agent.complete(await agent.take())).expect(200)
    return await admin.build(build["id"])


def step(build: dict[str, Any], name: str = "release") -> dict[str, Any]:
    return next(one for one in build["steps"] if one["name"] == name)


async def answer(caller: Caller, build: dict[str, Any], how: str, **params: str) -> Answer:
    return await caller.post(f"/api/steps/{step(build)['id']}/{how}", {"params": params})


async def audited(admin: Caller, action: str) -> list[dict[str, Any]]:
    found = (await admin.get(f"/api/audit-logs?action={action}")).expect(200).json["auditLogs"]
    return [one["details"] for one in found]


async def test_a_build_waits_for_an_approval_whose_parameters_its_dependants_get(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(admin, tree, WORKFLOW % ("", PARAMS))
    refused = (await answer(admin, build, "approve")).expect(409)
    assert refused.json["error"] == "step `release` does not wait for an answer yet"
    spec = await agent.take()
    (await agent.complete(spec, next={"instance": "one"})).expect(200)
    build = await admin.build(build["id"])
    gate = step(build)
    assert (build["state"], build["waitsFor"]) == ("running", "waiting for approval")
    assert (gate["status"], gate["waitsFor"]) == (
        "BLOCKED",
        "waits for an approval by a maintainer",
    )
    assert gate["approval"].pop("expiresAt") > build["createdAt"]
    assert gate["approval"] == {
        "message": "Release?",
        "by": "maintainer",
        "params": [
            {"name": "channel", "default": "beta", "oneOf": ["beta", "stable"]},
            {"name": "notes", "default": "none"},
        ],
    }
    assert (await agent.poll())["offers"] == []
    wrong = (await answer(admin, build, "approve", channel="nightly", x="y")).expect(400)
    assert [one["path"] for one in wrong.json["details"]] == ["params.x", "params.channel"]
    (await answer(admin, build, "approve", channel="stable")).expect(200)
    spec = await agent.take()
    assert spec["name"] == "deploy"
    assert spec["env"]["PUSHROD_OUTPUT_RELEASE_CHANNEL"] == "stable"
    assert spec["env"]["PUSHROD_OUTPUT_RELEASE_NOTES"] == "none"
    (await agent.complete(spec)).expect(200)
    build = await admin.build(build["id"])
    gate = step(build)
    assert (build["state"], build.get("waitsFor")) == ("succeeded", None)
    assert (gate["status"], gate["reason"]) == ("SUCCESS", "approved by admin")
    assert gate["outputs"] == {"channel": "stable", "notes": "none"}
    answered = gate["approval"]["answered"]
    assert answered == {"approved": True, "by": "admin", "at": gate["finishedAt"]}
    [told] = await audited(admin, "step.approved")
    assert (told["by"], told["name"], told["step"]) == ("admin", "release", gate["id"])


async def test_who_may_answer_is_told_by_the_role(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await asked(admin, agent, tree)
    developer, viewer = [
        await admin.new_token(kind="user", role=role) for role in ("developer", "viewer")
    ]
    refused = (await answer(developer, build, "reject")).expect(403)
    assert refused.json["error"] == (
        "this step waits for an approval by a maintainer: your role may not give it"
    )
    (await answer(viewer, build, "approve")).expect(403)
    stranger = await admin.new_token(role="maintainer", account="strangers")
    (await answer(stranger, build, "approve")).expect(404)
    assert step(await admin.build(build["id"]))["status"] == "BLOCKED"
    build = await asked(admin, agent, tree, gate="by: developer")
    (await answer(developer, build, "approve")).expect(200)


async def test_of_two_who_answer_at_once_one_is_told_who_was_quicker(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await asked(admin, agent, tree)
    anna = await admin.new_token(kind="user", role="maintainer", name="anna")
    bert = await admin.new_token(kind="user", role="maintainer", name="bert")
    both = await asyncio.gather(answer(anna, build, "approve"), answer(bert, build, "reject"))
    assert sorted(one.status for one in both) == [200, 409]
    gate = step(await admin.build(build["id"]))
    [refused] = [one for one in both if one.status == 409]
    assert refused.json["error"].startswith(f"step `release` was {gate['reason']} at 20")


async def test_a_rejection_fails_the_build_and_a_retry_asks_again(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await asked(admin, agent, tree)
    (await answer(admin, build, "reject")).expect(200)
    build = await admin.build(build["id"])
    assert (build["state"], build["reason"]) == (
        "failed",
        "step release failed: rejected by admin",
    )
    assert step(build, "deploy")["status"] == "SKIPPED"
    path = f"/api/projects/-/builds/{build['id']}/retry"
    again = await admin.build((await admin.post(path, {"failed": True})).expect(201).json["id"])
    assert (again["waitsFor"], step(again, "test")["status"]) == ("waiting for approval", "SUCCESS")
    (await answer(admin, again, "approve", channel="stable")).expect(200)
    (await agent.complete(await agent.take(), status="failed", exitCode=1)).expect(200)
    # What was approved is taken over, with what was given.
    path = f"/api/projects/-/builds/{again['id']}/retry"
    third = await admin.build((await admin.post(path, {"failed": True})).expect(201).json["id"])
    assert step(third)["approval"]["answered"]["by"] == "admin"
    spec = await agent.take()
    assert spec["env"]["PUSHROD_OUTPUT_RELEASE_CHANNEL"] == "stable"


async def test_a_gate_that_nobody_answers_fails_in_time_also_after_a_restart(
    coordinator: Coordinator, agent: AgentCaller, tree: WorkTree, clock: Clock
) -> None:
    admin = coordinator.admin
    build = await asked(admin, agent, tree, gate="expires: 3d")
    clock.ahead = timedelta(days=2, hours=23)
    await coordinator.restart()
    assert (await admin.build(build["id"]))["state"] == "running"
    clock.ahead = timedelta(days=3, seconds=5)
    await coordinator.restart()

    async def ended() -> bool:
        return bool((await admin.build(build["id"]))["state"] == "failed")

    await eventually(ended)
    build = await admin.build(build["id"])
    said = "no answer within 3d: it waited for an approval by a maintainer"
    assert step(build)["reason"] == said
    late = (await answer(admin, build, "approve")).expect(409)
    assert late.json["error"] == f"step `release` has ended already: {said}"


async def test_a_forks_gate_that_nobody_answers_names_a_role_that_may(
    coordinator: Coordinator, agent: AgentCaller, tree: WorkTree, clock: Clock
) -> None:
    admin = coordinator.admin
    for outside, role in ((0, "developer"), (1, "maintainer")):
        build = await asked(admin, agent, tree, gate="expires: 3d, by: developer")
        await coordinator.stop()
        with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
            connection.execute("UPDATE builds SET outside = ? WHERE id = ?", [outside, build["id"]])
        connection.close()
        clock.ahead += timedelta(days=3, seconds=5)
        await coordinator.start()

        async def ended(build: dict[str, Any] = build) -> bool:
            return bool((await admin.build(build["id"]))["state"] == "failed")

        await eventually(ended)
        said = f"no answer within 3d: it waited for an approval by a {role}"
        assert step(await admin.build(build["id"]))["reason"] == said


async def test_the_wait_counts_for_no_timeout(
    admin: Caller, agent: AgentCaller, tree: WorkTree, clock: Clock
) -> None:
    build = await asked(admin, agent, tree, of_build="timeout: 1h")
    clock.ahead = timedelta(hours=30)
    (await answer(admin, build, "approve")).expect(200)
    spec = await agent.take()
    clock.ahead += timedelta(minutes=50)
    other = await asked(admin, agent, tree, of_build="timeout: 1h")  # which lets it look
    assert (await admin.build(build["id"]))["state"] == "running"
    clock.ahead += timedelta(minutes=20)
    (await answer(admin, other, "approve")).expect(200)

    async def is_cancelled() -> bool:
        return bool((await admin.build(build["id"])).get("reason"))

    await eventually(is_cancelled)
    assert (await admin.build(build["id"]))["reason"].startswith("timeout: the build took")
    assert spec["name"] == "deploy"


async def test_gates_come_first_are_skipped_and_are_cancelled_as_any_step(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    workflow = """
timeout: 1h
steps:
  - {name: first, approve: {by: admin}}
  - {name: never, approve: {}, when: event == "tag"}
  - {name: after, image: base, dependsOn: [first], run: make}
  - {name: beside, image: base, run: make}
"""
    build = await pushed(admin, tree, workflow)
    assert build["waitsFor"] == "waiting for approval"
    assert step(build, "first")["waitsFor"] == "waits for an approval by an admin"
    assert step(build, "never")["reason"] == "condition false"
    (await agent.complete(await agent.take())).expect(200)
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    build = await admin.build(build["id"])
    assert (build["state"], build.get("waitsFor")) == ("cancelled", None)
    assert step(build, "first")["status"] == "CANCELLED"
    late = await admin.post(f"/api/steps/{step(build, 'first')['id']}/approve")
    assert "has ended already: cancelled by admin" in late.expect(409).json["error"]
    no_gate = await admin.post(f"/api/steps/{step(build, 'beside')['id']}/approve")
    assert "asks for no approval" in no_gate.expect(409).json["error"]
