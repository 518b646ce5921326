"""What every coordinator that is served has in common, whatever it answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from coordinator.api.http import waits
from coordinator.api.http.carried import CARRIED, CarriedThrough
from coordinator.api.http.connections import (
    Connection,
    OpenConnections,
    connections_refused,
    end_when_gone,
    open_connections,
)
from coordinator.api.http.context import (
    ACCOUNTS,
    ARTIFACTS,
    BUILD_LOGS,
    BUILD_RESULTS,
    BUILDS,
    CORE,
    CREDENTIALS,
    DEFAULT_BRANCHES,
    DELETIONS,
    DELIVERIES,
    DEPLOYMENTS,
    DISPATCH,
    DOWNLOADS,
    FORGE_SETUP,
    FORGE_TOKENS,
    GATES,
    GIT,
    HEALTH,
    IMAGE_SLUGS,
    KEYED_REQUESTS,
    LAPTOP_RESULTS,
    LFS,
    LOGS,
    MODULES,
    NAMED_BUILDS,
    NOTIFICATIONS,
    OUTBOX,
    OUTPUT_BATCHES,
    PICTURES,
    PROJECT_CHANGES,
    PROJECTS,
    PUSH_RETRIES,
    REGISTRY_LOGINS,
    REGISTRY_TRIES,
    REPORTS,
    RETENTION,
    RETRIES,
    RUNNER,
    SECRETS,
    SESSIONS,
    SOURCE_BUILDS,
    SOURCE_PARTS,
    SOURCE_REFS,
    SWEEPING,
    USERS,
    WHY,
)
from coordinator.api.http.counting import count_requests
from coordinator.api.http.middleware import answer_errors
from coordinator.api.http.tracing import trace_requests
from coordinator.api.http.trouble import TROUBLES, Troubles
from coordinator.api.http.unknown_members import tell_ignored
from coordinator.composition import Services
from coordinator.place import BACKLOG
from coordinator.services.builds.build_results import BuildResults
from coordinator.services.builds.keyed_requests import KeyedRequests
from coordinator.services.builds.retries import Retries
from coordinator.services.outbox.pictures import Pictures
from coordinator.services.outputs.downloads import Downloads
from coordinator.services.projects.project_changes import ProjectChanges
from coordinator.services.steps.gates import Gates
from coordinator.services.steps.why import WhySteps
from coordinator.services.upkeep.health import Health

Beside = Callable[[web.Server, OpenConnections, Mapping[str, Any]], Coroutine[Any, Any, None]]
"""Gives the server connections, made with these options, until it is cancelled."""
Background = Mapping[str, Coroutine[Any, Any, None]]
"""Work by its name; it is ended with the serving."""
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Of a JSON body; logs, artifacts and pushes are streamed and have limits of their own."""
STOP_SECONDS = 10.0
HOUR_SECONDS = 3600.0


async def serve(
    services: Services,
    app: web.Application,
    background: Background,
    listening: socket.socket,
    ready: Callable[[], None],
    stop: asyncio.Event,
    *,
    beside: Beside | None = None,
) -> None:
    """Answer requests until `stop` is set, and do the work of the `background` meanwhile.

    `beside` takes connections from elsewhere, for as long.
    """
    app_runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=2.0,
    )
    await app_runner.setup()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work, name=name) for name, work in background.items()]
        running.append(tasks.create_task(_end_when_taken_over(services, stop), name="database"))
        idle_seconds = services.core.settings.idle_seconds
        async with _accepting(app_runner, listening, idle_seconds, beside):
            ready()
            await stop.wait()
            services.core.news.close()
        await app_runner.cleanup()
        for task in running:
            task.cancel()
    async with asyncio.timeout(STOP_SECONDS):
        await app[CARRIED].drain()
        await services.source_refs.close()
        await services.source_parts.close()
        await services.git.close()
        await services.folding.drain()
    if (taken_over := services.core.database.taken_over).done():
        raise taken_over.result()


async def _end_when_taken_over(services: Services, stop: asyncio.Event) -> None:
    # Shielded: to cancel this task is not to cancel what others look at.
    await asyncio.shield(services.core.database.taken_over)
    stop.set()


@asynccontextmanager
async def _accepting(
    app_runner: web.AppRunner,
    listening: socket.socket,
    idle_seconds: float,
    beside: Beside | None,
) -> AsyncIterator[None]:
    """As a web.SockSite does, with connections of our own kind."""
    loop, server = asyncio.get_running_loop(), app_runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")
    options: dict[str, Any] = {"access_log": None, "keepalive_timeout": idle_seconds}
    connections = open_connections()
    with connections_refused(connections):
        serving = await loop.create_server(
            lambda: Connection(server, connections, loop=loop, **options),
            sock=listening,
            # By which asyncio also means how many it accepts before it looks at anything else.
            backlog=connections.accepted_at_once,
        )
        listening.listen(BACKLOG)
        end_when_gone(listening)
        taking = asyncio.create_task(beside(server, connections, options)) if beside else None
        try:
            yield
        finally:
            serving.close()
            if taking is not None:
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)


def make_app(services: Services) -> web.Application:
    """One that answers nothing yet."""
    app = web.Application(
        middlewares=[trace_requests, count_requests, answer_errors], client_max_size=MAX_BODY_BYTES
    )
    app[CORE] = services.core
    waits.set_up(app)
    app[CARRIED] = CarriedThrough()
    app[TROUBLES] = Troubles()
    app[HEALTH] = Health(services.core)
    app[RETENTION] = services.retention
    app[SWEEPING] = services.sweeping
    app[ACCOUNTS] = services.accounts
    app[PROJECTS] = services.projects
    app[PROJECT_CHANGES] = ProjectChanges(services.core)
    app[IMAGE_SLUGS] = services.image_slugs
    app[BUILDS] = services.builds
    app[BUILD_RESULTS] = BuildResults(services.builds)
    app[RETRIES] = Retries(services.builds)
    app[MODULES] = services.modules
    app[DISPATCH] = services.dispatch
    app[RUNNER] = services.runner
    app[REPORTS] = services.reports
    app[GATES] = Gates(services.core, services.dispatch)
    app[WHY] = WhySteps(services.core)
    app[LOGS] = services.logs
    app[ARTIFACTS] = services.artifacts
    app[DOWNLOADS] = Downloads(services.core)
    app[OUTPUT_BATCHES] = services.output_batches
    app[PUSH_RETRIES] = services.push_retries
    app[DEFAULT_BRANCHES] = services.default_branches
    app[REGISTRY_LOGINS] = services.registry_logins
    app[REGISTRY_TRIES] = services.registry_tries
    app[SECRETS] = services.secrets
    app[KEYED_REQUESTS] = KeyedRequests(services.core)
    app[LAPTOP_RESULTS] = services.laptop_results
    app[LFS] = services.lfs
    app[SOURCE_PARTS] = services.source_parts
    app[SOURCE_REFS] = services.source_refs
    app[GIT] = services.git
    app[USERS] = services.users
    app[SESSIONS] = services.sessions
    app[DELETIONS] = services.deletions
    app[BUILD_LOGS] = services.build_logs
    app[NAMED_BUILDS] = services.named_builds
    app[CREDENTIALS] = services.credentials
    app[DELIVERIES] = services.deliveries
    app[SOURCE_BUILDS] = services.source_builds
    app[DEPLOYMENTS] = services.deployments
    app[FORGE_SETUP] = services.forge_setup
    app[FORGE_TOKENS] = services.forge_tokens
    app[NOTIFICATIONS] = services.notifications
    app[OUTBOX] = services.outbox
    app[PICTURES] = Pictures(services.core)
    app.on_response_prepare.append(_harden)
    app.on_response_prepare.append(tell_ignored)
    return app


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    """No browser guesses a type, and no cache keeps what a token showed."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
