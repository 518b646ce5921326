"""A fault in the middle of an answer: what was sent of it never looks whole."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from coordinator.domain.errors import NotFound
from coordinator.objects.blobs import ObjectBlobStore
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    open_coordinator,
    step_of,
)

CONTENT = b"x" * 400
"""Longer than any other answer in its place: that would be read as the beginning of this."""
FAULTS = [OSError(errno.ENOSPC, "full"), NotFound("it is gone"), RuntimeError("a fault of ours")]


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


async def stored(coordinator: Coordinator) -> tuple[AgentCaller, str, str]:
    """An agent, and the paths of an artifact for people and of a batch for the next step."""
    admin = coordinator.admin
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project(), step_of("a"), step_of("b", "a"))
    first = await agent.take()
    (await agent.upload(first, "o", CONTENT)).expect(201)
    (await agent.complete(first)).expect(200)
    second = await agent.take()
    [step, _] = build["steps"]
    return (
        agent,
        f"/api/steps/{step['id']}/artifacts/o",
        f"/api/runner/{second['stepId']}/inputs?epoch={second['epoch']}",
    )


@pytest.mark.parametrize("fault", FAULTS, ids=["trouble", "refusal", "fault"])
@pytest.mark.parametrize("sent", [0, 100])
async def test_a_download_that_fails_is_cut_off(
    coordinator: Coordinator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    sent: int,
) -> None:
    agent, path, batch = await stored(coordinator)
    assert (await coordinator.admin.get(path)).body == CONTENT

    async def broken(*_: object) -> AsyncIterator[bytes]:
        if sent:
            yield CONTENT[:sent]
        raise fault

    async def broken_at_once(*_: object) -> bytes:
        raise fault

    monkeypatch.setattr(ObjectBlobStore, "get", broken)
    monkeypatch.setattr(ObjectBlobStore, "get_small", broken_at_once)
    with pytest.raises(aiohttp.ClientError):
        await coordinator.admin.get(path)
    with pytest.raises(aiohttp.ClientError):
        await agent.post(batch, {"stepId": path.split("/")[3], "names": ["o"]})
    assert "Error handling request" not in caplog.text, "aiohttp would say it once more"
    monkeypatch.undo()
    assert (await coordinator.admin.get(path)).body == CONTENT


async def test_a_body_that_is_shorter_than_was_told_is_cut_off(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a damaged file: the next answer of the connection would be read as its rest."""
    _, path, _ = await stored(coordinator)

    async def short(*_: object) -> AsyncIterator[bytes]:
        yield CONTENT[:100]

    monkeypatch.setattr(ObjectBlobStore, "get", short)
    with pytest.raises(aiohttp.ClientError):
        async with asyncio.timeout(20):
            await coordinator.admin.get(path)
