"""Logs as agents send them, by offset and epoch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipelines_schema.log_frames import CONTENT_TYPE, MAX_CHUNK_BYTES, Frame, Stream, encode
from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator
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
