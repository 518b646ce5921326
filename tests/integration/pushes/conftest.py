"""For modules without their own: a forge with a repository, and a project that hears of it; a
server of git alone, and a work tree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator, open_coordinator
from tests.integration.forge_fixture import Forge, Hook, Repository, open_forge, remote_project
from tests.integration.pushes.git_host import GitHost, git, serving


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    settings = {"allow_http_repositories": True, "allow_private_addresses": True}
    async with open_coordinator(tmp_path, **settings) as coordinator:
        yield coordinator


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


@pytest.fixture
async def repository(forge: Forge, tmp_path: Path) -> Repository:
    return await forge.new_repository(tmp_path / "tree")


@pytest.fixture
async def hook(coordinator: Coordinator, repository: Repository) -> Hook:
    return (await remote_project(coordinator, repository.url))[1]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[GitHost]:
    async with serving(tmp_path / "repositories") as host:
        yield host


@pytest.fixture
async def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    await git(folder, "init", "-q", "-b", "main")
    return folder
