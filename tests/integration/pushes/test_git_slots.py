"""People who send or read as slowly as they like keep nobody else from git."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    Coordinator,
    git,
    new_work_tree,
    open_coordinator,
)

SLOW_CLIENTS = 20


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


async def pushed_project(coordinator: Coordinator, account: str, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    project = await coordinator.admin.new_project(account, "app")
    tree = await new_work_tree(folder, coordinator.admin, project)
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    return project


@asynccontextmanager
async def dripping(caller: Caller, request_line: str, length: int) -> AsyncIterator[None]:
    """A request whose body never comes whole."""
    _, writer = await asyncio.open_connection("127.0.0.1", caller.coordinator.port)
    head = (
        f"{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {caller.token}\r\n"
        "Content-Type: application/x-git-upload-pack-request\r\nGit-Protocol: version=2\r\n"
        f"Content-Length: {length}\r\n\r\n0"
    )
    writer.write(head.encode())
    await writer.drain()
    try:
        yield
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "request_line",
    [
        "POST /git/beta/app.git/git-upload-pack",
        "GET /git/beta/app.git/info/refs?service=git-upload-pack",
        "GET /git/beta/app.git/info/refs?service=git-receive-pack",
    ],
)
async def test_a_viewer_who_sends_slowly_stops_no_clone_and_no_step(
    request_line: str, coordinator: Coordinator, tmp_path: Path
) -> None:
    alpha = await pushed_project(coordinator, "alpha", tmp_path / "alpha")
    await pushed_project(coordinator, "beta", tmp_path / "beta")
    viewer = await coordinator.admin.new_token(role="viewer", account="beta")
    if "receive" in request_line:
        viewer = await coordinator.admin.new_token(role="developer", account="beta")
    async with AsyncExitStack() as slow:
        for _ in range(SLOW_CLIENTS):
            await slow.enter_async_context(dripping(viewer, request_line, 1000))
        # What they sent has been read, and git would run by now.
        (await viewer.get("/api/projects?accountId=beta")).expect(200)
        await clone(coordinator, coordinator.admin.token, alpha, tmp_path / "clone")
        agent = await coordinator.admin.new_agent()
        for _ in range(2):
            spec = await agent.take()
            project = {"pushUrl": spec["source"]["url"]}
            await clone(coordinator, spec["token"], project, tmp_path / spec["stepId"])


async def test_a_viewer_who_reads_slowly_stops_no_clone_and_no_step(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    await pushed_project(coordinator, "alpha", tmp_path / "alpha")
    folder = tmp_path / "beta"
    folder.mkdir()
    project = await coordinator.admin.new_project("beta", "app")
    tree = await new_work_tree(folder, coordinator.admin, project)
    # More than all buffers between here and git hold.
    big = {f"big{n}": random_text(8 << 20) for n in range(3)}
    sha = await tree.commit({".pushrod.yml": ONE_STEP, **big})
    await tree.push()
    viewer = await coordinator.admin.new_token(role="viewer", account="beta")
    async with AsyncExitStack() as slow:
        for _ in range(SLOW_CLIENTS):
            await slow.enter_async_context(reading_nothing(viewer, sha))
        agent = await coordinator.admin.new_agent()
        for _ in range(2):
            spec = await agent.take()
            source = {"pushUrl": spec["source"]["url"]}
            await clone(coordinator, spec["token"], source, tmp_path / spec["stepId"])
        other = {"pushUrl": f"{coordinator.url}/git/alpha/app.git"}
        await clone(coordinator, coordinator.admin.token, other, tmp_path / "clone")


def random_text(size: int) -> bytes:
    import random

    return random.Random(size).randbytes(size)


@asynccontextmanager
async def reading_nothing(caller: Caller, sha: str) -> AsyncIterator[None]:
    """A fetch of everything, whose first bytes are read and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", caller.coordinator.port, limit=1024)
    lines = [b"0011command=fetch", b"0001", b"000fno-progress", pkt(f"want {sha}\n"), pkt("done\n")]
    body = b"".join(lines) + b"0000"
    head = (
        "POST /git/beta/app.git/git-upload-pack HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {caller.token}\r\n"
        "Content-Type: application/x-git-upload-pack-request\r\nGit-Protocol: version=2\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    try:
        yield
    finally:
        writer.transport.abort()
        del reader


def pkt(text: str) -> bytes:
    return f"{len(text) + 4:04x}{text}".encode()


async def clone(
    coordinator: Coordinator, token: str | None, project: dict[str, Any], folder: Path
) -> None:
    environment = coordinator.push_environment(Caller(coordinator, token))
    async with asyncio.timeout(60):
        await git(
            folder.parent, "clone", "-q", project["pushUrl"], folder.name, environment=environment
        )
    assert (folder / ".pushrod.yml").exists()
