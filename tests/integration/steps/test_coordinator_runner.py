"""Claims by text, logs, artifacts and completions, over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipelines_schema.log_frames import CONTENT_TYPE, MAX_CHUNK_BYTES, Frame, Stream, encode
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Answer,
    Caller,
    Coordinator,
    eventually,
    open_coordinator,
    step_of,
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, max_artifact_bytes=100_000, max_log_bytes=2_000_000, lease_seconds=60
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def running(admin: Caller, *steps: dict[str, Any]) -> tuple[AgentCaller, dict[str, Any]]:
    """An agent and the step that it runs."""
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project(), *steps)
    return agent, await agent.take()


async def step(admin: Caller, build: dict[str, Any], name: str) -> dict[str, Any]:
    shown = await admin.build(build["id"])
    return next(each for each in shown["steps"] if each["name"] == name)


def script_path(step: dict[str, Any]) -> str:
    return f"/api/runner/{step['id']}"


def is_stale(answer: Answer) -> bool:
    return answer.status == 409 and answer.json.get("stale") is True


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


async def finish(caller: Caller, step: dict[str, Any], **body: Any) -> Answer:
    (await caller.get(script_path(step))).expect(200)
    return await caller.post(script_path(step) + "/complete", {"status": "success", **body})


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


# Logs


async def test_a_log_grows_at_its_acknowledged_offset_alone(admin: Caller) -> None:
    agent, spec = await running(admin)
    first = (await agent.append(spec, 0, b"hello ")).expect(204)
    assert first.headers["Upload-Offset"] == "6"
    for offset in (0, 5, 7, 10**17):
        wrong = (await agent.append(spec, offset, b"x")).expect(409)
        assert (wrong.json["offset"], wrong.headers["Upload-Offset"]) == (6, "6")
        assert "stale" not in wrong.json
    assert (await agent.append(spec, 6, b"")).expect(204).headers["Upload-Offset"] == "6"
    assert (await agent.append(spec, 5, b"")).status == 409
    (await agent.append(spec, 6, b"world")).expect(204)
    assert (await admin.get(f"/api/steps/{spec['stepId']}/log")).body == b"hello world"


async def test_concurrent_appends_at_one_offset_store_one(admin: Caller) -> None:
    agent, spec = await running(admin)
    answers = await asyncio.gather(*(agent.append(spec, 0, b"%d" % n) for n in range(10)))
    assert sorted(answer.status for answer in answers) == [204] + [409] * 9
    log = await admin.get(f"/api/steps/{spec['stepId']}/log")
    won = next(n for n, answer in enumerate(answers) if answer.status == 204)
    assert log.body == b"%d" % won


@pytest.mark.parametrize("offset", [None, "", "x", "-1", "1.5", "٣", "9" * 40])
async def test_an_offset_that_is_no_number_is_refused(admin: Caller, offset: str | None) -> None:
    agent, spec = await running(admin)
    headers = {} if offset is None else {"Upload-Offset": offset}
    path = f"/api/runner/{spec['stepId']}/log?epoch=1"
    answer = await agent.call("PATCH", path, data=b"x", headers=headers)
    assert answer.status == 400


@pytest.mark.parametrize("epoch", ["", "&epoch=", "&epoch=x", "&epoch=-1", f"&epoch={9**40}"])
async def test_an_agent_names_its_epoch(admin: Caller, epoch: str) -> None:
    agent, spec = await running(admin)
    path = f"/api/runner/{spec['stepId']}/log?{epoch[1:]}"
    answer = await agent.call("PATCH", path, data=b"x", headers={"Upload-Offset": "0"})
    assert answer.status == 400
    answer = await agent.post(f"/api/runner/{spec['stepId']}/complete", {"status": "success"})
    assert answer.status == 400


async def test_a_framed_log_keeps_its_text_and_a_broken_frame_is_refused(admin: Caller) -> None:
    agent, spec = await running(admin)
    frames = [
        Frame(stream=Stream.STDOUT, time_ms=1, data=b"out\n"),
        Frame(stream=Stream.STDERR, time_ms=2, data=b"err\n\xff\0"),
    ]
    path = f"/api/runner/{spec['stepId']}/log?epoch=1"
    headers = {"Upload-Offset": "0", "Content-Type": CONTENT_TYPE}
    body = encode(frames)
    for broken in (body[:-1], body[:5], b"\x07" + body[1:], b"x"):
        answer = await agent.call("PATCH", path, data=broken, headers=headers)
        assert answer.status == 400
        assert "malformed" in answer.json["error"]
    (await agent.call("PATCH", path, data=body, headers=headers)).expect(204)
    log = await admin.get(f"/api/steps/{spec['stepId']}/log")
    assert log.body == b"out\nerr\n\xff\0"


async def test_a_chunk_and_a_log_have_their_limits(admin: Caller) -> None:
    agent, spec = await running(admin)
    too_much = b"x" * (MAX_CHUNK_BYTES + 1)
    assert (await agent.append(spec, 0, too_much)).status == 413
    assert (await agent.append(spec, 0, too_much * 3)).status == 413
    (await agent.append(spec, 0, too_much[1:])).expect(204)
    # The whole log may hold 2,000,000 bytes.
    assert (await agent.append(spec, MAX_CHUNK_BYTES, too_much[1:])).status == 413
    (await agent.append(spec, MAX_CHUNK_BYTES, b"end")).expect(204)


async def test_a_log_is_read_by_offset_range_and_attempt(admin: Caller) -> None:
    agent, spec = await running(admin)
    path = f"/api/steps/{spec['stepId']}/log"
    (await agent.append(spec, 0, b"0123456789")).expect(204)
    part = await admin.get(f"{path}?offset=4")
    assert part.body == b"456789"
    assert (part.headers["Log-Next-Offset"], part.headers["Log-Complete"]) == ("10", "false")
    assert (part.headers["Log-Attempt"], part.headers["Content-Type"]) == (
        "1",
        "text/plain; charset=utf-8",
    )
    beyond = await admin.get(f"{path}?offset=99")
    assert (beyond.body, beyond.headers["Log-Next-Offset"]) == (b"", "99")
    for text, body, shown in [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=8-", b"89", "bytes 8-9/10"),
        ("bytes=8-999", b"89", "bytes 8-9/10"),
    ]:
        ranged = (await admin.call("GET", path, headers={"Range": text})).expect(206)
        assert (ranged.body, ranged.headers["Content-Range"]) == (body, shown)
    outside = await admin.call("GET", path, headers={"Range": "bytes=10-"})
    assert (outside.status, outside.headers["Content-Range"]) == (416, "bytes */10")
    assert (await admin.get(f"{path}?attempt=2")).status == 404
    for query in ("offset=x", "offset=-1", "attempt=x", "wait=x", f"offset={9**30}"):
        assert (await admin.get(f"{path}?{query}")).status == 400


async def test_the_log_of_a_step_that_was_never_tried_is_empty(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project())
    answer = (await admin.get(f"/api/steps/{build['steps'][0]['id']}/log")).expect(200)
    assert (answer.body, answer.headers["Log-Attempt"]) == (b"", "0")
    assert answer.headers["Log-Complete"] == "false"
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    answer = await admin.get(f"/api/steps/{build['steps'][0]['id']}/log?wait=20")
    assert answer.headers["Log-Complete"] == "true"


# Completion


async def test_a_completion_is_answered_the_same_when_repeated(admin: Caller) -> None:
    agent, spec = await running(admin, step_of("a"), step_of("b"))
    (await agent.append(spec, 0, b"abc")).expect(204)
    body = {"logBytes": 3, "logSha256": hashlib.sha256(b"abc").hexdigest()}
    first = (await agent.complete(spec, **body)).expect(200)
    assert (await agent.complete(spec, **body)).expect(200).json == first.json
    answers = await asyncio.gather(*(agent.complete(spec, **body) for _ in range(5)))
    assert {answer.status for answer in answers} == {200}


async def test_completions_that_race_are_all_answered_and_count_once(admin: Caller) -> None:
    agent, spec = await running(admin)
    answers = await asyncio.gather(*(agent.complete(spec) for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert len({answer.body for answer in answers}) == 1


async def test_a_contradicting_completion_is_refused(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.complete(spec)).expect(200)
    for body in ({"status": "failed", "exitCode": 1}, {"exitCode": 2}):
        refused = await agent.complete(spec, **body)
        assert refused.status == 409
        assert "completed as succeeded already" in refused.json["error"]
    assert not (await admin.build(spec["buildId"]))["steps"][0].get("reason")


async def test_a_completion_before_its_log_is_whole_is_told_where_to_resume(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.append(spec, 0, b"abc")).expect(204)
    early = (await agent.complete(spec, logBytes=5)).expect(409)
    assert (early.json["offset"], early.headers["Upload-Offset"]) == (3, "3")
    assert (await admin.build(spec["buildId"]))["state"] == "running"
    (await agent.append(spec, 3, b"de")).expect(204)
    (await agent.complete(spec, logBytes=5)).expect(200)


@pytest.mark.parametrize("wrong", [{"logBytes": 3, "logSha256": "0" * 64}, {"logBytes": 2}])
async def test_a_log_that_is_not_the_one_that_was_sent_fails_the_step_and_says_so(
    admin: Caller, wrong: dict[str, Any]
) -> None:
    agent, spec = await running(admin)
    (await agent.append(spec, 0, b"abc")).expect(204)
    first = (await agent.complete(spec, **wrong)).expect(200)
    assert first.json["stepStatus"] == "FAILED"
    [shown] = (await admin.build(spec["buildId"]))["steps"]
    assert "is not the one completed" in shown["message"]
    # Its answer may have been lost: the same again is answered the same.
    assert (await agent.complete(spec, **wrong)).expect(200).json == first.json


async def test_a_completed_attempts_log_takes_no_more(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.append(spec, 0, b"abc")).expect(204)
    (await agent.complete(spec)).expect(200)
    assert is_stale(await agent.append(spec, 3, b"more"))
    assert is_stale(await agent.upload(spec, "late", b"x"))
    assert (await admin.get(f"/api/steps/{spec['stepId']}/log")).body == b"abc"
    assert (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json == []


async def test_the_specifications_logs_are_the_log_where_none_was_sent(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project(), step_of("a"), step_of("b"))
    a, b = build["steps"]
    text = "ü\nNUL \0 here\n"
    (await finish(admin, a, logs=text)).expect(200)
    log = await admin.get(f"/api/steps/{a['id']}/log")
    assert (log.text, log.headers["Log-Complete"]) == (text, "true")
    (await admin.get(script_path(b))).expect(200)
    headers = {"Upload-Offset": "0"}
    (
        await admin.call("PATCH", script_path(b) + "/log", data=b"sent before", headers=headers)
    ).expect(204)
    body = {"status": "success", "logs": "again, in another way"}
    (await admin.post(script_path(b) + "/complete", body)).expect(200)
    assert (await admin.get(f"/api/steps/{b['id']}/log")).text == "sent before"


async def test_the_specifications_logs_may_be_long_and_half_a_surrogate(admin: Caller) -> None:
    build = await admin.new_build(await admin.new_project(), step_of("a"), step_of("b"))
    a, b = build["steps"]
    text = "line\n" * 300_000
    (await finish(admin, a, logs=text)).expect(200)
    assert (await admin.get(f"/api/steps/{a['id']}/log")).text == text
    (await admin.get(script_path(b))).expect(200)
    body = b'{"status": "success", "logs": "a \\ud800 b"}'
    path, headers = script_path(b) + "/complete", {"Content-Type": "application/json"}
    (await admin.call("POST", path, data=body, headers=headers)).expect(200)
    assert (await admin.get(f"/api/steps/{b['id']}/log")).text == "a ? b"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "SUCCESS"},
        {"status": None},
        {"status": "success", "logs": 5},
        {"status": "success", "outputPaths": "x"},
        {"status": "success", "outputPaths": [1]},
        {"status": "success", "logBytes": -1},
        {"status": "success", "logSha256": "x"},
        {"status": "success", "exitCode": "zero"},
        {"status": "success", "exitCode": 10**30},
        {"status": "success", "epoch": 10**30},
        {"status": "success", "reason": "bored"},
        {"status": "success", "message": "x" * 5000},
        [],
        "success",
        None,
    ],
)
async def test_a_completion_that_breaks_the_rules_is_refused(admin: Caller, body: object) -> None:
    build = await admin.new_build(await admin.new_project())
    path = script_path(build["steps"][0])
    (await admin.get(path)).expect(200)
    answer = await admin.call("POST", path + "/complete", data=json.dumps(body))
    assert answer.status == 400
    assert answer.json["error"]
    assert (await step(admin, build, "test"))["status"] == "RUNNING"


async def test_a_message_with_a_nul_does_not_keep_an_agent_from_completing(admin: Caller) -> None:
    agent, spec = await running(admin)
    done = await agent.complete(spec, status="failed", exitCode=1, message="bad \0 file")
    done.expect(200)
    [shown] = (await admin.build(spec["buildId"]))["steps"]
    assert shown["message"] == "bad \ufffd file"


async def test_a_failure_skips_what_depends_on_it_and_fails_the_build(admin: Caller) -> None:
    agent, spec = await running(admin, step_of("a"), step_of("b", "a"), step_of("c", "b"))
    done = await agent.complete(
        spec, status="failed", exitCode=None, reason="timeout", message="too long"
    )
    assert done.expect(200).json == {
        "success": True,
        "stepStatus": "FAILED",
        "buildComplete": True,
    }
    shown = await admin.build(spec["buildId"])
    assert (shown["status"], shown["state"]) == ("FAILED", "failed")
    assert shown["reason"] == "step a failed: timeout"
    a, b, c = shown["steps"]
    assert (a["status"], a["reason"], a["message"]) == ("FAILED", "timeout", "too long")
    assert (b["status"], b["reason"]) == ("SKIPPED", "dependency did not succeed: a")
    assert (c["status"], c["reason"]) == ("SKIPPED", "dependency did not succeed: b")


async def test_an_attempt_that_ended_without_an_exit_code_is_told_without_one(
    admin: Caller,
) -> None:
    agent, spec = await running(admin)
    late = {"status": "failed", "exitCode": None, "reason": "timeout"}
    (await agent.complete(spec, **late)).expect(200)
    again = (await agent.complete(spec)).expect(409)
    assert again.json["error"] == "this attempt was completed as failed already"


async def test_a_success_after_a_cancel_leaves_no_word_of_the_cancel(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await admin.post(f"/api/projects/-/builds/{spec['buildId']}/cancel")).expect(200)
    assert (await agent.complete(spec)).expect(200).json["stepStatus"] == "SUCCESS"
    shown = await admin.build(spec["buildId"])
    assert shown["state"] == "succeeded"
    assert "reason" not in shown


# Artifacts


async def test_an_artifact_is_seen_once_its_attempt_has_completed(admin: Caller) -> None:
    agent, spec = await running(admin)
    path = f"/api/steps/{spec['stepId']}/artifacts"
    body = b"\x00\xffbytes"
    stored = (await agent.upload(spec, "dist/a%20b.whl", body, query="&mode=755")).expect(201)
    sha256 = hashlib.sha256(body).hexdigest()
    assert stored.json == {"name": "dist/a b.whl", "size": 7, "sha256": sha256}
    assert (await admin.get(path)).json == []
    assert (await admin.get(f"{path}/dist/a%20b.whl")).status == 404
    (await agent.complete(spec)).expect(200)
    [shown] = (await admin.get(path)).json
    url = f"{admin.coordinator.url}{path}/dist/a%20b.whl"
    assert shown == {"name": "dist/a b.whl", "size": 7, "sha256": sha256, "mode": 493, "url": url}
    found = (await admin.get(f"{path}/dist/a%20b.whl")).expect(200)
    assert found.body == body
    assert found.headers["Content-Type"] == "application/octet-stream"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in found.headers["Content-Security-Policy"]
    assert found.headers["Content-Disposition"].startswith("attachment")


async def test_artifacts_of_a_failed_step_are_kept(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "report.xml", b"<x/>")).expect(201)
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    names = [a["name"] for a in (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json]
    assert names == ["report.xml"]


async def test_uploading_again_replaces(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "x", b"first")).expect(201)
    (await agent.upload(spec, "x", b"second")).expect(201)
    (await agent.complete(spec)).expect(200)
    answer = await admin.get(f"/api/steps/{spec['stepId']}/artifacts/x")
    assert answer.body == b"second"


@pytest.mark.parametrize(
    "name",
    [
        "..%2Fx",
        "%2e%2e/x",
        "a/%2e%2e/%2e%2e/x",
        "%2Fetc%2Fpasswd",
        "/etc/passwd",
        "a//b",
        "a%2F%2Fb",
        "a/",
        "%2e/a",
        "a%00b",
        "a%0Ab",
        "a%7Fb",
        "a%FFb",
        "%ED%A0%80",
        "x" * 1025,
        "",
    ],
)
async def test_an_artifact_with_a_bad_name_is_refused(admin: Caller, name: str) -> None:
    agent, spec = await running(admin)
    answer = await agent.upload(spec, name, b"evil")
    assert answer.status in (400, 404), answer.text
    assert answer.json["error"]
    (await agent.complete(spec)).expect(200)
    assert (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json == []


async def test_a_raw_path_that_climbs_is_refused(admin: Caller) -> None:
    """As an attacker sends it, who does not tidy the path up as clients do."""
    agent, spec = await running(admin)
    host, port = admin.coordinator.url.removeprefix("http://").split(":")
    for name in ("../x", "../../../../x", "a/../../x", "./x", "a//b"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"PUT /api/runner/{spec['stepId']}/artifacts/{name}?epoch=1 HTTP/1.1\r\n"
            f"Host: x\r\nAuthorization: Bearer {agent.token}\r\nContent-Length: 1\r\n"
            "Connection: close\r\n\r\nx".encode()
        )
        status = (await reader.readline()).split()[1]
        assert status in (b"400", b"404", b"405"), (name, status)
        writer.close()
        await writer.wait_closed()
    (await agent.complete(spec)).expect(200)
    assert (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json == []


async def test_an_artifacts_digest_is_checked(admin: Caller) -> None:
    agent, spec = await running(admin)
    wrong = await agent.upload(spec, "x", b"abc", headers={"X-Content-Sha256": "0" * 64})
    assert wrong.status == 400
    assert "sha256" in wrong.json["error"]
    right = {"X-Content-Sha256": hashlib.sha256(b"def").hexdigest()}
    (await agent.upload(spec, "y", b"def", headers=right)).expect(201)
    (await agent.complete(spec)).expect(200)
    names = [a["name"] for a in (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json]
    assert names == ["y"]


async def test_an_artifact_that_is_too_large_is_refused(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "fits", b"x" * 100_000)).expect(201)
    assert (await agent.upload(spec, "too-large", b"x" * 100_001)).status == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000

    assert (await agent.upload(spec, "streamed", endless())).status == 413  # type: ignore[arg-type]
    (await agent.complete(spec)).expect(200)
    names = [a["name"] for a in (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json]
    assert names == ["fits"]


@pytest.mark.parametrize("mode", ["999", "rwx", "-1", "", "7777777"])
async def test_a_mode_that_is_no_mode_is_refused(admin: Caller, mode: str) -> None:
    agent, spec = await running(admin)
    assert (await agent.upload(spec, "x", b"", query=f"&mode={mode}")).status == 400


@pytest.mark.parametrize(
    ("mode", "kept"), [("644", 0o644), ("0755", 0o755), ("4755", 0o755), ("44", 0o44), ("0", 0)]
)
async def test_a_mode_keeps_its_permission_bits(admin: Caller, mode: str, kept: int) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "x", b"", query=f"&mode={mode}")).expect(201)
    (await agent.complete(spec)).expect(200)
    [shown] = (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json
    assert shown["mode"] == kept


async def test_an_upload_that_ends_after_its_attempt_changes_nothing(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "x", b"right")).expect(201)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"wrong"
        started.set()
        await go_on.wait()
        yield b"!"

    upload = asyncio.create_task(agent.upload(spec, "x", slow()))  # type: ignore[arg-type]
    await started.wait()
    await asyncio.sleep(0.05)
    (await agent.complete(spec)).expect(200)
    go_on.set()
    assert is_stale(await upload)
    answer = await admin.get(f"/api/steps/{spec['stepId']}/artifacts/x")
    assert answer.body == b"right"


async def test_an_upload_that_breaks_off_leaves_nothing(admin: Caller) -> None:
    agent, spec = await running(admin)
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"half"
        started.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(agent.upload(spec, "x", endless()))  # type: ignore[arg-type]
    await started.wait()
    upload.cancel()
    await asyncio.wait([upload])
    (await agent.complete(spec)).expect(200)
    assert (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json == []


async def test_artifacts_of_an_earlier_attempt_are_not_shown(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "old", b"x")).expect(201)
    (await agent.complete(spec, status="failed", exitCode=None, reason="lost")).expect(200)
    again = await agent.take()
    (await agent.upload(again, "new", b"x")).expect(201)
    (await agent.complete(again)).expect(200)
    names = [a["name"] for a in (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json]
    assert names == ["new"]


# Held reads


async def test_a_followed_log_wakes_with_each_chunk_and_ends_with_the_attempt(
    admin: Caller,
) -> None:
    agent, spec = await running(admin, step_of("a"), step_of("b"))
    path = f"/api/steps/{spec['stepId']}/log?wait=20&offset="
    offset, text = 0, b""
    for chunk in (b"one\n", b"two\n"):
        held = asyncio.create_task(admin.get(f"{path}{offset}"))
        await asyncio.sleep(0.05)
        assert not held.done()
        (await agent.append(spec, offset, chunk)).expect(204)
        async with asyncio.timeout(15):
            answer = await held
        text += answer.body
        offset = int(answer.headers["Log-Next-Offset"])
    held = asyncio.create_task(admin.get(f"{path}{offset}"))
    await asyncio.sleep(0.05)
    (await agent.complete(spec)).expect(200)
    async with asyncio.timeout(15):
        last = await held
    assert (last.body, last.headers["Log-Complete"]) == (b"", "true")
    assert text == b"one\ntwo\n"


async def test_a_followed_log_sleeps_through_what_other_steps_do(admin: Caller) -> None:
    agent, spec = await running(admin, step_of("a"), step_of("b"))
    held = asyncio.create_task(admin.get(f"/api/steps/{spec['stepId']}/log?wait=20"))
    await asyncio.sleep(0.05)
    (await agent.complete(await agent.take())).expect(200)
    await asyncio.sleep(0.1)
    assert not held.done()
    (await agent.append(spec, 0, b"at last")).expect(204)
    assert (await held).body == b"at last"


async def test_a_log_can_be_followed_before_its_step_starts(admin: Caller) -> None:
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    path = f"/api/steps/{build['steps'][0]['id']}/log?wait=20"
    held = asyncio.create_task(admin.get(path))
    await asyncio.sleep(0.05)
    assert not held.done()
    spec = await agent.take()
    (await agent.append(spec, 0, b"first line\n")).expect(204)
    async with asyncio.timeout(15):
        assert (await held).body == b"first line\n"


async def test_a_build_is_waited_for_by_its_version(admin: Caller) -> None:
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project())
    path = f"/api/projects/-/builds/{build['id']}?wait=20&seen="
    assert (await admin.get(f"{path}999")).json["version"] == build["version"]
    held = asyncio.create_task(admin.get(f"{path}{build['version']}"))
    await asyncio.sleep(0.05)
    assert not held.done()
    spec = await agent.take()
    async with asyncio.timeout(15):
        shown = (await held).json
    assert shown["version"] > build["version"]
    assert shown["state"] == "running"
    held = asyncio.create_task(admin.get(f"{path}{shown['version']}"))
    await asyncio.sleep(0.05)
    (await agent.complete(spec)).expect(200)
    async with asyncio.timeout(15):
        assert (await held).json["state"] == "succeeded"


async def test_held_reads_end_when_the_coordinator_stops(
    coordinator: Coordinator, admin: Caller
) -> None:
    _, spec = await running(admin)
    shown = await admin.build(spec["buildId"])
    held = [
        asyncio.create_task(admin.get(path))
        for path in (
            f"/api/steps/{spec['stepId']}/log?wait=20",
            f"/api/projects/-/builds/{spec['buildId']}?wait=20&seen={shown['version']}",
        )
    ]
    await asyncio.sleep(0.1)
    assert not any(each.done() for each in held)
    async with asyncio.timeout(15):
        await coordinator.stop()
        for each in held:
            (await each).expect(200)
