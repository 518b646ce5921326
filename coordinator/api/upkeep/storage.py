"""What uses how much."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from coordinator.api.http.context import CORE, DISPATCH, RETENTION
from coordinator.api.http.fields import Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.upkeep.storage import storage_usage


class ProjectStorage(Shown):
    id: str
    account: str
    slug: str
    builds: int
    log_bytes: int
    artifact_bytes: int
    lfs_bytes: int
    repository_bytes: int
    keeping_builds: int = Field(description="With artifacts that stay as their own `keep` says")
    garbage_bytes: int = Field(
        description="Of the repository: put aside, since nothing reaches it, and soon deleted"
    )


class MachineStorage(Shown):
    free_bytes: int
    total_bytes: int
    database_bytes: int


class AgentStorage(Shown):
    id: str
    name: str
    free_bytes: int
    total_bytes: int
    floor_bytes: int | None = Field(None, description="With less it takes no work")


class StorageShown(Shown):
    enforced: bool = Field(description="Whether retention deletes, or only tells")
    projects: list[ProjectStorage] = Field(description="Those that use most first")
    waiting_objects: int = Field(description="Of deleted things, still to be deleted")
    machine: MachineStorage | None = Field(None, description="For a token of all accounts")
    agents: list[AgentStorage] | None = Field(
        None, description="Those that are online; for a token of all accounts"
    )


def add_routes(app: web.Application) -> None:
    add_operations(app, [show_storage])


@operation(
    "GET",
    "/api/storage",
    tag="Operations",
    summary="Show what uses how much, by project and kind",
    right=Right.READ,
)
async def show_storage(request: web.Request, principal: Principal) -> StorageShown:
    """Logs and artifacts as they were counted; the same bytes twice in an account are there once,
    and count for both."""
    found = await storage_usage(request.app[CORE], principal)
    machine = found.machine
    return StorageShown(
        enforced=await request.app[RETENTION].is_enforced(),
        projects=[
            ProjectStorage(
                id=one.id,
                account=one.account,
                slug=one.slug,
                builds=one.builds,
                log_bytes=one.log_bytes,
                artifact_bytes=one.artifact_bytes,
                lfs_bytes=one.lfs_bytes,
                repository_bytes=found.repositories[one.id],
                keeping_builds=one.keeping_builds,
                garbage_bytes=found.garbage[one.id],
            )
            for one in found.projects
        ],
        waiting_objects=found.waiting,
        machine=None
        if machine is None
        else MachineStorage(
            free_bytes=machine.free, total_bytes=machine.total, database_bytes=machine.database
        ),
        agents=_agents(request) if machine else None,
    )


def _agents(request: web.Request) -> list[AgentStorage]:
    return [
        AgentStorage(
            id=one.agent_id,
            name=one.name,
            free_bytes=one.disk.free,
            total_bytes=one.disk.total,
            floor_bytes=one.disk.floor,
        )
        for one in request.app[DISPATCH].online()
        if one.disk is not None
    ]
