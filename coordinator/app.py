"""One coordinator: its routes, its background tasks, from its start to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

from aiohttp import web

from coordinator.adapters import database_place
from coordinator.api.builds import laptop_results, overview, results
from coordinator.api.dialects import (
    build_execution,
    build_execution_rules,
    build_server,
    build_synthesis,
    image_builds,
)
from coordinator.api.http import cors, reference
from coordinator.api.http.page_visits import answer_browsers, sees
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
from coordinator.peers.among import Term, run_among_others
from coordinator.place import (
    listen_socket,
    only_one,
    peer_socket,
    refuse_moved,
    shown_address,
    shown_host,
)
from coordinator.reading.processes import ReadingProcesses
from coordinator.services.builds.build_timeouts import BuildTimeouts
from coordinator.services.builds.build_traces import BuildTraces
from coordinator.services.builds.late_steps import LateSteps
from coordinator.services.core import utc_now
from coordinator.services.keys import key_place
from coordinator.services.pushes.schedules import Schedules
from coordinator.services.steps.leases import boot_seconds
from coordinator.services.upkeep.garbage import Garbage
from coordinator.services.upkeep.housekeeping import Housekeeping
from coordinator.services.upkeep.unnamed_blobs import UnnamedBlobs
from coordinator.serving import Background, make_app, serve
from coordinator.settings import Settings
from coordinator.several import Beside, lead, others_of
from coordinator.timer import Timer
from coordinator.web import pages
from pipelines_schema.spans import Emit

HOUR_SECONDS = 3600.0
DAY_SECONDS = 24 * HOUR_SECONDS


async def run_coordinator(
    settings: Settings,
    *,
    ready: Callable[[str], None],
    stop: asyncio.Event,
    clock: Callable[[], float] = boot_seconds,
    now: Callable[[], datetime] = utc_now,
    emit: Emit | None = None,
    readings: ReadingProcesses | None = None,
    report_readings: ReadingProcesses | None = None,
) -> None:
    """Serve until `stop` is set; `ready(url)` is called once requests are answered.

    `clock` gives the seconds by which offers, leases and agents' absence are measured, `now` the
    time of day. `emit` takes the spans of builds that end. `readings`, and those of reports, are
    the caller's, who ends them; by default the coordinator has its own.

    Raises DataFolderInUse, CannotListen, CannotDeploy, DatabaseUnusable, KeyUnusable,
    ObjectsUnusable.
    """
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.data.chmod(0o700)
    with only_one(settings.data), listen_socket(settings) as listening:
        refuse_moved(settings)
        port = listening.getsockname()[1]
        url = settings.public_url or f"http://{shown_host(settings.host)}:{port}"

        async def work(term: Term | None) -> None:
            async with AsyncExitStack() as stack:
                candidate = term.candidate if term else None
                others = await stack.enter_async_context(others_of(settings, candidate))
                services = await stack.enter_async_context(
                    open_services(
                        settings,
                        url,
                        clock,
                        now,
                        emit,
                        readings,
                        candidate,
                        others,
                        report_readings,
                    )
                )
                app, background = _whole_app(services), _background(services)
                if term is None:
                    await serve(services, app, background, listening, lambda: ready(url), stop)
                else:
                    await lead(services, app, background, listening, term)

        place = database_place(settings)
        if settings.peer_listen is None or isinstance(place, Path):
            await work(None)
            return
        with peer_socket(settings) as door:
            address = settings.peer_address or shown_address(door)
            beside = Beside(
                settings=settings,
                place=place,
                url=url,
                door=door,
                address=address,
                clock=clock,
                now=now,
            )
            await run_among_others(
                place,
                key_place(settings),
                listening,
                door,
                address,
                wait_seconds=settings.database_wait_seconds,
                clock=clock,
                work=work,
                logs=beside.taking,
                ready=lambda: ready(url),
                stop=stop,
            )


def _background(services: Services) -> Background:
    core = services.core
    work = {
        "dispatch": services.dispatch.run(),
        "pushes": services.push_retries.run(),
        "deliveries": services.deliveries.run(),
        "outbox": services.sender.run(),
        "deletions": services.deletions.run(),
        "retention": services.sweeping.run(),
        "build timeouts": BuildTimeouts(core).run(),
        "late steps": LateSteps(core, services.dispatch.wake).run(),
        "schedules": Schedules(services.builds).run(),
        "traces": BuildTraces(core).run(),
        "followings": services.followings.run(),
        "marks of lists": core.list_marks.run(core.database),
        "timer": _timer(services).run(),
    }
    objects = core.settings.objects_location
    if isinstance(objects, Path):
        work["staged objects"] = remove_staged(objects, before=time.time())
    return work


def _timer(services: Services) -> Timer:
    housekeeping = Housekeeping(services.core)
    timer = Timer()
    timer.every(HOUR_SECONDS, "forget deliveries", housekeeping.forget_deliveries)
    timer.every(HOUR_SECONDS, "forget messages", housekeeping.forget_messages)
    timer.every(HOUR_SECONDS, "forget answers", housekeeping.forget_answers)
    timer.every(HOUR_SECONDS, "fold logs", services.folding.fold_what_is_left)
    stored = services.stored_repositories
    if stored is not None:
        timer.every(HOUR_SECONDS, "delete packs that are gone", stored.delete_gone)
    uploads = services.unfinished_uploads
    if uploads is not None:
        timer.every(DAY_SECONDS, "end uploads", partial(uploads.tidy, services.core.now))
    hour = services.core.settings.tidy_hour
    garbage = Garbage(services.core, services.retention, services.deletions)

    unnamed = UnnamedBlobs(services.core, services.retention, services.deletions)

    async def nightly() -> None:
        # One after the other: both rewrite packs.
        await housekeeping.tidy_repositories()
        await garbage.collect()
        if stored is not None:
            await stored.delete_strangers()
        await unnamed.collect()

    timer.daily(hour, "tidy repositories", nightly)
    return timer


def _whole_app(services: Services) -> web.Application:
    app = make_app(services)
    cors.set_up(app, services.core.settings.cors_origins)
    build_execution_rules.set_up(app, services.core.settings.rate_limit)
    dialects = (build_server, build_execution, build_synthesis, image_builds)
    of_accounts = (registries, secrets, session, tokens, users)
    of_projects = (
        badges,
        deliveries,
        forge_setup,
        gates,
        laptop_results,
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
