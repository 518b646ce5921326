"""Logs that a coordinator which does not lead takes by itself (ADR 84).

Lines of scripts are most of what agents send, and rows alone say how a log goes on (ADR 70): who
adds one needs no memory that the leader has. All but the plain case is the leader's to answer.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

import structlog
from aiohttp import web

from coordinator.api.http.bodies import pieces
from coordinator.api.http.connections import Connection, open_connections
from coordinator.api.http.error_shapes import error_answer
from coordinator.api.http.middleware import read_no_further
from coordinator.api.steps.runner import MAX_BODY_BYTES, TOO_LONG, frames_of, offset_of
from coordinator.domain.errors import CoordinatorError, Invalid, TooLarge, TooSlow
from coordinator.domain.model import attempt_id
from coordinator.object_ports import LogStore, ObjectsUnusable, OffsetMismatch
from coordinator.peers.desk import Desk
from coordinator.peers.lead import Lead
from coordinator.peers.relay import answer_of_leader
from coordinator.peers.upstream import Upstream
from coordinator.services.keys import Keys
from coordinator.services.others import Others, Word
from coordinator.storage.database import Database, DatabaseClosed
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.steps.attempts import runs_as_it_should
from coordinator.storage.trouble import tell_fault
from pipelines_schema.log_frames import FOR_LOGS_ALONE

log = structlog.get_logger()

PEEKED_BYTES = 2048
_BEGINS_A_LOG = re.compile(
    rb"PATCH /api/runner/[0-9a-f-]{36}/log[? ].*\r\nauthorization: bearer prs_",
    re.DOTALL | re.IGNORECASE,
)
_PATH = re.compile(r"/api/runner/([0-9a-f-]{36})/log", re.ASCII)
AGAIN_SECONDS = 30.0
"""After a database or a store that could not be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """Where logs are kept, by the side of a coordinator that leads."""

    database: Database
    logs: LogStore
    others: Others
    """Whom to tell that a log has grown."""
    desk: Desk
    """Where agents are served."""


class LogTaking:
    """`run` it; then connections that `begin_a_log` may be given to it."""

    def __init__(
        self,
        lead: Lead,
        keys: Keys,
        opened: Callable[[], AbstractAsyncContextManager[LogPlace]],
        upstream: Upstream,
        *,
        max_log_bytes: int,
        idle_seconds: float,
    ) -> None:
        self._lead, self._keys, self._opened = lead, keys, opened
        self._upstream = upstream
        self._max_log_bytes, self._idle_seconds = max_log_bytes, idle_seconds
        self._place: LogPlace | None = None
        self._connections = open_connections()
        self._server: web.Server | None = None

    @property
    def is_open(self) -> bool:
        leader = self._lead.leader
        return self._place is not None and leader is not None and leader.is_there

    async def run(self) -> None:
        """Until cancelled. While another leads, logs are taken, but for one of another version."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        self._server = runner.server
        try:
            while True:
                number = await self._until_another_leads()
                try:
                    async with self._opened() as place:
                        self._place = place
                        try:
                            await self._until_no_longer(number)
                        finally:
                            self._place = None
                except _UNUSABLE as error:
                    log.info("logs are passed on, too", problem=str(error))
                    await self._until_tried_again(number)
                except Exception as error:  # a task root: the leader takes them all the same
                    tell_fault(log, "logs are passed on, too", error)
                    await self._until_tried_again(number)
        finally:
            await runner.cleanup()

    async def _until_another_leads(self) -> int:
        while True:
            leader = self._lead.leader
            if leader is not None and leader.is_there and not self._lead.is_ours:
                return leader.number
            await self._lead.changed()

    async def _until_no_longer(self, number: int) -> None:
        while not self._lead.is_ours and (leader := self._lead.leader) is not None:
            if leader.number != number:
                return
            await self._lead.changed()

    async def _until_tried_again(self, number: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_SECONDS):
                await self._until_no_longer(number)

    async def take_agents(self, client: socket.socket) -> None:
        """The connection of an agent, while this is open. Raises OSError."""
        if self._place is None:
            client.close()
            return
        await self._place.desk.take(client)

    async def take(self, client: socket.socket) -> None:
        """The connection of a client; closed with the client's last request. Raises OSError."""
        loop, server = asyncio.get_running_loop(), self._server
        if server is None:
            raise RuntimeError("it does not run")
        options = {"access_log": None, "keepalive_timeout": self._idle_seconds}
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(server, self._connections, loop=loop, **options), client
            )
        except BaseException:
            client.close()
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._is_forged(request):
            # Which the leader says without the body, that nobody may have us keep.
            response = await self._passed_on(request, b"")
            read_no_further(request, response)
            return response
        try:
            body = await self._body(request)
        except CoordinatorError as error:
            response = error_answer(request, _STATUS[type(error)], error.message)
            read_no_further(request, response)
            return response
        stored = await self._stored(request, body) if self.is_open else None
        # A proxy sends other clients' requests by the connection of this one, and takes this word
        # of it out: it is between the two ends of one connection.
        if stored is not None and FOR_LOGS_ALONE in request.headers.get("Connection", ""):
            return stored
        response = stored or await self._passed_on(request, body)
        response.force_close()
        return response

    def _is_forged(self, request: web.Request) -> bool:
        token = _token_of(request)
        return token.startswith("prs_") and self._keys.read_step_token(token) is None

    async def _body(self, request: web.Request) -> bytes:
        """Raises TooLarge, TooSlow, Invalid."""
        body = bytearray()
        try:
            async for piece in pieces(request, grace_seconds=self._idle_seconds):
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise TooLarge(TOO_LONG)
        except web.RequestPayloadError as error:
            raise Invalid("the body can't be read: send it whole") from error
        return bytes(body)

    async def _stored(self, request: web.Request, body: bytes) -> web.Response | None:
        """None: the leader is to answer."""
        place, wanted = self._place, self._attempt_of(request)
        if place is None or wanted is None:
            return None
        try:
            offset = offset_of(request.headers.get("Upload-Offset"))
            frames = frames_of(request.content_type, body)
            size = sum(len(frame.data) for frame in frames)
            if size == 0 or offset + size > self._max_log_bytes:
                return None
            runs = await place.database.read(
                lambda connection: runs_as_it_should(connection, *wanted)
            )
            if not runs:
                return None
            end = await place.logs.append(attempt_id(*wanted), offset, frames)
        except (CoordinatorError, OffsetMismatch, DatabaseClosed):
            return None
        except Exception as error:  # whatever it is, the leader may do better
            tell_fault(log, "a log was not taken", error, step=wanted[0], epoch=wanted[1])
            return None
        place.others.tell(Word.LOG, attempt_id(*wanted), times=size)
        return web.Response(status=204, headers={"Upload-Offset": str(end), **_HARDENED})

    def _attempt_of(self, request: web.Request) -> tuple[str, int] | None:
        """Step and epoch, by the attempt's own token."""
        path = _PATH.fullmatch(request.rel_url.raw_path)
        if request.method != "PATCH" or path is None:
            return None
        spoken = self._keys.read_step_token(_token_of(request))
        if spoken is None or spoken[0] != path[1]:
            return None
        asked = request.query.get("epoch", str(spoken[1]))
        return spoken if asked == str(spoken[1]) else None

    async def _passed_on(self, request: web.Request, body: bytes) -> web.Response:
        return await answer_of_leader(request, body, self._upstream)


_STATUS = {Invalid: 400, TooSlow: 408, TooLarge: 413}
_UNUSABLE = (DatabaseUnusable, ObjectsUnusable, OSError)
_HARDENED = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def _token_of(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def begins_a_log(peeked: bytes) -> bool:
    """Whether so much of a connection's first request says that it brings lines of a log, by an
    attempt's own token."""
    return _BEGINS_A_LOG.match(peeked) is not None
