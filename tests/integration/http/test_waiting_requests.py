"""Requests that wait: each person and each account has so many, and no agent is crowded out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, eventually, open_coordinator

OF_A_PERSON = 2
OF_AN_ACCOUNT = 4 * OF_A_PERSON


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, max_waiting_requests=OF_AN_ACCOUNT) as coordinator:
        yield coordinator


@pytest.fixture
async def build(coordinator: Coordinator) -> dict[str, Any]:
    """It waits for an agent, so that nothing happens to it."""
    return await coordinator.admin.new_build(await coordinator.admin.new_project())


@pytest.fixture
async def tenant(coordinator: Coordinator, build: dict[str, Any]) -> str:
    """The account's id."""
    answer = await coordinator.admin.get("/api/accounts")
    [account] = answer.expect(200).json
    return str(account["id"])


def waits_of(build: dict[str, Any]) -> dict[str, str]:
    return {
        "build": f"/api/projects/-/builds/{build['id']}?wait=50&seen={build['version']}",
        "log": f"/api/steps/{build['steps'][0]['id']}/log?wait=50",
        "followed log": f"/api/v1/builds/{build['id']}/logs?follow=true",
        "WebSocket": f"/api/v1/builds/{build['id']}/logs/stream",
    }


@asynccontextmanager
async def all_waiting(
    callers: Sequence[Caller], path: str, tenant: str
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """A request of each, which goes on until this is left."""
    readers = []
    async with AsyncExitStack() as held:
        for caller in callers:
            reader, writer = await asyncio.open_connection("127.0.0.1", caller.coordinator.port)
            held.callback(end, writer)
            writer.write(request_of(caller, path, tenant))
            readers.append(reader)
        yield readers


def end(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def request_of(caller: Caller, path: str, tenant: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {caller.token}"]
    lines += [f"X-Tenant-ID: {tenant}"]
    if path.endswith("/stream"):
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    return "\r\n".join([*lines, "", ""]).encode()


async def one_is_refused(readers: list[asyncio.StreamReader]) -> None:
    """So that all places are taken now."""
    lines = [asyncio.create_task(reader.readline()) for reader in readers]
    async with asyncio.timeout(60):
        for line in asyncio.as_completed(lines):
            if b" 429 " in await line:
                break
        else:
            raise AssertionError("all of them were answered")
    for task in lines:
        task.cancel()
    await asyncio.gather(*lines, return_exceptions=True)


@pytest.mark.parametrize("kind", ["build", "log", "followed log", "WebSocket"])
async def test_a_person_who_waits_often_enough_is_told_so_and_others_wait_on(
    kind: str, coordinator: Coordinator, build: dict[str, Any], tenant: str
) -> None:
    viewer = await coordinator.admin.new_token(role="viewer", account="default")
    other = await coordinator.admin.new_token(role="viewer", account="default")
    poll = waits_of(build)["build"].replace("wait=50", "wait=1")
    async with all_waiting([viewer] * (OF_A_PERSON + 1), waits_of(build)[kind], tenant) as readers:
        await one_is_refused(readers)
        refusal = await viewer.get(poll)
        assert "wait already" in refusal.expect(429).json["error"]
        assert refusal.headers["Retry-After"]
        # Whoever does not wait is answered, and whoever else waits is held.
        (await viewer.get(poll.replace("wait=1", "wait=0"))).expect(200)
        (await other.get(poll)).expect(200)

    async def can_wait_again() -> bool:
        return (await viewer.get(poll)).status == 200

    await eventually(can_wait_again)


async def test_an_account_has_so_many_and_no_agent_is_crowded_out(
    coordinator: Coordinator, build: dict[str, Any], tenant: str
) -> None:
    agent = await coordinator.admin.new_agent()
    viewers = [
        await coordinator.admin.new_token(role="viewer", account="default")
        for _ in range(OF_AN_ACCOUNT // OF_A_PERSON + 1)
    ]
    one_of_each = viewers * OF_A_PERSON
    async with all_waiting(one_of_each, waits_of(build)["build"], tenant) as readers:
        await one_is_refused(readers)
        assert (await agent.poll())["offers"]
