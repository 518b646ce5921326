"""How often a push may be read by those that did not come to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coordinator.services.pushes.begun_pushes import (
    MAX_PROCESSES,
    MAX_TERMS,
    BegunPushes,
    TookProcessesDown,
)
from tests.integration.core_fixture import open_core

SEVERAL = {
    "peer_listen": "127.0.0.1:3001",
    "public_url": "http://ci.example.org",
    "database": "postgresql://pushrod@db.example.org/pushrod",
    "objects": "s3://builds/pushrod",
}


@pytest.mark.parametrize(("settings", "most"), [({}, MAX_PROCESSES), (SEVERAL, MAX_TERMS)])
async def test_a_push_that_was_begun_too_often_is_given_up(
    tmp_path: Path, settings: dict[str, Any], most: int
) -> None:
    """Of several coordinators a leader's term ends for many reasons, which are none of a push's."""
    push = ("refs/heads/main", "1" * 40)
    async with open_core(tmp_path, **settings) as tested:
        project = await tested.new_project()
        for _ in range(most):
            await BegunPushes(tested.core).begin(project.id, [push])
        with pytest.raises(TookProcessesDown, match=f"ended {most} times"):
            await BegunPushes(tested.core).begin(project.id, [push])
