"""A build's timeout, whose clock stands still while one of its gates waits for an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from coordinator.domain.model import Build
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored
from coordinator.storage.builds import groups
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit


def started_clock(core: Core, connection: AsyncConnection, build: Build) -> dict[str, Any]:
    """The values of a build whose first step begins now."""
    if build.timeout_seconds is None:
        return {}
    if build.open_gates:
        return {"timeout_left": float(build.timeout_seconds)}
    return {"deadline": _deadline(core, connection, build.timeout_seconds)}


async def gate_opened(core: Core, connection: AsyncConnection, build_id: str) -> Build:
    """The build as it is then."""
    build = await _build(connection, build_id)
    values: dict[str, Any] = {"open_gates": build.open_gates + 1}
    if build.deadline is not None:
        left = (build.deadline - core.now()).total_seconds()
        values |= {"deadline": None, "timeout_left": max(left, 0.0)}
    await groups.set_clock(connection, build_id, **values)
    # The time for its answer may be the first that is over.
    after_commit(connection, core.announcements.ready)
    return replace(build, **values)


async def gate_closed(core: Core, connection: AsyncConnection, build_id: str) -> Build:
    """The build as it is then."""
    build = await _build(connection, build_id)
    values: dict[str, Any] = {"open_gates": build.open_gates - 1}
    if build.open_gates == 1 and build.timeout_left is not None:
        deadline = _deadline(core, connection, build.timeout_left)
        values |= {"deadline": deadline, "timeout_left": None}
    await groups.set_clock(connection, build_id, **values)
    return replace(build, **values)


async def _build(connection: AsyncConnection, build_id: str) -> Build:
    build = await stored.find_build(connection, build_id)
    if build is None:
        raise LookupError(f"no build {build_id}")
    return build


def _deadline(core: Core, connection: AsyncConnection, seconds: float) -> datetime:
    after_commit(connection, core.announcements.begun)
    return core.now() + timedelta(seconds=seconds)
