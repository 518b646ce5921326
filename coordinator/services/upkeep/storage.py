"""What uses how much: by project and kind, from counters where there are some."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.core import Core
from coordinator.storage.upkeep import usage as stored
from coordinator.storage.upkeep.usage import ProjectUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUsage:
    """Of the machine that the coordinator is on, and of its database, in bytes."""

    free: int
    total: int
    database: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageUsage:
    projects: Sequence[ProjectUsage]
    repositories: Mapping[str, int]
    """By project, in bytes: their folders are walked."""
    garbage: Mapping[str, int]
    """By project, in bytes: put aside, to be deleted days later; part of the repository's."""
    machine: MachineUsage | None
    """For those who see all accounts."""
    waiting: int
    """Objects of deleted things that are still to be deleted."""


async def storage_usage(core: Core, principal: Principal) -> StorageUsage:
    principal.require(Right.READ)
    projects, waiting = await core.database.read(
        lambda connection: stored.usage_of_projects(connection, principal.account_id)
    )
    repositories = {one.id: await core.repositories.size(one.id) for one in projects}
    garbage = {one.id: await core.repositories.garbage_bytes(one.id) for one in projects}
    of_all = principal.account_id is None
    machine = await _machine(core) if of_all else None
    return StorageUsage(
        projects=projects,
        repositories=repositories,
        garbage=garbage,
        machine=machine,
        waiting=waiting,
    )


async def _machine(core: Core) -> MachineUsage:
    disk = await asyncio.to_thread(os.statvfs, core.settings.data)
    return MachineUsage(
        free=disk.f_bavail * disk.f_frsize,
        total=disk.f_blocks * disk.f_frsize,
        database=await core.database.size(),
    )
