"""A NUL character in what comes from outside is refused alike over both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator, open_coordinator

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


async def test_a_nul_is_a_mistake_of_whoever_sends_it(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    project = await admin.new_project()
    for path in (
        "/api/projects/a%00b",
        "/api/projects/-/builds/%00",
        "/api/builds/a%00b/log",
        "/git/default/a%00b.git/info/refs?service=git-upload-pack",
        f"/api/steps/x/artifacts/{'a%00b'}",
    ):
        (await admin.get(path)).expect(404)
    for path in (
        "/api/projects?accountId=a%00b",
        f"/api/projects/{project['id']}/builds?branch=%00",
    ):
        answer = (await admin.get(path)).expect(400)
        assert "this text holds a NUL character" in answer.text
    answer = await admin.post("/api/projects", {"accountId": "default", "name": "a\0b"})
    assert "NUL" in answer.expect(400).text
