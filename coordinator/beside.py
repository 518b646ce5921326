"""What a coordinator works with while another leads: the services of agents that are at it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, NoReturn, cast

from aiohttp import web

from coordinator.api.http import waits
from coordinator.api.http.carried import CARRIED, CarriedThrough
from coordinator.api.http.context import ACCOUNTS, CORE, DISPATCH, REPORTS, RUNNER
from coordinator.api.http.operations import add_operations
from coordinator.api.http.trouble import TROUBLES, Troubles
from coordinator.api.steps import agents, runner
from coordinator.objects.logs import ObjectLogStore
from coordinator.peers.told import ToldMeter, ToldNews, told_announcements
from coordinator.services.core import Core
from coordinator.services.deployments.deployments import retire_older
from coordinator.services.keys import Keys
from coordinator.services.logs.folding import Folding
from coordinator.services.logs.logs import Logs
from coordinator.services.others import LeftToTheLeader, Others
from coordinator.services.people.accounts import Accounts
from coordinator.services.people.logins import Logins
from coordinator.services.steps.begun_with_polls import BegunWithPolls
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.reports import Reports
from coordinator.services.steps.runner import Runner
from coordinator.services.steps.step_specs import StepSpecs
from coordinator.settings import Settings
from coordinator.storage import generations as stored_generations
from coordinator.storage.database import Database

MAX_BODY_BYTES = 8 * 1024 * 1024


class _WithTheLeader:
    """In the place of what only a leader has: whoever asks for it has the leader answer."""

    def __getattr__(self, name: str) -> NoReturn:
        raise LeftToTheLeader(name)


def new_home() -> str:
    """A name for one time that this coordinator serves agents beside a leader."""
    return secrets.token_hex(8)


def make_core(
    settings: Settings,
    url: str,
    now: Callable[[], datetime],
    database: Database,
    logs: ObjectLogStore,
    keys: Keys,
    others: Others,
) -> Core:
    absent = cast("Any", _WithTheLeader())
    return Core(
        database=database,
        repositories=absent,
        remotes=absent,
        logs=logs,
        blobs=absent,
        readings=absent,
        news=ToldNews(others),
        keys=keys,
        settings=settings,
        public_url=url,
        announcements=told_announcements(others),
        meter=ToldMeter(others),
        now=now,
        others=others,
    )


@asynccontextmanager
async def open_desk_app(core: Core, clock: Callable[[], float]) -> AsyncIterator[web.Application]:
    """What answers agents, and hands out; to be served meanwhile."""
    absent = cast("Any", _WithTheLeader())
    core.generations.current = await core.database.read(stored_generations.newest_generation)
    dispatch, folding = Dispatch(core, clock), Folding(core)
    worker = Runner(core, dispatch, StepSpecs(core), on_begin=[partial(retire_older, core)])
    dispatch.begin_with_polls(BegunWithPolls(core, worker))
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[CORE] = core
    waits.set_up(app)
    app[CARRIED], app[TROUBLES] = CarriedThrough(), Troubles()
    app[ACCOUNTS], app[DISPATCH], app[RUNNER] = Accounts(core, Logins(core)), dispatch, worker
    app[REPORTS] = Reports(core, dispatch, Logs(core), worker, absent, absent, absent, folding)
    add_operations(app, [agents.poll, agents.renew, agents.goodbye, runner.accept, runner.complete])
    try:
        yield app
    finally:
        core.news.close()
        await folding.drain()
