"""One coordinator: its routes, its background tasks, from its start to its end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from coordinator.api.builds import overview, results
from coordinator.api.dialects import (
    build_execution,
    build_execution_rules,
    build_server,
    build_synthesis,
    image_builds,
)
from coordinator.api.http import cors, reference, waits
from coordinator.api.http.carried import CARRIED, CarriedThrough
from coordinator.api.http.connections import (
    Connection,
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
from coordinator.api.http.page_visits import answer_browsers, sees
from coordinator.api.http.tracing import trace_requests
from coordinator.api.http.trouble import TROUBLES, Troubles
from coordinator.api.http.unknown_members import tell_ignored
from coordinator.api.outbox import badges, forge_setup, messages, notifications
from coordinator.api.people import session, tokens, users
from coordinator.api.projects import registries, secrets
from coordinator.api.pushes import deliveries, git, lfs, webhooks
from coordinator.api.steps import (
    agents,
    gates,
    output_batches,
    runner,
    source_parts,
    steps,
    why,
    zips,
)
from coordinator.api.upkeep import health, metrics, retention, storage
from coordinator.composition import Services, open_services
from coordinator.objects.stores import remove_staged
from coordinator.place import listen_socket, listen_socket_at, only_one, shown_host
from coordinator.services.builds.build_results import BuildResults
from coordinator.services.builds.build_timeouts import BuildTimeouts
from coordinator.services.builds.build_traces import BuildTraces
from coordinator.services.builds.keyed_requests import KeyedRequests
from coordinator.services.builds.late_steps import LateSteps
from coordinator.services.builds.retries import Retries
from coordinator.services.core import utc_now
from coordinator.services.outbox.pictures import Pictures
from coordinator.services.outputs.downloads import Downloads
from coordinator.services.projects.project_changes import ProjectChanges
from coordinator.services.pushes.schedules import Schedules
from coordinator.services.steps.gates import Gates
from coordinator.services.steps.leases import boot_seconds
from coordinator.services.steps.why import WhySteps
from coordinator.services.upkeep.health import Health
from coordinator.services.upkeep.housekeeping import Housekeeping
from coordinator.settings import Settings
from coordinator.timer import Timer
from coordinator.web import pages
from pipelines_schema.spans import Emit

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Of a JSON body; logs, artifacts and pushes are streamed and have limits of their own."""
BACKLOG = 1024
"""Connections that the kernel keeps until we accept them."""
STOP_SECONDS = 10.0
HOUR_SECONDS = 3600.0


async def run_coordinator(
    settings: Settings,
    *,
    ready: Callable[[str], None],
    stop: asyncio.Event,
    clock: Callable[[], float] = boot_seconds,
    now: Callable[[], datetime] = utc_now,
    emit: Emit | None = None,
) -> None:
    """Serve until `stop` is set; `ready(url)` is called once requests are answered.

    `clock` gives the seconds by which offers, leases and agents' absence are measured, `now` the
    time of day. `emit` takes the spans of builds that end.

    Raises DataFolderInUse, CannotListen, CannotDeploy, DatabaseUnusable, ObjectsUnusable.
    """
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.data.chmod(0o700)
    with only_one(settings.data), listen_socket(settings) as listening:
        port = listening.getsockname()[1]
        url = settings.public_url or f"http://{shown_host(settings.host)}:{port}"
        async with open_services(settings, url, clock, now, emit) as services:
            await _serve(services, listening, lambda: ready(url), stop)


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
            tasks.create_task(_serve(services, listening, ready.set, stop), name="coordinator")
            await ready.wait()
            try:
                yield services
            finally:
                stop.set()


async def _serve(
    services: Services, listening: socket.socket, ready: Callable[[], None], stop: asyncio.Event
) -> None:
    app = make_app(services)
    app_runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=2.0,
    )
    await app_runner.setup()
    objects = services.core.settings.objects_location
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(services.dispatch.run(), name="dispatch"),
            tasks.create_task(services.push_retries.run(), name="pushes"),
            tasks.create_task(services.deliveries.run(), name="deliveries"),
            tasks.create_task(services.sender.run(), name="outbox"),
            tasks.create_task(services.deletions.run(), name="deletions"),
            tasks.create_task(services.sweeping.run(), name="retention"),
            tasks.create_task(BuildTimeouts(services.core).run(), name="build timeouts"),
            tasks.create_task(
                LateSteps(services.core, services.dispatch.wake).run(), name="late steps"
            ),
            tasks.create_task(Schedules(services.builds).run(), name="schedules"),
            tasks.create_task(BuildTraces(services.core).run(), name="traces"),
            tasks.create_task(services.followings.run(), name="followings"),
            tasks.create_task(_timer(services).run(), name="timer"),
            tasks.create_task(_end_when_taken_over(services, stop), name="database"),
        ]
        if isinstance(objects, Path):
            staged = remove_staged(objects, before=time.time())
            background.append(tasks.create_task(staged, name="staged objects"))
        async with _accepting(app_runner, listening, services.core.settings.idle_seconds):
            ready()
            await stop.wait()
            services.core.news.close()
        await app_runner.cleanup()
        for task in background:
            task.cancel()
    async with asyncio.timeout(STOP_SECONDS):
        await app[CARRIED].drain()
        await services.source_refs.close()
        await services.source_parts.close()
        await services.git.close()
        await services.reports.drain()
    if (taken_over := services.core.database.taken_over).done():
        raise taken_over.result()


async def _end_when_taken_over(services: Services, stop: asyncio.Event) -> None:
    # Shielded: to cancel this task is not to cancel what others look at.
    await asyncio.shield(services.core.database.taken_over)
    stop.set()


@asynccontextmanager
async def _accepting(
    app_runner: web.AppRunner, listening: socket.socket, idle_seconds: float
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
        try:
            yield
        finally:
            serving.close()


def _timer(services: Services) -> Timer:
    housekeeping = Housekeeping(services.core)
    timer = Timer()
    timer.every(HOUR_SECONDS, "forget deliveries", housekeeping.forget_deliveries)
    timer.every(HOUR_SECONDS, "forget messages", housekeeping.forget_messages)
    timer.every(HOUR_SECONDS, "forget answers", housekeeping.forget_answers)
    hour = services.core.settings.tidy_hour
    timer.daily(hour, "tidy repositories", housekeeping.tidy_repositories)
    return timer


def make_app(services: Services) -> web.Application:
    app = web.Application(
        middlewares=[trace_requests, count_requests, answer_errors], client_max_size=MAX_BODY_BYTES
    )
    cors.set_up(app, services.core.settings.cors_origins)
    build_execution_rules.set_up(app, services.core.settings.rate_limit)
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
    app[SECRETS] = services.secrets
    app[KEYED_REQUESTS] = KeyedRequests(services.core)
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
    dialects = (build_server, build_execution, build_synthesis, image_builds)
    of_accounts = (registries, secrets, session, tokens, users)
    of_projects = (
        badges,
        deliveries,
        forge_setup,
        gates,
        why,
        git,
        lfs,
        messages,
        notifications,
        overview,
        results,
        retention,
        steps,
        storage,
        webhooks,
        zips,
    )
    of_agents = (agents, health, metrics, output_batches, runner, source_parts)
    for module in (*dialects, *of_accounts, *of_projects, *of_agents, reference):
        module.add_routes(app)
    answer_browsers(app, pages.add_routes(app, sees))
    return app


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    """No browser guesses a type, and no cache keeps what a token showed."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
