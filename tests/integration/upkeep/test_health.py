"""Health tells the truth, and trouble of the machine is told as what it is."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator, eventually, open_coordinator
from tests.integration.small_disks import filled, small_disk


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, database_wait_seconds=0.2) as coordinator:
        yield coordinator


async def test_a_coordinator_that_can_work_is_ready_and_healthy(coordinator: Coordinator) -> None:
    answer = (await coordinator.nobody.get("/readyz")).expect(200)
    assert answer.json == {
        "status": "ready",
        "checks": {"disk": "ok", "database": "ok", "git": "ok"},
    }
    assert (await coordinator.nobody.get("/healthz")).expect(200).text == "ok\n"


async def test_a_locked_database_is_told_and_passes(coordinator: Coordinator) -> None:
    with locked(coordinator):
        await eventually(lambda: is_wrong(coordinator, "database", "locked by another process"))
        assert "database" in (await coordinator.nobody.get("/healthz")).expect(200).text
        answer = await coordinator.admin.post(
            "/api/projects", {"accountId": "default", "name": "shop"}
        )
        answer.expect(503)
        assert "locked by another process" in answer.json["error"]
        assert int(answer.headers["Retry-After"]) > 0
    await eventually(lambda: is_ready(coordinator))


async def test_a_full_disk_is_a_507_and_passes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mib=80) as disk:
        async with open_coordinator(disk) as coordinator:
            with filled(disk):
                await eventually(lambda: is_wrong(coordinator, "disk", "full"))
                answer = await coordinator.admin.post(
                    "/api/projects", {"accountId": "default", "name": "shop"}
                )
                answer.expect(507)
                assert "disk is full" in answer.json["error"]
            made = await coordinator.admin.post(
                "/api/projects", {"accountId": "default", "name": "shop"}
            )
            made.expect(201)


@contextmanager
def locked(coordinator: Coordinator) -> Iterator[None]:
    connection = sqlite3.connect(coordinator.data / "pushrod.db", isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def is_wrong(coordinator: Coordinator, check: str, words: str) -> bool:
    answer = await coordinator.nobody.get("/readyz")
    return answer.status == 503 and words in answer.json["checks"][check]


async def is_ready(coordinator: Coordinator) -> bool:
    return (await coordinator.nobody.get("/readyz")).status == 200
