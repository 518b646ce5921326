"""The coordinator of one build on one machine: it answers what such a build asks, and no more.

Nobody waits for what it need not import: no page, no webhooks, no dialects but the one that the
command line speaks (ADR 64).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from coordinator.api.dialects import build_server
from coordinator.api.steps import agents, gates, output_batches, runner, source_parts, steps
from coordinator.composition import Services, open_services
from coordinator.place import listen_socket_at, only_one
from coordinator.services.builds.build_timeouts import BuildTimeouts
from coordinator.services.builds.late_steps import LateSteps
from coordinator.services.core import utc_now
from coordinator.services.steps.leases import boot_seconds
from coordinator.serving import Background, make_app, serve
from coordinator.settings import Settings


@asynccontextmanager
async def coordinator_at(settings: Settings, url: str, path: Path) -> AsyncIterator[Services]:
    """One that listens on the socket at `path` alone, and serves while the block runs; `url` is but
    its name. Raises as `run_coordinator` does."""
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with only_one(settings.data), listen_socket_at(path) as listening:
        async with (
            open_services(settings, url, boot_seconds, utc_now) as services,
            asyncio.TaskGroup() as tasks,
        ):
            ready, stop = asyncio.Event(), asyncio.Event()
            serving = serve(
                services, _app(services), _background(services), listening, ready.set, stop
            )
            tasks.create_task(serving, name="coordinator")
            await ready.wait()
            try:
                yield services
            finally:
                stop.set()


def _background(services: Services) -> Background:
    core = services.core
    return {
        "dispatch": services.dispatch.run(),
        "build timeouts": BuildTimeouts(core).run(),
        "late steps": LateSteps(core, services.dispatch.wake).run(),
    }


def _app(services: Services) -> web.Application:
    app = make_app(services)
    for module in (build_server, gates, steps, agents, output_batches, runner, source_parts):
        module.add_routes(app)
    return app
