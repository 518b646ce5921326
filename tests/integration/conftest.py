"""A coordinator for those tests that ask nothing more of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin
