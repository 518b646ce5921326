"""Builds that end are told as traces, from what the database has of them: nobody waits for that."""

from __future__ import annotations

import asyncio

import structlog

from coordinator.domain.builds.traces import spans_of
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.projects import project_names
from coordinator.storage.steps.attempts import attempts_of_build
from coordinator.storage.trouble import tell_fault
from pipelines_schema.spans import Emit, Span

log = structlog.get_logger()

MAX_WAITING = 1000
"""Builds that ended and are not told yet; of more the trace is left out."""


class BuildTraces:
    def __init__(self, core: Core) -> None:
        """Enters itself where builds end, if somebody takes spans."""
        self._core = core
        self._ended: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        if core.emit is not None:
            core.announcements.ended = self._note

    def _note(self, build_id: str) -> None:
        try:
            self._ended.put_nowait(build_id)
        except asyncio.QueueFull:
            log.warning("a build's trace is left out", build=build_id)

    async def run(self) -> None:
        while True:
            build_id = await self._ended.get()
            if self._core.emit is None:
                continue
            try:
                await self._tell(build_id, self._core.emit)
            except Exception as error:  # a task root: a build without a trace is no worse
                tell_fault(log, "telling a build's trace failed", error, build=build_id)

    async def _tell(self, build_id: str, emit: Emit) -> None:
        async def read(connection: AsyncConnection) -> list[Span]:
            build = await stored.find_build(connection, build_id)
            if build is None:
                return []
            names = await project_names(connection, {build.project_id})
            steps = await stored.steps_of_build(connection, build_id)
            attempts = await attempts_of_build(connection, build_id)
            return list(spans_of(build, names[build.project_id], steps, attempts))

        for span in await self._core.database.read(read):
            emit(span)
