"""Requests that are held until something changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator, step_of
from tests.integration.steps.running_steps import running


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, max_artifact_bytes=100_000, max_log_bytes=2_000_000, lease_seconds=60
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


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
