"""Clients that send slowly, or stop, hold up nobody but themselves."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.coordinator_fixture import Answer, Coordinator, eventually, open_coordinator
from tests.integration.forge_fixture import signature
from tests.quiet_time import quiet_seconds

SLOW_CLIENTS = 12
IDLE_SECONDS = 1.0
KEEP_ALIVE_TIMER, ESTABLISHED = 2, "01"
"""As /proc/net/tcp has them."""


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    settings = {"trusted_proxies": ["127.0.0.1"], "idle_seconds": IDLE_SECONDS}
    async with open_coordinator(tmp_path, **settings) as coordinator:
        yield coordinator


@asynccontextmanager
async def begun(
    coordinator: Coordinator, request_line: str, length: int, *headers: str
) -> AsyncIterator[asyncio.StreamReader]:
    """A request of which only the first byte comes; its answer can be read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", coordinator.port)
    lines = [f"{request_line} HTTP/1.1", "Host: 127.0.0.1", *headers, f"Content-Length: {length}"]
    writer.write("\r\n".join([*lines, "", "x"]).encode())
    await writer.drain()
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_senders_of_large_webhooks_that_stop_keep_no_other_from_being_heard(
    coordinator: Coordinator,
) -> None:
    project = await coordinator.admin.new_project()
    path = f"/api/webhooks/generic/{project['id']}"
    async with AsyncExitStack() as slow:
        for _ in range(SLOW_CLIENTS):
            stranger = begun(
                coordinator, f"POST {path}", 20_000_000, "X-Forwarded-For: 203.0.113.7"
            )
            await slow.enter_async_context(stranger)
        body = json.dumps({"event": "ping", "filler": "x" * 1_000_000}).encode()
        # Long before those are given up.
        began = quiet_seconds()
        answer = await signed(coordinator, path, project["webhookSecret"], body)
        assert quiet_seconds() - began < 2
        answer.expect(202)


async def signed(coordinator: Coordinator, path: str, secret: str, body: bytes) -> Answer:
    return await coordinator.nobody.call(
        "POST",
        path,
        data=body,
        headers={
            "Content-Type": "application/json",
            "X-Pushrod-Delivery": str(uuid4()),
            "X-Pushrod-Signature-256": signature(secret, body),
            "X-Forwarded-For": "198.51.100.1",
        },
    )


@pytest.mark.parametrize(
    "call", ["PATCH /api/runner/{step}/log?epoch=1", "PUT /api/runner/{step}/artifacts/a?epoch=1"]
)
async def test_an_upload_that_stops_is_let_go(call: str, coordinator: Coordinator) -> None:
    project = await coordinator.admin.new_project()
    await coordinator.admin.new_build(project)
    agent = await coordinator.admin.new_agent()
    spec = await agent.take()
    line = call.format(step=spec["stepId"])
    headers = [f"Authorization: Bearer {agent.token}", "Upload-Offset: 0"]
    async with begun(coordinator, line, 1000, *headers) as reader, asyncio.timeout(60):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        assert b"stopped coming" in await reader.read()


async def test_an_lfs_upload_that_stops_is_let_go(coordinator: Coordinator) -> None:
    await coordinator.admin.new_project()
    line = f"PUT /git/default/shop.git/info/lfs/objects/{'0' * 64}"
    headers = [f"Authorization: Bearer {coordinator.admin.token}"]
    async with begun(coordinator, line, 1000, *headers) as reader, asyncio.timeout(60):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408")
    # Or what still comes of the body would be read as the next request.
    assert b"Connection: close" in answer


async def test_a_download_that_is_not_taken_is_cut_off(coordinator: Coordinator) -> None:
    await coordinator.admin.new_build(await coordinator.admin.new_project())
    agent = await coordinator.admin.new_agent()
    spec = await agent.take()
    # More than all buffers between here and the coordinator hold.
    app = io.BytesIO(bytes(24 << 20))
    (await agent.upload(spec, "app", app)).expect(201)  # type: ignore[arg-type]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.to_thread(client.connect, ("127.0.0.1", coordinator.port))
        client.sendall(
            f"GET /api/steps/{spec['stepId']}/artifacts/app HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {coordinator.admin.token}\r\n\r\n".encode()
        )
        client_port = client.getsockname()[1]

        async def has_ended() -> bool:
            ends = await connection(coordinator.port, client_port)
            return not ends or ends[3] != ESTABLISHED

        await eventually(has_ended)


async def test_a_client_that_went_without_a_word_is_found_out(coordinator: Coordinator) -> None:
    """By questions of the kernel, which are asked on each connection of ours."""
    reader, writer = await asyncio.open_connection("127.0.0.1", coordinator.port)
    ours = await connection(coordinator.port, writer.get_extra_info("sockname")[1])
    timer, _, expires = ours[5].partition(":")
    assert int(timer) == KEEP_ALIVE_TIMER
    assert int(expires, 16) / os.sysconf("SC_CLK_TCK") <= 60
    writer.transport.abort()
    del reader


async def connection(port: int, client_port: int) -> list[str]:
    """The row of the coordinator's end in the kernel's table; nothing if there is none."""
    table = await asyncio.to_thread(Path("/proc/net/tcp").read_text)
    rows = (row.split() for row in table.splitlines())
    wanted = [f"{port:04X}", f"{client_port:04X}"]
    return next((r for r in rows if [p.rpartition(":")[2] for p in r[1:3]] == wanted), [])


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/login", "application/x-www-form-urlencoded"), ("/api/v1/auth/login", "application/json")],
)
async def test_a_stranger_brings_no_more_than_a_login_takes(
    path: str, kind: str, coordinator: Coordinator
) -> None:
    body = b"x" * 100_000
    headers = {"Content-Type": kind}
    answer = await coordinator.nobody.call("POST", path, data=body, headers=headers)
    answer.expect(413)
