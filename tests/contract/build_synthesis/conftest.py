from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.build_synthesis.modules import FILES
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    new_work_tree,
    open_coordinator,
)


@pytest.fixture
async def admin(each_storage: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator.admin


@pytest.fixture
async def project(admin: Caller, tmp_path: Path) -> dict[str, Any]:
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit(FILES)
    await tree.push()
    return project


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent()
