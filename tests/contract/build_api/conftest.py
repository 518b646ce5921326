from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import AgentCaller, Caller, Coordinator, open_coordinator


@pytest.fixture
async def coordinator(each_storage: str, tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=60) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    registrar = await admin.new_token(kind="registration", account="default")
    return await registrar.new_agent("builder")


@pytest.fixture
async def host(admin: Caller) -> AgentCaller:
    """An agent that deployments run on."""
    registrar = await admin.new_token(kind="registration", account="default")
    return await registrar.new_agent("host", labels={"deploy": "true"})
