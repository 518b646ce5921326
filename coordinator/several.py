"""A coordinator that has others beside it: what it does while it leads, and while another does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from coordinator.adapters import database_place, logs_beside
from coordinator.api.http.connections import OpenConnections
from coordinator.api.http.context import DISPATCH
from coordinator.beside import make_core, new_home, open_desk_app
from coordinator.composition import Services
from coordinator.peers.among import Term
from coordinator.peers.desk import Leader, serving
from coordinator.peers.door import take_passed
from coordinator.peers.home_life import HomeLife
from coordinator.peers.lead import Lead
from coordinator.peers.log_taking import LogPlace, LogTaking
from coordinator.peers.to_homes import ToHomes
from coordinator.peers.told import heard_by_the_leader, missed_by_the_leader
from coordinator.peers.upstream import Upstream
from coordinator.peers.words import Words, hear_words
from coordinator.services.keys import Keys
from coordinator.serving import Background, serve
from coordinator.settings import Settings
from coordinator.storage.postgresql import Candidate, PostgresPlace

log = structlog.get_logger()


@asynccontextmanager
async def others_of(settings: Settings, candidate: Candidate | None) -> AsyncIterator[Words | None]:
    """Of one that begins to lead; None where it is alone."""
    place = database_place(settings)
    if candidate is None or isinstance(place, Path):
        yield None
        return
    words = Words(place, candidate.holder, leads=True)
    try:
        yield words
    finally:
        await words.close()


async def lead(
    services: Services,
    app: web.Application,
    background: Background,
    listening: socket.socket,
    term: Term,
) -> None:
    """For one term."""
    core, place = services.core, database_place(services.core.settings)
    if isinstance(place, Path):
        raise RuntimeError("a file has one coordinator")
    candidate, dispatch = term.candidate, services.dispatch
    life = HomeLife(place, candidate.holder, candidate.address, dispatch, leads=True)
    app.middlewares.insert(0, term.lead.answers)
    # Within what answers errors: it asks the database, too.
    app.middlewares.append(ToHomes(life, term.upstream).pass_on)

    async def beside(
        server: web.Server, connections: OpenConnections, options: Mapping[str, Any]
    ) -> None:
        number = await term.lead.until_ours()
        await take_passed(term.door, term.keys, number, server, connections, **options)

    hears = {**dispatch.hears(), **heard_by_the_leader(core)}
    missed = missed_by_the_leader(core, dispatch.wake_here)
    background = {
        **background,
        "words": hear_words(place, candidate.holder, hears, missed),
        "home": life.run(core.database),
    }
    await term.lead.look()  # the first since we have begun: nobody is answered before
    try:
        await serve(
            services, app, background, listening.dup(), term.serving, term.stop, beside=beside
        )
    finally:
        await life.leave()


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What a coordinator needs to serve logs and agents while another leads."""

    settings: Settings
    place: PostgresPlace
    url: str
    door: socket.socket
    """Where the others pass requests on to it."""
    address: str
    clock: Callable[[], float]
    now: Callable[[], datetime]

    def taking(self, lead: Lead, keys: Keys, upstream: Upstream) -> LogTaking:
        home = new_home()
        return LogTaking(
            lead,
            keys,
            lambda: self._opened(home, keys, upstream),
            upstream,
            max_log_bytes=self.settings.max_log_bytes,
            idle_seconds=self.settings.idle_seconds,
        )

    @asynccontextmanager
    async def _opened(self, home: str, keys: Keys, upstream: Upstream) -> AsyncIterator[LogPlace]:
        async with AsyncExitStack() as stack:
            database, logs = await stack.enter_async_context(
                logs_beside(self.settings, self.place, home)
            )
            words = Words(self.place, home, leads=False)
            stack.push_async_callback(words.close)
            core = make_core(self.settings, self.url, self.now, database, logs, keys, words)
            app = await stack.enter_async_context(open_desk_app(core, self.clock))
            dispatch = app[DISPATCH]
            life = HomeLife(self.place, home, self.address, dispatch, leads=False)
            stack.push_async_callback(life.leave)
            await life.first_look()
            await dispatch.load_own(home)
            app.middlewares.append(ToHomes(life, upstream).pass_on)
            desk = await stack.enter_async_context(
                serving(app, Leader(upstream), idle_seconds=self.settings.idle_seconds)
            )
            working = _begun(
                dispatch.run_beside(),
                life.run(database),
                hear_words(self.place, home, dispatch.hears(), dispatch.wake_here),
                take_passed(self.door, keys, home, desk.server, desk.connections, **desk.options),
            )
            stack.push_async_callback(_ended, working)
            stack.callback(core.news.close)
            yield LogPlace(database=database, logs=logs, others=words, desk=desk)


def _begun(*work: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(one) for one in work]
    for task in tasks:
        task.add_done_callback(_tell_end)
    return tasks


def _tell_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("serving agents beside the leader has ended", exc_info=error)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
