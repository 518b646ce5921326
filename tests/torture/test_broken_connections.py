"""Connections that break in the middle of calls: every log exact, no step failed for its log."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    lease_of,
    open_coordinator,
    step_of,
)
from tests.torture.length import by_length

STEPS_AT_ONCE = 10
BREAKS_A_STEP = 6
CHUNK_BYTES = 200_000


async def test_no_break_of_a_log_call_spoils_the_log(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)  # noqa: T201 - to repeat a failure
    dice = random.Random(seed)
    breaks = by_length(short=60, long=1000)
    async with open_coordinator(tmp_path) as coordinator:
        project = await coordinator.admin.new_project()
        agent = await coordinator.admin.new_agent()
        for _ in range(0, breaks, STEPS_AT_ONCE * BREAKS_A_STEP):
            names = [step_of(f"s{number}") for number in range(STEPS_AT_ONCE)]
            build = await coordinator.admin.new_build(project, *names)
            async with asyncio.TaskGroup() as group:
                for _ in names:
                    spec = await agent.take()
                    group.create_task(send_with_breaks(coordinator, agent, spec, dice))
            ended = await coordinator.admin.build(build["id"])
            assert [step["status"] for step in ended["steps"]] == ["SUCCESS"] * STEPS_AT_ONCE


async def send_with_breaks(
    coordinator: Coordinator, agent: AgentCaller, spec: Mapping[str, Any], dice: random.Random
) -> None:
    log = b""
    for _ in range(BREAKS_A_STEP):
        chunk = dice.randbytes(CHUNK_BYTES // 2).hex().encode()
        await break_off(coordinator, agent, spec, len(log), chunk, dice.uniform(0, 0.06))
        await resend(agent, spec, log, chunk)
        log += chunk
        await agent.renew(lease_of(spec))
    digest = hashlib.sha256(log).hexdigest()
    answer = await agent.complete(spec, logBytes=len(log), logSha256=digest)
    assert answer.expect(200).json["stepStatus"] == "SUCCESS"
    stored = await coordinator.admin.get(f"/api/steps/{spec['stepId']}/log")
    assert stored.expect(200).body == log


async def break_off(
    coordinator: Coordinator,
    agent: AgentCaller,
    spec: Mapping[str, Any],
    offset: int,
    chunk: bytes,
    after: float,
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", coordinator.port)
    head = (
        f"PATCH /api/runner/{spec['stepId']}/log?epoch={spec['epoch']} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{coordinator.port}\r\nAuthorization: Bearer {agent.token}\r\n"
        f"Upload-Offset: {offset}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(chunk)}\r\n\r\n"
    )
    writer.write(head.encode() + chunk)
    await asyncio.sleep(after)
    writer.transport.abort()


async def resend(agent: AgentCaller, spec: Mapping[str, Any], log: bytes, chunk: bytes) -> None:
    """As an agent does: from where the coordinator says that the log ends."""
    offset = len(log)
    while offset < len(log) + len(chunk):
        answer = await agent.append(spec, offset, chunk[offset - len(log) :])
        if answer.status == 204:
            offset = int(answer.headers["Upload-Offset"])
        else:
            offset = int(answer.expect(409).json["offset"])
