from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator
from tests.integration.execution_fixture import Tenant, new_chain, new_member


@pytest.fixture
async def coordinator(each_storage: str, tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await new_chain(admin, "one", "two")


@pytest.fixture
async def maintainer(admin: Caller, project: dict[str, Any]) -> Tenant:
    return await new_member(admin, "maintainer")
