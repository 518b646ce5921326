"""Statuses, artifacts and logs by the specification of builds of modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.build_synthesis.modules import (
    RELEASE,
    UNKNOWN,
    check_error,
    status_of,
    trigger,
)
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    new_work_tree,
)

# Status words


async def test_the_status_follows_the_build(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin)
    pending = await status_of(admin, triggered)
    assert pending["status"] == "pending"
    assert not {"start_time", "end_time"} & pending.keys()
    assert pending["artifacts"] == []
    assert "agent" in pending["reason"], "why it waits"
    spec = await agent.take()
    running = await status_of(admin, triggered)
    assert running["status"] == "running"
    assert "reason" not in running
    assert "start_time" in running
    assert "end_time" not in running
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    failed = await status_of(admin, triggered)
    assert failed["status"] == "failed"
    assert "end_time" in failed


async def test_a_cancelled_build_failed_and_says_by_whom_it_was_cancelled(
    admin: Caller, project: dict[str, Any]
) -> None:
    triggered = await trigger(admin)
    cancel = f"/api/projects/-/builds/{triggered['build_id']}/cancel"
    (await admin.post(cancel)).expect(200)
    shown = await status_of(admin, triggered)
    assert shown["status"] == "failed"
    assert shown["reason"].startswith("cancelled by")


async def test_a_retried_build_is_one_of_the_module_too(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin)
    (await agent.complete(await agent.take())).expect(200)
    retry = await admin.post(f"/api/projects/-/builds/{triggered['build_id']}/retry")
    again = retry.expect(201).json["id"]
    shown = await status_of(admin, {"status_url": f"/api/build_synthesis/status/{again}"})
    assert (shown["module_name"], shown["status"]) == ("data_visualization", "pending")


async def test_a_build_that_lacked_a_secret_is_retried_as_the_target_it_was(
    admin: Caller, project: dict[str, Any], tmp_path: Path
) -> None:
    tree = await new_work_tree(tmp_path, admin, project, "second")
    await tree.git("pull", "-q", "origin", "main")
    await tree.commit(
        {".pushrod/release.yml": RELEASE.replace("compile, ", "compile, secrets: KEY, ")}
    )
    await tree.push()
    triggered = await trigger(admin, build_target="production_bundle")
    assert (await status_of(admin, triggered))["reason"] == "missing secret: KEY"
    secret = f"/api/projects/{project['id']}/secrets/KEY"
    (await admin.call("PUT", secret, json={"value": "secret"})).expect(200)
    retry = await admin.post(f"/api/projects/-/builds/{triggered['build_id']}/retry")
    build = await admin.build(retry.expect(201).json["id"])
    assert [step["name"] for step in build["steps"]] == ["compile", "bundle"]
    assert build["module"]["step"] == "bundle"


@pytest.mark.parametrize("what", ["status", "logs"])
async def test_what_is_no_build_of_a_module_is_not_found(
    admin: Caller, project: dict[str, Any], what: str
) -> None:
    other = await admin.new_build(project)
    for build_id in (UNKNOWN, "build_job_456", other["id"], "%00", "%F0%9F%92%A9", "x" * 5000):
        answer = await admin.get(f"/api/build_synthesis/{what}/{build_id}")
        assert check_error(answer.expect(404)) == {"error": "build not found"}


# Artifacts


async def test_different_files_of_one_path_are_told_apart_and_equal_ones_stand_once(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin, build_target="production_bundle")
    for name in ("compile", "bundle"):
        spec = await agent.take()
        await agent.upload(spec, "dist/same", b"same")
        await agent.upload(spec, "dist/report%20%231.txt", f"by {name}".encode())
        if name == "compile":
            assert (await status_of(admin, triggered))["artifacts"] == []
        (await agent.complete(spec)).expect(200)
    artifacts = (await status_of(admin, triggered))["artifacts"]
    assert [artifact["name"] for artifact in artifacts] == [
        "compile/dist/report #1.txt",
        "dist/same",
        "bundle/dist/report #1.txt",
    ]
    bodies = [(await admin.get(one["url"])).expect(200).body for one in artifacts]
    assert bodies == [b"by compile", b"same", b"by bundle"]
    assert [artifact["size"] for artifact in artifacts] == [len(body) for body in bodies]


# Logs


async def test_the_logs_are_those_of_all_steps_in_order(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin, build_target="production_bundle")
    logs_url = (await status_of(admin, triggered))["logs_url"]
    first = await agent.take()
    (await agent.append(first, 0, b"compiling\n")).expect(204)
    running = (await admin.get(logs_url)).expect(200)
    assert running.text == (
        "=== step compile: running ===\ncompiling\n=== step bundle: blocked ===\n"
    )
    (await agent.complete(first)).expect(200)
    second = await agent.take()
    (await agent.append(second, 0, b"no closing newline")).expect(204)
    failure = {"status": "failed", "exitCode": 3, "message": "One thing.\nAnother."}
    (await agent.complete(second, **failure)).expect(200)
    ended = (await admin.get(logs_url)).expect(200)
    assert ended.text == (
        "=== step compile: succeeded ===\n"
        "compiling\n"
        "=== step bundle: failed (exit code 3) ===\n"
        "no closing newline\n"
        "=== One thing.\n"
        "=== Another.\n"
    )
    assert ended.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert ended.headers["X-Content-Type-Options"] == "nosniff"


async def test_each_attempt_of_a_step_has_its_part_of_the_logs(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin)
    first = await agent.take()
    (await agent.append(first, 0, b"one\n")).expect(204)
    (await agent.complete(first, status="failed", exitCode=None, reason="lost")).expect(200)
    second = await agent.take()
    (await agent.append(second, 0, b"two\n")).expect(204)
    (await agent.complete(second)).expect(200)
    text = (await admin.get((await status_of(admin, triggered))["logs_url"])).text
    assert [line for line in text.splitlines() if "===" not in line] == ["one", "two"]
    assert "=== step test, attempt 1: lost" in text
    assert "=== step test, attempt 2: succeeded ===" in text


async def test_long_logs_come_whole(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin)
    spec = await agent.take()
    part = b"".join(b"%07d\n" % number for number in range(100_000))
    for number in range(4):
        (await agent.append(spec, number * len(part), part)).expect(204)
    (await agent.complete(spec)).expect(200)
    whole = (await admin.get((await status_of(admin, triggered))["logs_url"])).expect(200)
    heading, _, body = whole.body.partition(b"\n")
    assert heading == b"=== step test: succeeded ==="
    assert body == part * 4


async def test_the_logs_of_a_build_that_never_had_steps_say_why(
    admin: Caller, project: dict[str, Any], tmp_path: Path
) -> None:
    secret = "name: ci\non: {tag: v*}\nsteps: [{name: a, image: b, run: x, secrets: [KEY]}]\n"
    tree = await new_work_tree(tmp_path, admin, project, "second")
    await tree.git("pull", "-q", "origin", "main")
    await tree.commit({".pushrod/ci.yml": secret})
    await tree.push()
    triggered = await trigger(admin)
    shown = await status_of(admin, triggered)
    assert (shown["status"], shown["reason"]) == ("failed", "missing secret: KEY")
    text = (await admin.get(shown["logs_url"])).expect(200).text
    assert text.startswith(
        "=== build failed ===\n=== missing secret: KEY\n=== .pushrod/ci.yml:3:47: step `a` needs"
    )
