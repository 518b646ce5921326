"""Coordinators that lead one after the other over one database and one object store: as much of
each as git needs, with a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import obstore
from aiohttp import web
from obstore.store import ObjectStore

from coordinator.git.repositories import HostedRepositories
from coordinator.git.smart_http import GitHttpBackend
from coordinator.git.stored_changes import StoredChanges
from coordinator.object_ports import PackStore
from coordinator.services.core import utc_now
from coordinator.storage.database import Database
from tests.integration.coordinator_fixture import GIT_ENVIRONMENT, GitResult, git, try_git

MAX_INPUT_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Leader:
    root: Path
    changes: StoredChanges
    repositories: HostedRepositories
    backend: GitHttpBackend
    url: str = ""
    received: list[dict[str, str]] = field(default_factory=list)
    """The refs that each push left to be built."""

    def repository(self, project_id: str) -> Path:
        return self.root / f"{project_id}.git"

    async def info_refs(self, request: web.Request) -> web.StreamResponse:
        service = request.query.get("service", "")
        return await self.backend.info_refs(request, request.match_info["id"], service)

    async def rpc(self, request: web.Request) -> web.StreamResponse:
        project_id = request.match_info["id"]

        async def after_receive() -> Sequence[str]:
            self.received.append(dict(await self.repositories.refs(project_id)))
            return ["built"]

        service = request.match_info["service"]
        return await self.backend.rpc(
            request, project_id, service, env_user="Anna", after_receive=after_receive
        )


Lead = Callable[..., AbstractAsyncContextManager[Leader]]


@asynccontextmanager
async def leading(
    root: Path, database: Database, packs: PackStore, now: datetime | None = None
) -> AsyncIterator[Leader]:
    changes = StoredChanges(
        root, database, packs, lambda: now or utc_now(), max_input_bytes=MAX_INPUT_BYTES
    )
    leader = Leader(
        root,
        changes,
        HostedRepositories(root, changes, max_input_bytes=MAX_INPUT_BYTES),
        GitHttpBackend(root, changes, max_processes=4, max_input_bytes=MAX_INPUT_BYTES),
    )
    app = web.Application()
    app.router.add_get("/{id}.git/info/refs", leader.info_refs)
    app.router.add_post("/{id}.git/{service}", leader.rpc)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    leader.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield leader
    finally:
        await runner.cleanup()
        await leader.backend.close()
        await changes.close()


@dataclass(slots=True)
class Clone:
    """Somebody's, who pushes to whoever leads."""

    folder: Path
    project_id: str

    async def git(self, *arguments: str) -> str:
        return (await git(self.folder, *arguments)).output

    async def commit(self, name: str = "file", content: str | bytes | None = None) -> str:
        path = self.folder / name
        made = f"{name} {len(list(self.folder.iterdir()))}" if content is None else content
        path.write_bytes(made if isinstance(made, bytes) else made.encode())
        await self.git("add", "-A")
        await self.git("commit", "-q", "--allow-empty", "-m", f"change {name}")
        return await self.git("rev-parse", "HEAD")

    async def try_push(self, leader: Leader, *refs: str) -> GitResult:
        url = f"{leader.url}/{self.project_id}.git"
        return await try_git(self.folder, "push", url, *(refs or ["main"]))

    async def push(self, leader: Leader, *refs: str) -> GitResult:
        result = await self.try_push(leader, *refs)
        assert result.exit_code == 0, result.errors
        return result


async def new_clone(folder: Path, project_id: str) -> Clone:
    folder.mkdir()
    clone = Clone(folder, project_id)
    await clone.git("init", "-q", "-b", "main")
    return clone


async def first_clone(folder: Path, led: AbstractAsyncContextManager[Leader]) -> Clone:
    """Of a project that is made there."""
    project_id = str(uuid4())
    async with led as leader:
        await leader.repositories.create(project_id)
    return await new_clone(folder, project_id)


async def keys(objects: ObjectStore) -> set[str]:
    return {one["path"] for one in await obstore.list(objects).collect_async()}


async def listing(leader: Leader, project_id: str) -> str:
    """Every ref with its value, peeled ones and HEAD too, as a client sees them."""
    url = f"{leader.url}/{project_id}.git"
    return (await git(leader.root.parent, "ls-remote", "--symref", url)).output


async def cloned(leader: Leader, project_id: str, folder: Path) -> str:
    """All refs of a mirror, each of whose objects was checked."""
    shutil.rmtree(folder, ignore_errors=True)
    url = f"{leader.url}/{project_id}.git"
    await git(leader.root.parent, "clone", "-q", "--mirror", url, str(folder))
    await git(folder, "fsck", "--full", "--strict")
    shown = "--format=%(refname) %(objectname)"
    return (await git(folder, "for-each-ref", shown, environment=GIT_ENVIRONMENT)).output
