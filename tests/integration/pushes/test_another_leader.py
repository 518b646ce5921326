"""Whole coordinators that lead one after the other, each with a data folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator.services.pushes.ingest import Ingest
from coordinator.storage.postgresql import PostgresPlace
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    Coordinator,
    eventually,
    git,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import open_forge, push_payload, remote_project
from tests.ports import free_port
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server

Lead = Callable[..., AbstractAsyncContextManager[Coordinator]]


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[PostgresPlace]:
    place = postgres_server.new_database()
    yield place
    postgres_server.drop(place)


@pytest.fixture
def lead(database: PostgresPlace, s3_server: S3Server, tmp_path: Path) -> Lead:
    """One with an empty data folder, but for the keys that all of them have."""
    place = s3_server.place(tmp_path / "credentials", tmp_path.name)
    key = tmp_path / "secret-key"

    @asynccontextmanager
    async def begin(name: str, **settings: Any) -> AsyncIterator[Coordinator]:
        data = tmp_path / name / "data"
        data.mkdir(parents=True, mode=0o700)
        if key.exists():
            for file in (key, tmp_path / "admin-token"):
                shutil.copy(file, data / file.name)
        shared = {
            "database": database.url,
            "objects": place.location,
            "objects_endpoint": place.endpoint,
            "objects_region": place.region,
            "objects_credentials_file": place.credentials_file,
            "peer_listen": f"127.0.0.1:{free_port()}",
            "public_url": "http://ci.example.org",
        }
        async with open_coordinator(data.parent, **shared, **settings) as coordinator:
            for file in (key, tmp_path / "admin-token"):
                shutil.copy(data / file.name, file)
            yield coordinator

    return begin


async def commits_built(admin: Caller, project: dict[str, Any]) -> list[str]:
    builds = await admin.builds(project)
    return sorted(build["commitHash"] for build in builds)


async def test_two_pushes_that_nobody_built_are_both_built_by_the_next(
    lead: Lead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead(*_: object) -> list[str]:
        raise RuntimeError("the process is gone")

    async with lead("a") as coordinator:
        project = await coordinator.admin.new_project()
        project["pushUrl"] = f"{coordinator.url}/git/default/shop"
        tree = await new_work_tree(tmp_path, coordinator.admin, project)
        first = await tree.commit({".pushrod.yml": ONE_STEP})
        await tree.push()
        with monkeypatch.context() as patched:
            patched.setattr(Ingest, "refs_moved", dead)
            second = await tree.commit({"file": "2"})
            await tree.push()
            third = await tree.commit({"file": "3"})
            await tree.push()
        await tree.git("tag", "-a", "v1", "-m", "first")
    async with lead("b") as coordinator:
        admin = coordinator.admin

        async def are_built() -> bool:
            return await commits_built(admin, project) == sorted([first, second, third])

        await eventually(are_built)
        await tree.git("remote", "set-url", "origin", f"{coordinator.url}/git/default/shop")
        await tree.git("config", "http.extraHeader", f"Authorization: Bearer {admin.token}")
        await tree.git("push", "-q", "origin", "v1")
        mirror = await git(
            tmp_path,
            *("clone", "-q", "--mirror", f"{coordinator.url}/git/default/shop", "mirror"),
            environment=coordinator.push_environment(admin),
        )
        assert mirror.exit_code == 0
        there = await git(tmp_path / "mirror", "rev-parse", "main", "v1^{commit}")
        assert there.output.split() == [third, third]


async def test_a_commit_of_a_forge_that_is_gone_is_served_by_the_next(
    lead: Lead, tmp_path: Path
) -> None:
    allowed = {"allow_http_repositories": True, "allow_private_addresses": True}
    (tmp_path / "forge").mkdir()
    async with open_forge(tmp_path / "forge") as forge, lead("a", **allowed) as coordinator:
        repository = await forge.new_repository(tmp_path / "theirs")
        project, hook = await remote_project(coordinator, repository.url)
        shas = []
        for content in ("1", "2"):
            shas.append(await repository.push({".pushrod.yml": ONE_STEP, "file": content}))
            (await hook.github("push", push_payload(repository.url, shas[-1]))).expect(202)

        async def are_built() -> bool:
            return await commits_built(coordinator.admin, project) == sorted(shas)

        await eventually(are_built)
    async with lead("b", **allowed) as coordinator:
        url = f"{coordinator.url}/git/default/remote"
        await git(tmp_path, "init", "-q", "again")
        environment = coordinator.push_environment(coordinator.admin)
        for sha, content in zip(shas, ("1", "2"), strict=True):
            await git(tmp_path / "again", "fetch", "-q", url, sha, environment=environment)
            found = await git(tmp_path / "again", "show", "FETCH_HEAD:file")
            assert found.output == content
