"""Claims by text, logs, artifacts and completions, over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    eventually,
    open_coordinator,
    step_of,
)
from tests.integration.steps.running_steps import finish, running, script_path, step


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, max_artifact_bytes=100_000, max_log_bytes=2_000_000, lease_seconds=60
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


# The text claim


async def test_getting_a_ready_steps_script_claims_it(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project())
    [test] = build["steps"]
    answer = (await admin.get(script_path(test))).expect(200)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.text.startswith("#!/usr/bin/env bash")
    shown = await admin.build(build["id"])
    assert shown["status"] == "RUNNING"
    assert [(s["status"], s["attempt"]) for s in shown["steps"]] == [("RUNNING", 1)]


async def test_the_claimant_gets_the_same_script_again(
    coordinator: Coordinator, admin: Caller
) -> None:
    build = await admin.new_build(await admin.new_project())
    path = script_path(build["steps"][0])
    first = (await admin.get(path)).expect(200)
    assert (await admin.get(path)).expect(200).body == first.body
    await coordinator.restart()
    assert (await admin.get(path)).expect(200).body == first.body
    assert (await step(admin, build, "test"))["attempt"] == 1


async def test_of_many_claimants_one_gets_the_script(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project())
    callers = [await admin.new_token(role="developer") for _ in range(10)]
    path = script_path(build["steps"][0])
    answers = await asyncio.gather(*(caller.get(path) for caller in callers))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 9
    assert (await step(admin, build, "test"))["attempt"] == 1


async def test_a_blocked_step_says_what_it_waits_for(admin: Caller) -> None:
    build = await admin.new_build(
        await admin.new_project(), step_of("a"), step_of("b"), step_of("c", "a", "b")
    )
    path = script_path(await step(admin, build, "c"))
    answer = (await admin.get(path)).expect(409)
    assert answer.json["waitsFor"] == ["a", "b"]
    assert answer.json["error"] == "step 'c' waits for a, b"
    await finish(admin, await step(admin, build, "a"))
    assert (await admin.get(path)).expect(409).json["waitsFor"] == ["b"]


async def test_a_finished_step_can_not_be_claimed(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project())
    await finish(admin, build["steps"][0])
    answer = (await admin.get(script_path(build["steps"][0]))).expect(409)
    assert answer.json["error"] == "step 'test' has finished"


async def test_looking_at_a_script_with_head_claims_nothing(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project())
    answer = await admin.call("HEAD", script_path(build["steps"][0]))
    assert answer.status == 405
    assert (await step(admin, build, "test"))["status"] == "READY"


async def test_an_unknown_step_is_not_found(admin: Caller) -> None:
    for path in ("/api/runner/nope", "/api/runner/nope/complete", "/api/steps/nope/log"):
        method = "POST" if path.endswith("complete") else "GET"
        answer = await admin.call(method, path, json={"status": "success"})
        assert (answer.status, answer.json) == (404, {"error": "step not found"})


async def test_a_step_that_was_not_claimed_can_not_be_completed(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project())
    answer = await admin.post(script_path(build["steps"][0]) + "/complete", {"status": "success"})
    assert answer.status == 409
    assert "claim" in answer.json["error"]


async def test_a_cancel_ends_the_step_of_a_worker_that_can_not_be_told(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project())
    [test] = build["steps"]
    (await admin.get(script_path(test))).expect(200)
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)

    async def is_cancelled() -> bool:
        return bool((await admin.build(build["id"]))["state"] == "cancelled")

    await eventually(is_cancelled)
    late = await admin.post(script_path(test) + "/complete", {"status": "success"})
    assert late.status == 409


async def test_only_the_leaseholder_gets_the_spec(admin: Caller) -> None:
    agent, spec = await running(admin)
    json_please = {"Accept": "application/json"}
    path = f"/api/runner/{spec['stepId']}"
    assert (await agent.call("GET", path, headers=json_please)).expect(200).json == spec
    own = Caller(admin.coordinator, spec["token"])
    assert (await own.call("GET", path, headers=json_please)).expect(200).json == spec
    assert (await admin.call("GET", path, headers=json_please)).status == 409
    assert (await own.get(path)).status == 403


async def test_the_spec_has_what_a_step_needs(admin: Caller) -> None:
    build_of = step_of(
        "b",
        "a",
        runScript="make",
        imageSlug="base",
        cacheDirs=["/root/.cache"],
        outputPaths=["dist/"],
    )
    (
        await admin.post("/api/docker-images", {"slug": "base", "imageUrl": "docker://debian:12"})
    ).expect(201)
    agent, first = await running(admin, step_of("a"), build_of)
    assert first["image"] == "debian:12"
    (await agent.upload(first, "out/x%20y", b"12345", query="&mode=755")).expect(201)
    (await agent.complete(first)).expect(200)
    spec = await agent.take()
    url = admin.coordinator.url
    assert (spec["script"], spec["timeoutSeconds"], spec["outputPaths"]) == (
        "make",
        3600,
        ["dist/"],
    )
    assert "source" not in spec
    [dependency] = spec["dependencies"]
    assert (dependency["stepId"], dependency["name"]) == (first["stepId"], "a")
    assert dependency["artifacts"] == [
        {
            "name": "out/x y",
            "size": 5,
            "sha256": hashlib.sha256(b"12345").hexdigest(),
            "mode": 0o755,
            "url": f"{url}/api/steps/{first['stepId']}/artifacts/out/x%20y",
        }
    ]
    [cache] = spec["cacheDirs"]
    assert cache["path"] == "/root/.cache"
    assert spec["env"]["PUSHROD_BUILD_URL"] == f"{url}/builds/{spec['buildId']}"
    assert spec["env"]["CI"] == "true"
    assert "PUSHROD_COMMIT" not in spec["env"]


async def test_caches_of_other_projects_and_steps_have_other_ids(admin: Caller) -> None:
    agent = await admin.new_agent()
    seen = set()
    for name in ("one", "two"):
        project = await admin.new_project(name=name)
        steps = [step_of(step, cacheDirs=["/cache", "/other"]) for step in ("a", "b")]
        await admin.new_build(project, *steps)
        for _ in steps:
            seen |= {cache["id"] for cache in (await agent.take())["cacheDirs"]}
    assert len(seen) == 8
