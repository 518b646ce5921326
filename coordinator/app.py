"""The composition root: adapters, services, routes and background tasks of one coordinator."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from aiohttp import web

from coordinator.api.builds import overview
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
    BUILDS,
    CORE,
    CREDENTIALS,
    DEFAULT_BRANCHES,
    DELETIONS,
    DELIVERIES,
    DEPLOYMENTS,
    DISPATCH,
    DOWNLOADS,
    GIT,
    HEALTH,
    IMAGE_SLUGS,
    KEYED_REQUESTS,
    LFS,
    LOGS,
    MODULES,
    NAMED_BUILDS,
    OUTPUT_BATCHES,
    PROJECT_CHANGES,
    PROJECTS,
    PUSH_RETRIES,
    REGISTRY_LOGINS,
    REPORTS,
    RETRIES,
    RUNNER,
    SECRETS,
    SESSIONS,
    SOURCE_BUILDS,
    SOURCE_PARTS,
    SOURCE_REFS,
    USERS,
)
from coordinator.api.http.middleware import answer_errors
from coordinator.api.http.page_visits import answer_browsers, sees
from coordinator.api.http.tracing import trace_requests
from coordinator.api.http.trouble import TROUBLES, Troubles
from coordinator.api.people import session, tokens, users
from coordinator.api.projects import registries, secrets
from coordinator.api.pushes import deliveries, git, lfs, webhooks
from coordinator.api.steps import agents, output_batches, runner, source_parts, steps, zips
from coordinator.api.upkeep import health
from coordinator.domain.image_builds.targets import DeployTarget
from coordinator.git.remote_lfs import HttpRemoteLfs
from coordinator.git.remotes import FetchLimits, GitRemotes
from coordinator.git.repositories import HostedRepositories
from coordinator.git.smart_http import GitHttpBackend
from coordinator.objects.blobs import ObjectBlobStore
from coordinator.objects.logs import ObjectLogStore
from coordinator.objects.stores import open_store, remove_staged
from coordinator.place import listen_socket, only_one, shown_host
from coordinator.reading.processes import ReadingProcesses
from coordinator.services.builds.build_timeouts import BuildTimeouts
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.deletions import Deletions
from coordinator.services.builds.forge_source import ForgeSource
from coordinator.services.builds.keyed_requests import KeyedRequests
from coordinator.services.builds.modules import Modules
from coordinator.services.builds.named_builds import NamedBuilds
from coordinator.services.builds.retries import Retries
from coordinator.services.core import Core, utc_now
from coordinator.services.deployments.deployments import Deployments, load_target, retire_older
from coordinator.services.deployments.image_sources import ImageSources
from coordinator.services.deployments.source_builds import SourceBuilds
from coordinator.services.images.image_slugs import ImageSlugs
from coordinator.services.keys import load_keys
from coordinator.services.logs.build_logs import BuildLogs
from coordinator.services.logs.logs import Logs
from coordinator.services.news import News
from coordinator.services.outputs.artifacts import Artifacts
from coordinator.services.outputs.batches import OutputBatches
from coordinator.services.outputs.downloads import Downloads
from coordinator.services.people.accounts import Accounts
from coordinator.services.people.logins import Logins
from coordinator.services.people.sessions import Sessions
from coordinator.services.people.users import Users
from coordinator.services.projects.credentials import Credentials
from coordinator.services.projects.project_changes import ProjectChanges
from coordinator.services.projects.projects import Projects
from coordinator.services.projects.registry_logins import RegistryLogins
from coordinator.services.projects.secrets import Secrets
from coordinator.services.pushes.begun_pushes import BegunPushes
from coordinator.services.pushes.default_branches import DefaultBranches
from coordinator.services.pushes.deliveries import Deliveries
from coordinator.services.pushes.ingest import Ingest
from coordinator.services.pushes.lfs import Lfs
from coordinator.services.pushes.push_retries import PushRetries
from coordinator.services.pushes.schedules import Schedules
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.fetched_objects import FetchedObjects
from coordinator.services.steps.leases import boot_seconds
from coordinator.services.steps.reports import Reports
from coordinator.services.steps.runner import Runner
from coordinator.services.steps.source_parts import SourceParts
from coordinator.services.steps.source_refs import SourceRefs
from coordinator.services.steps.step_specs import StepSpecs
from coordinator.services.upkeep.health import Health
from coordinator.services.upkeep.housekeeping import Housekeeping
from coordinator.settings import Settings
from coordinator.storage.database import Database
from coordinator.timer import Timer
from coordinator.web import pages

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Of a JSON body; logs, artifacts and pushes are streamed and have limits of their own."""
BACKLOG = 1024
"""Connections that the kernel keeps until we accept them."""
STOP_SECONDS = 10.0
HOUR_SECONDS = 3600.0
OBJECTS = "objects"
"""The folder of logs and artifacts, in the data folder."""
LEFTOVER_SECONDS = 5.0
"""The data folder is ours alone, so a lock in it that old is of a git that was killed."""


class CannotDeploy(Exception):
    """The deploy target that the settings name is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    core: Core
    accounts: Accounts
    projects: Projects
    image_slugs: ImageSlugs
    builds: Builds
    modules: Modules
    dispatch: Dispatch
    runner: Runner
    reports: Reports
    logs: Logs
    artifacts: Artifacts
    output_batches: OutputBatches
    push_retries: PushRetries
    default_branches: DefaultBranches
    credentials: Credentials
    deliveries: Deliveries
    registry_logins: RegistryLogins
    secrets: Secrets
    users: Users
    sessions: Sessions
    deletions: Deletions
    build_logs: BuildLogs
    named_builds: NamedBuilds
    lfs: Lfs
    source_parts: SourceParts
    source_refs: SourceRefs
    git: GitHttpBackend
    source_builds: SourceBuilds
    deployments: Deployments


async def run_coordinator(
    settings: Settings,
    *,
    ready: Callable[[str], None],
    stop: asyncio.Event,
    clock: Callable[[], float] = boot_seconds,
    now: Callable[[], datetime] = utc_now,
) -> None:
    """Serve until `stop` is set; `ready(url)` is called once requests are answered.

    `clock` gives the seconds by which offers, leases and agents' absence are measured, `now` the
    time of day.

    Raises DataFolderInUse, CannotListen, CannotDeploy, DatabaseUnusable.
    """
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.data.chmod(0o700)
    with only_one(settings.data), listen_socket(settings) as listening:
        port = listening.getsockname()[1]
        url = settings.public_url or f"http://{shown_host(settings.host)}:{port}"
        async with _services(settings, url, clock, now) as services:
            await _serve(services, listening, lambda: ready(url), stop)


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
    objects = services.core.settings.data / OBJECTS
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(services.dispatch.run(), name="dispatch"),
            tasks.create_task(services.push_retries.run(), name="pushes"),
            tasks.create_task(services.deliveries.run(), name="deliveries"),
            tasks.create_task(services.deletions.run(), name="deletions"),
            tasks.create_task(BuildTimeouts(services.core).run(), name="build timeouts"),
            tasks.create_task(Schedules(services.builds).run(), name="schedules"),
            tasks.create_task(remove_staged(objects, before=time.time()), name="staged objects"),
            tasks.create_task(_timer(services).run(), name="timer"),
        ]
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
    timer.every(HOUR_SECONDS, "forget answers", housekeeping.forget_answers)
    hour = services.core.settings.tidy_hour
    timer.daily(hour, "tidy repositories", housekeeping.tidy_repositories)
    return timer


@asynccontextmanager
async def _services(
    settings: Settings, url: str, clock: Callable[[], float], now: Callable[[], datetime]
) -> AsyncIterator[Services]:
    data = settings.data
    repositories = HostedRepositories(
        data / "repositories", max_input_bytes=settings.max_push_bytes
    )
    store = open_store(data / OBJECTS)
    keys = load_keys(data / "secret-key")
    database = await Database.open(
        data / "pushrod.db", busy_timeout_ms=int(settings.database_wait_seconds * 1000)
    )
    readings = ReadingProcesses()
    try:
        core = Core(
            database=database,
            repositories=repositories,
            remotes=_remotes(settings),
            logs=ObjectLogStore(store),
            blobs=ObjectBlobStore(store),
            readings=readings,
            news=News(),
            keys=keys,
            settings=settings,
            public_url=url,
            now=now,
        )
        dispatch, logs = Dispatch(core, clock), Logs(core)
        accounts = Accounts(core, Logins(core))
        ingest, credentials = Ingest(core, dispatch, BegunPushes(core)), Credentials(core)
        runner = Runner(core, dispatch, StepSpecs(core), on_begin=[partial(retire_older, core)])
        forge_source = ForgeSource(core, credentials)
        builds, sources = Builds(core, dispatch, forge_source), ImageSources(core)
        await accounts.write_admin_token(data / "admin-token")
        await repositories.remove_leftovers(older_than_seconds=LEFTOVER_SECONDS)
        await dispatch.load()
        yield Services(
            core=core,
            accounts=accounts,
            projects=Projects(core),
            image_slugs=ImageSlugs(core),
            builds=builds,
            modules=Modules(core, dispatch),
            dispatch=dispatch,
            runner=runner,
            reports=Reports(core, dispatch, logs, runner),
            logs=logs,
            artifacts=Artifacts(core),
            output_batches=OutputBatches(core),
            push_retries=PushRetries(core, ingest),
            default_branches=DefaultBranches(core, ingest),
            credentials=credentials,
            deliveries=Deliveries(core, ingest, forge_source),
            registry_logins=RegistryLogins(core),
            secrets=Secrets(core),
            users=Users(core, accounts),
            sessions=Sessions(core, accounts),
            deletions=Deletions(core),
            build_logs=BuildLogs(core),
            named_builds=NamedBuilds(core, builds),
            lfs=Lfs(core),
            source_parts=(
                parts := SourceParts(
                    core, runner, credentials, _remote_lfs(settings), FetchedObjects(core)
                )
            ),
            source_refs=SourceRefs(parts),
            git=GitHttpBackend(
                data / "repositories",
                max_processes=settings.git_processes,
                max_input_bytes=settings.max_push_bytes,
            ),
            source_builds=SourceBuilds(core, builds, sources),
            deployments=Deployments(core, builds, sources, _deploy_target(settings)),
        )
    finally:
        await readings.close()
        await database.close()


def _deploy_target(settings: Settings) -> DeployTarget:
    """Raises CannotDeploy."""
    try:
        return load_target(settings.deploy_target)
    except LookupError as error:
        raise CannotDeploy(str(error.args[0])) from error


def _remotes(settings: Settings) -> GitRemotes:
    return GitRemotes(
        settings.data / "repositories",
        settings.data / "fetching",
        policy=settings.remote_policy,
        limits=_fetch_limits(settings),
        known_hosts=settings.ssh_known_hosts,
    )


def _remote_lfs(settings: Settings) -> HttpRemoteLfs:
    return HttpRemoteLfs(policy=settings.remote_policy, limits=_fetch_limits(settings))


def _fetch_limits(settings: Settings) -> FetchLimits:
    return FetchLimits(
        seconds=settings.fetch_seconds,
        stalled_seconds=settings.fetch_stalled_seconds,
        max_bytes=settings.max_fetch_bytes,
    )


def make_app(services: Services) -> web.Application:
    app = web.Application(
        middlewares=[trace_requests, answer_errors], client_max_size=MAX_BODY_BYTES
    )
    cors.set_up(app, services.core.settings.cors_origins)
    build_execution_rules.set_up(app, services.core.settings.rate_limit)
    app[CORE] = services.core
    waits.set_up(app)
    app[CARRIED] = CarriedThrough()
    app[TROUBLES] = Troubles()
    app[HEALTH] = Health(services.core)
    app[ACCOUNTS] = services.accounts
    app[PROJECTS] = services.projects
    app[PROJECT_CHANGES] = ProjectChanges(services.core)
    app[IMAGE_SLUGS] = services.image_slugs
    app[BUILDS] = services.builds
    app[RETRIES] = Retries(services.builds)
    app[MODULES] = services.modules
    app[DISPATCH] = services.dispatch
    app[RUNNER] = services.runner
    app[REPORTS] = services.reports
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
    app.on_response_prepare.append(_harden)
    dialects = (build_server, build_execution, build_synthesis, image_builds)
    of_accounts = (registries, secrets, session, tokens, users)
    of_projects = (deliveries, git, lfs, overview, steps, webhooks, zips)
    of_agents = (agents, health, output_batches, runner, source_parts)
    for module in (*dialects, *of_accounts, *of_projects, *of_agents, reference):
        module.add_routes(app)
    answer_browsers(app, pages.add_routes(app, sees))
    return app


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    """No browser guesses a type, and no cache keeps what a token showed."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
