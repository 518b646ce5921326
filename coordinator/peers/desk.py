"""Where a coordinator that does not lead serves the agents that are at it.

It polls them, hands steps out to them, takes what they report and gives the next: by the same
services as the leader's, over rows that they lock. Whatever goes further (what others are told,
groups, results to be reused, an error of any kind) is undone here and sent on to the leader as it
came, whose answer is the answer. So there is one place for each rule, and nothing is half done.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from coordinator.api.http.carried import CARRIED
from coordinator.api.http.connections import Connection, OpenConnections, open_connections
from coordinator.api.http.error_shapes import error_answer
from coordinator.api.http.middleware import answer_errors, read_no_further
from coordinator.api.http.request_models import read_body
from coordinator.domain.errors import TooLarge, TooSlow
from coordinator.peers.relay import answer_of_leader
from coordinator.peers.to_homes import AGENTS_PATH, bearer_of
from coordinator.peers.upstream import Upstream
from coordinator.services.others import LeftToTheLeader
from coordinator.storage.database import DatabaseClosed, NotIsolated
from pipelines_schema.contract import FOR_AGENTS_ALONE

_BEGINS_AN_AGENTS = re.compile(b"POST " + AGENTS_PATH.pattern.encode() + b" ")
_LEFT_STATUS = 421
DRAIN_SECONDS = 10.0


def begins_an_agents(peeked: bytes) -> bool:
    """Whether so much of a connection's first request says that an agent asks."""
    return _BEGINS_AN_AGENTS.match(peeked) is not None


@dataclass(frozen=True, slots=True)
class Desk:
    server: web.Server
    connections: OpenConnections
    options: dict[str, Any]

    async def take(self, client: socket.socket) -> None:
        """The connection of a client. Raises OSError."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(self.server, self.connections, loop=loop, **self.options),
                client,
            )
        except BaseException:
            client.close()
            raise


@asynccontextmanager
async def serving(
    app: web.Application, leader: Leader, *, idle_seconds: float
) -> AsyncIterator[Desk]:
    """`app` answers what it can, and the leader the rest."""
    app.middlewares[:0] = [leader.answers_the_rest, answer_errors, _leaves]
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    options = {"access_log": None, "keepalive_timeout": idle_seconds}
    try:
        yield Desk(runner.server, open_connections(), options)
    finally:
        await runner.cleanup()
        async with asyncio.timeout(DRAIN_SECONDS):
            await app[CARRIED].drain()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Leader:
    upstream: Upstream

    @web.middleware
    async def answers_the_rest(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """An answer of ours that is none of success is not given."""
        response = await self._answer(request, handler)
        # A proxy sends other clients' requests by the connection of this one, and takes this word
        # of it out: it is between the two ends of one connection.
        if FOR_AGENTS_ALONE not in request.headers.get("Connection", ""):
            response.force_close()
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        if bearer_of(request) is not None:
            response = await handler(request)
            if response.status < 400:
                return response
        of_a_stranger = response is None or response.status == 401
        try:
            body = await read_body(request, of_a_stranger=of_a_stranger)
        except (TooSlow, TooLarge) as error:
            refused = error_answer(request, 408 if isinstance(error, TooSlow) else 413, str(error))
            read_no_further(request, refused)
            return refused
        return await answer_of_leader(request, body, self.upstream)


@web.middleware
async def _leaves(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (LeftToTheLeader, NotIsolated, DatabaseClosed):
        return web.Response(status=_LEFT_STATUS)
