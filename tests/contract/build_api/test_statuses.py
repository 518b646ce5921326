"""What is told of a build until it has ended, to whom, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.contract.build_api.calls import (
    CAPABLE,
    DEPLOY,
    MOMENT,
    REQUEST,
    deployed,
    start,
    status,
    take,
)
from tests.integration.coordinator_fixture import AgentCaller, Caller, Coordinator, lease_of


async def log(agent: AgentCaller, spec: Mapping[str, Any], text: str) -> dict[str, Any]:
    """What a completion says of the log that was appended."""
    import hashlib

    data = text.encode()
    (await agent.append(spec, 0, data)).expect(204)
    return {"logBytes": len(data), "logSha256": hashlib.sha256(data).hexdigest()}


async def test_a_build_goes_from_pending_over_building_to_succeeded(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    assert await status(admin, build) == build
    spec = await take(agent)
    assert spec["build"]["tags"] == [build["image"]]
    assert spec["build"]["push"] is True
    del build["reason"]
    building = await status(admin, build)
    assert building == {**build, "status": "BUILDING"}
    digest = f"sha256:{'a' * 64}"
    done = {"images": [{"reference": build["image"], "digest": digest}]}
    (await agent.complete(spec, **done)).expect(200)
    ended = await status(admin, build)
    assert MOMENT.fullmatch(ended.pop("completed_at"))
    assert ended == {**build, "status": "SUCCEEDED", "digest": digest}
    assert datetime.fromisoformat(ended["created_at"])


async def test_a_build_whose_agent_was_lost_is_still_building(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    spec = await take(agent)
    (await agent.complete(spec, status="failed", reason="lost")).expect(200)
    assert (await status(admin, build))["status"] == "BUILDING"
    (await agent.complete(await take(agent))).expect(200)
    assert (await status(admin, build))["status"] == "SUCCEEDED"


async def test_a_failed_build_says_in_the_documents_words_why(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    spec = await take(agent)
    text = (
        "[5/6] RUN pip install --no-cache-dir -r requirements.txt\n"
        "[5/6] ERROR: Could not find a version that satisfies the requirement "
        "nonexistent-package (from versions: none)\n"
        "[5/6] ERROR: No matching distribution found for nonexistent-package\n"
        '[5/6] ERROR: process "/bin/sh -c pip install" did not complete successfully\n'
    )
    end = await log(agent, spec, text)
    message = "Dockerfile:9: RUN pip install --no-cache-dir -r requirements.txt: exit code 1"
    failure = {"status": "failed", "reason": "image", "exitCode": 1, "message": message}
    (await agent.complete(spec, **failure, **end)).expect(200)
    ended = await status(admin, build)
    assert ended["status"] == "FAILED"
    assert ended["error"] == (
        "pip install failed: no matching distribution found for nonexistent-package"
    )
    assert MOMENT.fullmatch(ended["completed_at"])


async def test_a_failure_without_a_log_says_what_the_agent_said(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    spec = await take(agent)
    failure = {"status": "failed", "reason": "image", "message": "Dockerfile:1: no such image"}
    (await agent.complete(spec, **failure)).expect(200)
    assert (await status(admin, build))["error"] == "Dockerfile:1: no such image"


async def test_a_cancelled_build_has_failed_and_says_who_cancelled_it(admin: Caller) -> None:
    build = await start(admin)
    core_id = build["build_url"].rpartition("/")[2]
    (await admin.post(f"/api/projects/-/builds/{core_id}/cancel")).expect(200)
    ended = await status(admin, build)
    assert (ended["status"], ended["error"]) == ("FAILED", "cancelled by admin")


async def test_builds_are_listed_newest_first_each_account_its_own(admin: Caller) -> None:
    await admin.new_project("neighbours")
    neighbour = await admin.new_token(role="maintainer", account="neighbours")
    mine = await admin.new_token(role="developer", account="default")
    first, second, theirs = await start(admin), await start(admin), await start(neighbour)
    listed = (await mine.get("/api/builds")).expect(200).json
    assert listed["builds"] == [await status(admin, second), await status(admin, first)]
    assert listed["pagination"] == {"total": 2, "limit": 20, "offset": 0, "has_more": False}
    page = (await mine.get("/api/builds?limit=1&offset=1")).expect(200).json
    assert [one["id"] for one in page["builds"]] == [first["id"]]
    everybody = (await admin.get("/api/builds?limit=1")).expect(200).json
    assert everybody["builds"][0]["id"] == theirs["id"]
    assert everybody["pagination"] == {"total": 3, "limit": 1, "offset": 0, "has_more": True}
    (await admin.get("/api/builds?offset=x")).expect(400)


async def test_a_build_is_cancelled_once_and_its_deployment_with_it(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    cancelled = (await admin.post(f"/api/builds/{build['id']}/cancel")).expect(200).json
    assert (cancelled["status"], cancelled["error"]) == ("FAILED", "cancelled by admin")
    assert "reason" not in cancelled
    again = await admin.post(f"/api/builds/{build['id']}/cancel")
    assert again.expect(409).json["error"] == "this build has finished already"
    (await admin.post("/api/builds/build-x/cancel")).expect(404)

    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    spec = await take(agent)
    path = f"/api/builds/{deployment['build_id']}/cancel"
    assert (await admin.post(path)).expect(200).json["status"] == "BUILDING"
    assert (await agent.renew(spec))["cancels"] == [lease_of(spec)]
    (await agent.complete(spec, status="failed", reason="cancelled")).expect(200)
    assert (await deployed(admin, deployment))["status"] == "STOPPED"


async def test_a_deleted_build_is_not_there_any_more(admin: Caller) -> None:
    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    (await admin.post(f"/api/deploy/{deployment['id']}/stop")).expect(200)
    core_id = deployment["build_url"].rpartition("/")[2]
    [project] = (await admin.get("/api/projects?accountId=default")).expect(200).json
    tenant = {"X-Tenant-ID": project["accountUuid"]}
    (await admin.call("DELETE", f"/api/v1/builds/{core_id}", headers=tenant)).expect(204)
    (await admin.get(f"/api/builds/{deployment['build_id']}")).expect(404)
    (await admin.get(f"/api/deploy/{deployment['id']}")).expect(404)
    assert (await start(admin))["status"] == "PENDING"


async def test_an_unknown_build_is_the_documents_404(admin: Caller) -> None:
    project = await admin.new_project()
    ordinary = await admin.new_build(project)
    for unknown in ("build-a1b2c3d4", "x", ordinary["id"], "build-" + "0" * 500, "%00"):
        answer = (await admin.get(f"/api/builds/{unknown}")).expect(404)
        assert answer.json == {"error": "build not found"}


async def test_without_a_token_nothing_is_told(coordinator: Coordinator) -> None:
    (await coordinator.nobody.post("/api/builds", REQUEST)).expect(401)
    (await coordinator.nobody.get("/api/builds/build-1")).expect(401)


async def test_a_viewer_reads_and_a_developer_builds(admin: Caller) -> None:
    developer = await admin.new_token(role="developer", account="default")
    viewer = await admin.new_token(role="viewer", account="default")
    await start(admin)  # whose project that makes
    build = await start(developer)
    assert await status(viewer, build) == build
    (await viewer.post("/api/builds", REQUEST)).expect(403)


async def test_another_accounts_build_is_not_there_and_its_uri_is_another(admin: Caller) -> None:
    await admin.new_project("neighbours")
    neighbour = await admin.new_token(role="maintainer", account="neighbours")
    mine, theirs = await start(admin), await start(neighbour)
    assert (await neighbour.get(f"/api/builds/{mine['id']}")).expect(404).json == {
        "error": "build not found"
    }
    assert theirs["image"] != mine["image"]


async def test_what_waits_says_for_what_and_what_to_do(admin: Caller, agent: AgentCaller) -> None:
    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    nobody = "no agent is connected: start one with `pushrod agent`"
    assert (deployment["status"], deployment["reason"]) == ("PENDING", nobody)
    await agent.poll()
    pending = await deployed(admin, deployment)
    assert (pending["status"], pending["reason"]) == (
        "PENDING",
        "no connected agent can build images: start one with `pushrod agent --engine buildkit`",
    )
    assert (await status(admin, {"id": deployment["build_id"]}))["reason"] == pending["reason"]
    spec = await take(agent)
    assert "reason" not in await deployed(admin, deployment)
    (await agent.complete(spec)).expect(200)
    starting = await deployed(admin, deployment)
    assert (starting["status"], starting["reason"]) == (
        "STARTING",
        "no connected agent has the labels deploy=true: "
        "start one with `pushrod agent --label deploy=true`",
    )


async def test_a_deployment_on_the_host_engine_says_which_engine_it_needs(
    admin: Caller, host: AgentCaller
) -> None:
    body = {"agent_name": "bot", "image": "registry.example/bot:1"}
    deployment = (await admin.post("/api/deploy", body)).expect(202).json
    await host.poll()  # without the capability to run images
    starting = await deployed(admin, deployment)
    assert starting["status"] == "STARTING"
    assert "`pushrod agent --engine buildkit --label deploy=true`" in starting["reason"]
    await host.poll(free=0, **CAPABLE)
    busy = await deployed(admin, deployment)
    assert "each running deployment keeps a slot" in busy["reason"]
