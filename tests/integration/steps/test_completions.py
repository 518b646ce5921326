"""How an attempt is completed: once, with its whole log, and by the rules."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator, step_of
from tests.integration.steps.running_steps import finish, is_stale, running, script_path, step


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, max_artifact_bytes=100_000, max_log_bytes=2_000_000, lease_seconds=60
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


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
