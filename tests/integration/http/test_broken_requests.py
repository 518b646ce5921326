"""Clients that go away in the middle of a change: it is carried to its end, or never began."""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import coordinator.api
from coordinator.api.http.operations import Operation
from tests.integration.coordinator_fixture import Coordinator, open_coordinator

TRIES = 40
STEP_SECONDS = 0.0004
"""Between the moments at which the clients go."""


@pytest.fixture
async def coordinator_(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as running:
        yield running


def operations() -> list[Operation]:
    names = (
        one.name for one in pkgutil.walk_packages(coordinator.api.__path__, "coordinator.api.")
    )
    found = (value for name in names for value in vars(importlib.import_module(name)).values())
    return [value for value in found if isinstance(value, Operation)]


def test_what_changes_something_is_carried_to_its_end_whoever_goes() -> None:
    changes = [one for one in operations() if one.method != "GET"]
    assert len(changes) > 40
    # A poll that breaks off must give back what it was about to be offered.
    assert {one.id for one in changes if one.ends_with_client} == {"agents_poll"}


async def test_a_client_that_goes_leaves_no_half_made_project(coordinator_: Coordinator) -> None:
    for moment in range(TRIES):
        body = json.dumps({"accountId": "default", "name": f"shop {moment}"}).encode()
        await break_off(coordinator_, "POST", "/api/projects", body, after=moment * STEP_SECONDS)
    async with asyncio.timeout(60):
        while (there := repositories(coordinator_)) != await projects(coordinator_):
            await asyncio.sleep(0.05)
    assert there  # else no call got far enough to be cut short


async def break_off(
    coordinator_: Coordinator, method: str, path: str, body: bytes, *, after: float
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", coordinator_.port)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{coordinator_.port}\r\n"
        f"Authorization: Bearer {coordinator_.admin.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await asyncio.sleep(after)
    writer.transport.abort()


def repositories(coordinator_: Coordinator) -> set[str]:
    return {folder.stem for folder in (coordinator_.data / "repositories").glob("*.git")}


async def projects(coordinator_: Coordinator) -> set[str]:
    answer = await coordinator_.admin.get("/api/projects?accountId=default")
    return {one["id"] for one in answer.expect(200).json}
