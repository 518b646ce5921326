"""That this coordinator is there for the agents that are at it, and which others are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from coordinator.domain.steps.scheduling import AgentDisk, WaitingAgent
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.homes import GONE_SECONDS, Home, HomeRows
from coordinator.storage.postgresql import PostgresPlace, cannot_use, words_of
from coordinator.storage.steps.steps import homes_with_steps
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

T = TypeVar("T")
LOOK_SECONDS = 1.0
SAY_SECONDS = 2.0
"""At least between two tellings of what our agents are."""


class HomeLife:
    """`run` it, and `leave` at the end."""

    def __init__(
        self, place: PostgresPlace, home: str, address: str, dispatch: Dispatch, *, leads: bool
    ) -> None:
        self._place, self._rows = place, HomeRows(place)
        self._home, self._address = home, address
        self._dispatch, self._leads = dispatch, leads
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="home")
        self._others: dict[str, Home] = {}
        self._agents: dict[str, tuple[int, Sequence[WaitingAgent]]] = {}
        """Of each of them, with the version of that."""
        self._said: Sequence[WaitingAgent] = ()
        self._said_at = float("-inf")
        self._missing: dict[str, float] = {}
        """Homes of which there is no row, and since when."""

    async def address_of(self, home: str) -> str | None:
        """None where it is not there, or ours."""
        if home not in self._others and home != self._home:
            with suppress(DBAPIError):  # it may have come just now
                await self._look()
        other = self._others.get(home)
        return other.address if other is not None and other.is_there else None

    async def first_look(self) -> None:
        """Raises DatabaseUnusable."""
        try:
            await self._look()
        except DBAPIError as error:
            raise cannot_use(self._place, error) from error

    async def run(self, database: Database) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._look()
                if self._leads:
                    await self._take_what_is_left(database)
            except DBAPIError as error:
                self._others.clear()
                log.warning("other coordinators are not seen", problem=words_of(error))
            except Exception as error:  # a task root: it looks again
                tell_fault(log, "looking at other coordinators failed", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def leave(self) -> None:
        """Nobody waits for us: our agents are anybody's."""
        try:
            with suppress(DBAPIError):
                await self._ask(partial(self._rows.forget, self._home))
        finally:
            await asyncio.to_thread(self._thread.shutdown)
            self._rows.close()

    async def _look(self) -> None:
        agents = self._changed()
        changed = None if agents is None else json.dumps([_to_json(one) for one in agents])
        known = {name: version for name, (version, _) in self._agents.items()}
        found = await self._ask(partial(self._rows.turn, self._home, self._address, changed, known))
        if agents is not None:
            self._said, self._said_at = agents, asyncio.get_running_loop().time()
        self._others = {one.name: one for one in found}
        self._agents = {one.name: self._agents_of(one) for one in found}
        there = [agent for one in found if one.is_there for agent in self._agents[one.name][1]]
        self._dispatch.see_elsewhere(there)

    def _changed(self) -> Sequence[WaitingAgent] | None:
        """What our agents are, where that is to be said anew. It is told in full, so not each time
        that one of a thousand has a slot more."""
        now, agents = asyncio.get_running_loop().time(), list(self._dispatch.here())
        if agents == self._said or now - self._said_at < SAY_SECONDS:
            return None
        return agents

    def _agents_of(self, home: Home) -> tuple[int, Sequence[WaitingAgent]]:
        if home.agents is None:  # said before; where a look between has lost it, asked for anew
            return self._agents.get(home.name, (-1, ()))
        return home.version, [_from_json(one) for one in json.loads(home.agents)]

    async def _take_what_is_left(self, database: Database) -> None:
        """Of homes that are gone: agents that were heard of nowhere else since."""
        gone = [one.name for one in self._others.values() if one.is_gone]
        for name in gone:
            ended = await self._ask(partial(self._rows.put_out, name))
            log.warning("a coordinator is gone", home=name, ended_sessions=ended)
        for name in [*gone, *await self._without_a_row(database)]:
            taken = await self._dispatch.homes.take_all_of(name)
            log.info("agents of a coordinator that is gone are at this one", agents=taken)
        for name in gone:
            await self._ask(partial(self._rows.forget, name))

    async def _without_a_row(self, database: Database) -> Sequence[str]:
        """Homes that have no row for GONE_SECONDS, and whose agents have steps."""

        async def read(connection: AsyncConnection) -> Collection[str]:
            return await homes_with_steps(connection)

        known = {self._home, *self._others}
        now = asyncio.get_running_loop().time()
        found = {name for name in await database.read(read) if name not in known}
        self._missing = {name: self._missing.get(name, now) for name in found}
        return [name for name, since in self._missing.items() if now - since > GONE_SECONDS]

    async def _ask(self, ask: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)


def _to_json(said: WaitingAgent) -> dict[str, Any]:
    disk = said.disk
    return {
        "id": said.agent_id,
        "account": said.account_id,
        "labels": dict(said.labels),
        "free": said.free,
        "warm": sorted(said.warm),
        "capabilities": sorted(said.capabilities),
        "paused": said.paused,
        "name": said.name,
        "disk": None if disk is None else [disk.free, disk.total, disk.floor],
    }


def _from_json(said: dict[str, Any]) -> WaitingAgent:
    disk = said["disk"]
    return WaitingAgent(
        agent_id=said["id"],
        account_id=said["account"],
        labels=said["labels"],
        free=said["free"],
        warm=frozenset(said["warm"]),
        capabilities=frozenset(said["capabilities"]),
        paused=said["paused"],
        name=said["name"],
        disk=None if disk is None else AgentDisk(free=disk[0], total=disk[1], floor=disk[2]),
    )
