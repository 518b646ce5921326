"""Changes that are carried to their end when the one who asked for them goes away.

The server cancels the handler of a request whose client has gone. That is right for a held poll or
a download, and wrong for a change of several steps: what was done of it would stay, and the rest
would not. So a call that changes something runs as a task of its own, for which its request merely
waits. Reading what such a client still had to send fails by itself, with the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from aiohttp import web

from coordinator.domain.errors import CoordinatorError
from coordinator.services.others import LeftToTheLeader
from coordinator.storage.database import NotIsolated
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

T = TypeVar("T")
_EXPECTED = (
    CoordinatorError,
    web.HTTPException,
    web.RequestPayloadError,
    ConnectionError,
    LeftToTheLeader,
    NotIsolated,
)
"""No faults of ours; the last two are of what the leader would have been asked."""


class CarriedThrough:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, change: Coroutine[Any, Any, T]) -> T:
        """What the change gives or raises; it goes on if the caller is cancelled."""
        task = asyncio.create_task(change)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def drain(self) -> None:
        """Wait for the changes that nobody waits for any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)


CARRIED = web.AppKey("carried", CarriedThrough)
Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


def carried(handler: Handler) -> Handler:
    """For a handler that is no operation, which would be carried by itself."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await request.app[CARRIED].run(handler(request))

    return handle


def _log_failure(task: asyncio.Task[Any]) -> None:
    """Nobody is left to be answered."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, _EXPECTED):
        tell_fault(log, "a change whose caller had gone failed", error)
