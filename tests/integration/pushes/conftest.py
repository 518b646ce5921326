"""For modules without their own: a forge with a repository, and a project that hears of it; a
server of git alone, and a work tree; a project with its work tree; coordinators that lead one after
the other, and a clone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from obstore.store import ObjectStore

from coordinator.objects.packs import ObjectPackStore
from coordinator.objects.places import open_objects
from coordinator.objects.stores import open_store
from coordinator.storage.database import Database
from tests.empty_database import kept_by, put_empty_database
from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import Forge, Hook, Repository, open_forge, remote_project
from tests.integration.pushes.git_host import GitHost, git, serving
from tests.integration.pushes.stored_host import Clone, Lead, Leader, first_clone, leading


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


@pytest.fixture(params=["sqlite-folder", "postgresql-s3"])
def places(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite-folder":
        yield "sqlite-folder"
        return
    with kept_by(request.getfixturevalue("postgres_server")):
        yield "postgresql-s3"


@pytest.fixture
async def database(places: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(put_empty_database(tmp_path / "database"))
    yield database
    await database.close()


@pytest.fixture
def objects(places: str, request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if places == "sqlite-folder":
        return open_store(tmp_path / "objects")
    server = request.getfixturevalue("s3_server")
    return open_objects(server.place(tmp_path / "credentials", tmp_path.name))


@pytest.fixture
def packs(objects: ObjectStore) -> ObjectPackStore:
    return ObjectPackStore(objects)


@pytest.fixture
def lead(database: Database, packs: ObjectPackStore, tmp_path: Path) -> Lead:
    """One more coordinator, with what its folder has already."""

    def begin(name: str, **changed: Any) -> AbstractAsyncContextManager[Leader]:
        root = tmp_path / name / "repositories"
        root.mkdir(parents=True, exist_ok=True)
        return leading(root, database, **{"packs": packs, **changed})

    return begin


@pytest.fixture
async def clone(tmp_path: Path, lead: Lead) -> Clone:
    return await first_clone(tmp_path / "clone", lead("a"))


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("acme", "shop")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)
