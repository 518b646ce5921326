"""Connections: how many there may be, and those on which something came that is no request.

A connection costs a descriptor, and anybody may open one. When the process comes near the end of
its descriptors, connections that bring no request are closed, the longest idle first.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from coordinator.services.seldom import Seldom

log = structlog.get_logger()

MOST_SPARE = 256
"""Descriptors that connections leave to work: git, the database, files."""
USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
KEEP_ALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
"""Seconds of silence, seconds between questions, questions without an answer."""
TOLD_EVERY = timedelta(minutes=1)


@dataclass(slots=True)
class OpenConnections:
    limit: int
    """Of the process's descriptors."""
    _open: dict[Connection, None] = field(default_factory=dict)
    """The one of which nothing has come for longest is the first."""
    _closing: set[Connection] = field(default_factory=set)
    """Told to close, with its descriptor still in use."""

    @property
    def spare(self) -> int:
        return min(MOST_SPARE, self.limit // 4)

    @property
    def accepted_at_once(self) -> int:
        """Few enough that room is made before the spare descriptors are used up: some more such
        bunches are accepted before one that gave way to the first has been closed."""
        return max(self.spare // 8, 1)

    def add(self, connection: Connection, descriptor: int) -> None:
        # The lowest free number is given out, so a high one says that those below are in use.
        self.make_room(descriptor + 1 - (self.limit - self.spare))
        self._open[connection] = None

    def heard_of(self, connection: Connection) -> None:
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def remove(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        self._closing.discard(connection)

    def make_room(self, wanted: int) -> None:
        """Close so many idle ones, less those that are being closed already."""
        wanted -= len(self._closing)
        if wanted > 0:
            for idle in list(islice((one for one in self._open if one.is_idle), wanted)):
                del self._open[idle]
                self._closing.add(idle)
                idle.force_close()


def end_when_gone(listening: socket.socket) -> None:
    """Connections of clients that went without a word, as those of a machine that lost its power,
    end after two minutes: what waits for news sends nothing that would find out."""
    if listening.family == socket.AF_UNIX:
        return  # whose clients go only with a word
    for option, value in KEEP_ALIVE.items():
        listening.setsockopt(socket.IPPROTO_TCP, option, value)  # inherited by what it accepts


def open_connections() -> OpenConnections:
    """As many as this process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OpenConnections(2**31 if limit == resource.RLIM_INFINITY else limit)


class Connection(web.RequestHandler):
    """The parser's words and bytes are neither shown nor logged: they are anybody's."""

    __slots__ = ("_others",)

    def __init__(self, manager: web.Server, others: OpenConnections, **options: Any) -> None:
        super().__init__(manager, **options)
        self._others = others

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request, or for the rest of its head."""
        return self._waiter is not None and not self._waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._others.add(self, transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        self._others.heard_of(self)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._others.remove(self)
        super().connection_lost(exc)

    def log_exception(self, *args: Any, **options: Any) -> None:
        # Of a body that nobody has read, which is so only when what is left of it is passed over.
        if isinstance(error := options.get("exc_info"), web.RequestPayloadError):
            log.info("not a request", problem=type(error).__name__)
            return
        super().log_exception(*args, **options)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        log.info("not a request", remote=request.remote, problem=type(exc).__name__)
        text = "this is no request that can be read: look at its first line, headers and encoding"
        response = web.json_response({"error": text}, status=status)
        response.force_close()
        return response


@contextmanager
def connections_refused(connections: OpenConnections) -> Iterator[None]:
    """The event loop would log a traceback for each one that it can't accept: it is told seldom,
    and room is made until the loop tries again, a second later."""
    loop, told = asyncio.get_running_loop(), Seldom(TOLD_EVERY)

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "socket" not in context or not isinstance(error, OSError) or error.errno not in USED_UP:
            loop.default_exception_handler(context)
            return
        connections.make_room(connections.spare)
        if told.is_due("refusal", datetime.now(UTC)):
            log.warning(
                "connections can't be accepted: raise the limit of open files",
                problem=error.strerror,
            )

    before = loop.get_exception_handler()
    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
