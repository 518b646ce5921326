"""Connections that bring no whole request, or one that can't be read."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"x" * 20_000),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: %s\r\n\r\n" % (b"x" * 20_000),
        b"POST /api/v1/builds HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"F@O / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: zstd\r\n"
        b"Content-Length: 1\r\n\r\n{",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 1\r\n\r\n{",
        b"\x16\x03\x01\x02\x00\x01",
    ],
)
async def test_what_is_no_request_is_told_so_in_json_and_not_traced(
    coordinator: Coordinator, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await coordinator.exchange(sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1].startswith(b"4"), answer
    assert b"application/json" in head
    assert list(json.loads(body)) == ["error"]
    assert not [record for record in caplog.records if record.exc_info]
