"""Connections that bring no whole request, or one that can't be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator, open_coordinator


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, idle_seconds=0.2) as coordinator:
        yield coordinator


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: local"])
async def test_a_connection_without_a_whole_request_is_closed(
    coordinator: Coordinator, sent: bytes
) -> None:
    assert await coordinator.exchange(sent) == b""


async def test_a_connection_is_closed_some_time_after_its_last_request(
    coordinator: Coordinator,
) -> None:
    answer = await coordinator.exchange(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" not in answer


async def test_a_held_poll_outlives_what_an_idle_connection_may(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        agent = await (await coordinator.admin.new_token(kind="registration")).new_agent()
        coordinator.settings = {"poll_hold_seconds": 1, "idle_seconds": 0.2}
        await coordinator.restart()
        assert (await agent.poll())["offers"] == []
