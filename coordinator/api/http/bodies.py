"""Bodies that come in pieces, from clients that are as slow as they like."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from coordinator.api.http.context import CORE
from coordinator.domain.errors import TooSlow
from coordinator.git.client_pace import SLOWEST_BYTES_A_SECOND, Pace


class ShortBody(Exception):
    """A body has another length than was told: what is stored of it was damaged."""


async def pieces(
    request: web.Request,
    *,
    grace_seconds: float | None = None,
    slowest: int = SLOWEST_BYTES_A_SECOND,
) -> AsyncIterator[bytes]:
    """The body as it comes. A client that sends nothing for `grace_seconds` (default: the setting
    `idle_seconds`), or that let us wait so long and hardly moved, is not waited for.

    Raises TooSlow.
    """
    seconds = grace_seconds or request.app[CORE].settings.idle_seconds
    pace = Pace(grace_seconds=seconds, slowest=slowest)
    while True:
        try:
            async with pace.waiting():
                chunk = await request.content.readany()
        except TimeoutError as error:
            message = f"the body stopped coming: nothing, or next to it, in {seconds:g} s"
            raise TooSlow(message) from error
        if not chunk:
            return
        pace.moved_bytes += len(chunk)
        yield chunk


async def sent(
    request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    """The prepared response with its body written, unless only its head was asked for: the bytes
    would be taken for the next answer. A client that takes next to nothing for
    `idle_seconds` is cut off, in the middle: half an answer must not look whole. Raises ShortBody,
    upon which the answer is cut off, too: else the next one would be read as its rest."""
    pace = Pace(grace_seconds=request.app[CORE].settings.idle_seconds)
    if request.method == "HEAD":
        return response
    async for chunk in chunks:
        pace.moved_bytes += len(chunk)
        try:
            async with pace.waiting():
                await response.write(chunk)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            return response
    if response.content_length not in (None, pace.moved_bytes):
        raise ShortBody(f"{pace.moved_bytes} bytes came of {response.content_length}")
    await response.write_eof()
    return response
