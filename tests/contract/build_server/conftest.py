from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Caller, open_coordinator


@pytest.fixture
async def admin(each_storage: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator.admin
