"""Groups of builds, of which one is on its way: the newest of the others waits in line."""

from __future__ import annotations

from dataclasses import replace

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build
from coordinator.services.builds.cancels import cancel_build
from coordinator.services.core import Core
from coordinator.storage.builds import groups
from coordinator.storage.connection import AsyncConnection


async def joined(core: Core, connection: AsyncConnection, build: Build) -> Build:
    """The build as a member of its group, `in_line` where another is on its way.

    One that was in line is superseded by it; so is one on its way, if the new one says so: then it
    begins when the other has ended, clean-up included. A held or ended build joins nothing.
    """
    if build.concurrency_group is None or build.state is not BuildState.QUEUED:
        return build
    superseded = f"superseded by #{build.number}"
    # Those in line first: else the end of the one on its way would let them begin.
    for waiting in [one for one in await _others(connection, build) if one.in_line]:
        await cancel_build(
            core, connection, waiting.id, by=f"#{build.number}", reason=superseded, again=True
        )
    if build.cancel_running:
        for running in await _others(connection, build):
            if running.reason is None:  # or it is being cancelled already
                await cancel_build(
                    core, connection, running.id, by=f"#{build.number}", reason=superseded
                )
    return replace(build, in_line=bool(await _others(connection, build)))


async def _others(connection: AsyncConnection, build: Build) -> list[Build]:
    group = build.concurrency_group or ""
    found = await groups.of_group(connection, build.project_id, group)
    return [one for one in found if one.id != build.id]
