"""What an agent asks of a coordinator that it is not at goes to the one that it is at."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

from coordinator.api.http.context import ACCOUNTS, CORE, DISPATCH
from coordinator.domain.errors import CoordinatorError
from coordinator.peers.home_life import HomeLife
from coordinator.peers.relay import PASSED_ON, NoAnswer, relayed
from coordinator.peers.upstream import Upstream
from coordinator.storage.people import accounts as stored

log = structlog.get_logger()

AGENTS_PATH = re.compile(
    r"/api/(?:agents/(?:poll|renew|goodbye)|runner/[0-9a-f-]{36}/(?:accept|complete))", re.ASCII
)
"""Of what an agent asks by its own credential, and only its home can answer well."""


def bearer_of(request: web.Request) -> str | None:
    """The token that it names so."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class ToHomes:
    """One whose home does not answer is taken by whoever it asks."""

    life: HomeLife
    upstream: Upstream

    @web.middleware
    async def pass_on(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        if request.method == "POST" and AGENTS_PATH.fullmatch(request.rel_url.raw_path):
            home = await self._elsewhere(request)
            there = None if home is None else await self.life.address_of(home)
            if home is not None and there is not None:
                try:
                    return await self._relayed(request, home, there)
                except (NoAnswer, OSError, TimeoutError) as error:
                    log.info("an agent's home does not answer", home=home, problem=repr(error))
        return await handler(request)

    async def _elsewhere(self, request: web.Request) -> str | None:
        """The agent's home, where it is not known here."""
        token = bearer_of(request)
        if PASSED_ON in request.headers or token is None:
            return None
        try:
            principal = await request.app[ACCOUNTS].authenticate(token)
        except CoordinatorError:
            return None  # as its handler will say
        agent_id = principal.agent_id
        if agent_id is None or request.app[DISPATCH].is_here(agent_id):
            return None
        return await request.app[CORE].database.read(
            lambda connection: stored.home_of(connection, agent_id)
        )

    async def _relayed(self, request: web.Request, home: str, there: str) -> web.Response:
        """Raises NoAnswer, OSError, TimeoutError."""
        body = await request.read()
        connection = await self.upstream.reach_home(home, there, request.remote or "")
        return await relayed(request, body, connection)
