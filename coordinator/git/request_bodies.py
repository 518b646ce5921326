"""The body of a git client's request, read at the client's pace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from coordinator.git.client_pace import Pace

_CUT_OFF_ERRORS = (web.RequestPayloadError, HttpProcessingError, ConnectionError)


class Feed(Enum):
    """How a request's body ended."""

    COMPLETE = "complete"
    CUT_OFF = "cut off"
    IDLE = "idle"
    TOO_LARGE = "too large"


async def take_body(
    request: web.Request,
    write: Callable[[bytes], Awaitable[None]],
    max_bytes: int,
    idle_seconds: float,
) -> Feed:
    """Write all of it. `idle_seconds`: how long nothing may come; see `Pace`."""
    pace = Pace(grace_seconds=idle_seconds)
    while True:
        try:
            async with pace.waiting():
                chunk = await request.content.readany()
        except TimeoutError:
            return Feed.IDLE
        except _CUT_OFF_ERRORS:
            return Feed.CUT_OFF
        if not chunk:
            return Feed.COMPLETE
        pace.moved_bytes += len(chunk)
        if pace.moved_bytes > max_bytes:
            return Feed.TOO_LARGE
        await write(chunk)
