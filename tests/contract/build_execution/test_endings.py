"""Cancel, retry, delete and status by specification 001."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.contract.build_execution.callers import OF_A_BUILD, failed
from tests.integration.coordinator_fixture import Caller
from tests.integration.execution_fixture import Tenant, assert_envelope, new_chain

# Cancel, retry, delete


async def test_a_cancelled_build_is_cancelled_when_that_is_answered(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    for build in (await maintainer.create(project), await maintainer.started(project)):
        answer = await maintainer.v1("POST", f"/builds/{build['id']}/cancel")
        assert answer.expect(200).json["status"] == "cancelled"
        again = await maintainer.v1("POST", f"/builds/{build['id']}/cancel")
        assert_envelope(again, 409, "CONFLICT")


async def test_a_running_builds_cancel_waits_for_its_agent(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.started(project)
    agent = await admin.new_agent()
    spec = await agent.take()
    path = f"/builds/{build['id']}/cancel"
    cancelling = asyncio.create_task(maintainer.v1("POST", path))
    while not (await agent.poll(0))["cancels"]:
        pass
    assert not cancelling.done()
    (await agent.complete(spec, status="failed", reason="cancelled")).expect(200)
    assert (await cancelling).expect(200).json["status"] == "cancelled"


async def test_a_failed_or_cancelled_build_is_retried_as_a_new_one(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    broken = await failed(admin, maintainer, project)
    assert broken["status"] == "failed"
    cancelled = await maintainer.create(project)
    (await maintainer.v1("POST", f"/builds/{cancelled['id']}/cancel")).expect(200)
    for old in (broken, cancelled):
        answer = await maintainer.v1("POST", f"/builds/{old['id']}/retry")
        new = answer.expect(201).json
        assert new["id"] != old["id"]
        assert (new["status"], new["retry_of"]) == ("queued", old["id"])
        assert (await admin.build(new["id"]))["state"] == "queued", "nobody has to start it"
        path = f"/builds/{new['id']}/retry"
        assert_envelope(await maintainer.v1("POST", path), 409, "CONFLICT")


async def test_only_a_finished_build_is_deleted_and_then_it_is_nowhere(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    path = f"/builds/{build['id']}"
    assert_envelope(await maintainer.v1("DELETE", path), 409, "CONFLICT")
    await maintainer.start(build)
    assert_envelope(await maintainer.v1("DELETE", path), 409, "CONFLICT")
    (await maintainer.v1("POST", f"{path}/cancel")).expect(200)
    answer = (await maintainer.v1("DELETE", path)).expect(204)
    assert answer.body == b""
    for method, below in OF_A_BUILD:
        there = await maintainer.v1(method, below.format(id=build["id"]))
        assert_envelope(there, 404, "NOT_FOUND")
    (await admin.get(f"/api/projects/-/builds/{build['id']}")).expect(404)
    listed = (await maintainer.v1("GET", "/builds")).json
    assert (listed["builds"], listed["total_count"]) == ([], 0)


# Status


async def test_the_status_counts_the_steps_that_have_ended(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    path = f"/builds/{build['id']}/status"
    empty = {"current_step": 0, "total_steps": 2, "percentage": 0}
    shown = (await maintainer.v1("GET", path)).expect(200).json
    waits = shown.pop("waits_for")
    assert shown == {"build_id": build["id"], "status": "queued", "progress": empty}
    assert "start" in waits
    await maintainer.start(build)
    assert "agent" in (await maintainer.v1("GET", path)).expect(200).json["waits_for"]
    agent = await admin.new_agent()
    (await agent.complete(await agent.take())).expect(200)
    second = await agent.take()
    shown = (await maintainer.v1("GET", path)).expect(200).json
    assert shown["progress"] == {"current_step": 1, "total_steps": 2, "percentage": 50}
    assert shown["status"] == "in_progress"
    assert "started_at" in shown
    assert "waits_for" not in shown, "a step runs"
    assert "estimated_completion" not in shown, "nothing is known yet of these steps"
    (await agent.complete(second)).expect(200)
    shown = (await maintainer.v1("GET", path)).expect(200).json
    assert (shown["status"], shown["progress"]["percentage"]) == ("success", 100)


async def test_the_estimate_comes_from_what_the_workflow_took_before(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    agent = await admin.new_agent()
    for _ in range(2):
        await maintainer.started(project)
        for _ in range(2):
            (await agent.complete(await agent.take())).expect(200)
    held = await maintainer.create(project)
    status = (await maintainer.v1("GET", f"/builds/{held['id']}/status")).json
    assert "estimated_completion" not in status, "who knows when it is started?"
    build = await maintainer.started(project)
    status = (await maintainer.v1("GET", f"/builds/{build['id']}/status")).json
    assert status["estimated_completion"] > build["created_at"]
    other = await new_chain(admin, "one", "two", name="other")
    fresh = await maintainer.started(other)
    status = (await maintainer.v1("GET", f"/builds/{fresh['id']}/status")).json
    assert "estimated_completion" not in status, "another workflow's past says nothing"
