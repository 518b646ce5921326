"""Specification 001's logs: a page of them, a stream of lines, and a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import WSCloseCode, WSMsgType, web

from coordinator.api.dialects.build_execution_models import (
    STATUS,
    LogMessage,
    LogPage,
    LogsQuery,
    StreamQuery,
    read_time,
)
from coordinator.api.dialects.build_execution_operation import build_operation
from coordinator.api.http.context import BUILD_LOGS
from coordinator.api.http.middleware import identify
from coordinator.api.http.waits import waiting
from coordinator.domain.errors import Invalid, NotFound, Unauthenticated
from coordinator.domain.logs.build_log import Cursor, Level, parse_cursor
from coordinator.domain.people.permissions import BuildPermission, Principal
from coordinator.services.logs.build_logs import Filter, Message, Page

NDJSON = "application/x-ndjson"
SUBPROTOCOL = "pushrod.logs"
AT_ONCE = 2000
PING_SECONDS = 20.0
SEND_SECONDS = 30.0
"""A reader that takes nothing for so long is let go."""
MAX_CLIENT_MESSAGE_BYTES = 4096


@build_operation(
    "GET",
    "/{build_id}/logs",
    BuildPermission.READ,
    summary="Get a build's logs",
    returns=LogPage,
    streams=NDJSON,
    allow_head=False,
)
async def get_logs(
    request: web.Request, principal: Principal, query: LogsQuery
) -> web.StreamResponse:
    """In the order they came, those of steps that ran at the same time mixed.

    With `follow=true` one message a line (ndjson), until the build has ended.
    """
    cursor, wanted = _from(query)
    build_id = request.match_info["build_id"]
    if query.follow:
        with waiting(request, principal):
            return await _follow(request, principal, cursor, wanted)
    page = await request.app[BUILD_LOGS].read(
        principal, build_id, cursor, wanted, limit=query.limit
    )
    shown = LogPage(
        build_id=page.build.id,
        status=STATUS[page.build.state],
        logs=[_shown(page, message) for message in page.messages],
        next_cursor=str(page.cursor),
        has_more=page.more,
        complete=page.complete,
    )
    return web.Response(
        text=shown.model_dump_json(exclude_none=True), content_type="application/json"
    )


async def _follow(
    request: web.Request, principal: Principal, cursor: Cursor, wanted: Filter
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
    response.content_type = NDJSON
    async with aclosing(_pages(request, principal, cursor, wanted)) as pages:
        # What is wrong is said before the first byte: after it there is only the end.
        page = await anext(pages)
        await response.prepare(request)
        try:
            await _write(response, page)
            async for page in pages:
                await _write(response, page)
        except (NotFound, Unauthenticated, TimeoutError):
            _cut_off(request)  # deleted, no longer allowed, or a reader that takes nothing
            return response
    if not page.complete:
        _cut_off(request)  # the coordinator stops: it must not look like the end
    return response


def _cut_off(request: web.Request) -> None:
    """End the connection in the middle, so that nobody takes what came for all there is."""
    if request.transport is not None:
        request.transport.abort()


async def _write(response: web.StreamResponse, page: Page) -> None:
    lines = [_shown(page, message).model_dump_json() + "\n" for message in page.messages]
    async with asyncio.timeout(SEND_SECONDS):
        await response.write("".join(lines).encode())


@build_operation(
    "GET",
    "/{build_id}/logs/stream",
    BuildPermission.READ,
    summary="Stream a build's logs over a WebSocket",
    returns=LogMessage,
    status=101,
    allow_head=False,
)
async def stream_logs(
    request: web.Request, principal: Principal, query: StreamQuery
) -> web.StreamResponse:
    """Each text message is one log message. Closed with 1000 when the build has ended and all of
    its log was sent; `since` takes the last message's `metadata.cursor` to go on after it."""
    cursor, wanted = _from(query)
    with waiting(request, principal):
        return await _stream(request, principal, cursor, wanted)


async def _stream(
    request: web.Request, principal: Principal, cursor: Cursor, wanted: Filter
) -> web.StreamResponse:
    socket = web.WebSocketResponse(
        protocols=[SUBPROTOCOL], heartbeat=PING_SECONDS, max_msg_size=MAX_CLIENT_MESSAGE_BYTES
    )
    async with aclosing(_pages(request, principal, cursor, wanted)) as pages:
        page = await anext(pages)  # a build that is not there is a 404, before any upgrade
        if not socket.can_prepare(request):
            raise Invalid("this is a WebSocket: connect to it by ws:// or wss://")
        await socket.prepare(request)
        listening = asyncio.create_task(_listen(socket))
        try:
            await _send_all(socket, page, pages)
        except TimeoutError:
            _cut_off(request)  # it comes again with its cursor
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    return socket


async def _send_all(
    socket: web.WebSocketResponse, page: Page, pages: AsyncGenerator[Page, None]
) -> None:
    try:
        while True:
            await _send(socket, page)
            if page.complete:
                word = STATUS[page.build.state].value
                await socket.close(code=WSCloseCode.OK, message=f"build {word}".encode())
                return
            following = await anext(pages, None)
            if socket.closed:
                return
            if following is None:
                await socket.close(code=WSCloseCode.GOING_AWAY, message=b"coordinator stops")
                return
            page = following
    except NotFound:
        await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"build deleted")
    except Unauthenticated:
        await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"token ended")
    except ConnectionError:
        return  # it is gone, and comes again with its cursor


async def _send(socket: web.WebSocketResponse, page: Page) -> None:
    now = asyncio.get_running_loop().time
    async with asyncio.timeout(SEND_SECONDS) as patience:
        for message in page.messages:
            # Waits while the client's window is full, so that one slow reader fills no memory.
            await socket.send_str(_shown(page, message).model_dump_json())
            patience.reschedule(now() + SEND_SECONDS)


async def _listen(socket: web.WebSocketResponse) -> None:
    """Answers pings and takes notice of a close; what a client says besides means nothing."""
    while (await socket.receive()).type not in (
        WSMsgType.CLOSE,
        WSMsgType.CLOSING,
        WSMsgType.CLOSED,
        WSMsgType.ERROR,
    ):
        pass


async def _pages(
    request: web.Request, principal: Principal, cursor: Cursor, wanted: Filter
) -> AsyncGenerator[Page, None]:
    """As long as the token is believed. Raises NotFound, Unauthenticated."""
    follow = request.app[BUILD_LOGS].follow(
        principal, request.match_info["build_id"], cursor, wanted, at_once=AT_ONCE
    )
    async with aclosing(follow) as pages:
        async for page in pages:
            await identify(request)
            yield page


def _from(query: LogsQuery | StreamQuery) -> tuple[Cursor, Filter]:
    """Raises Invalid."""
    cursor, since = Cursor(), None
    if query.since is not None:
        found = parse_cursor(query.since)
        since = None if found else read_time(query.since)
        if found is None and since is None:
            raise Invalid(
                "`since` is neither a cursor nor a time",
                details=[
                    {
                        "path": "since",
                        "message": "a message's metadata.cursor, or like 2026-01-31T08:15:00Z",
                    }
                ],
            )
        cursor = found or cursor
    levels = frozenset(query.level) if query.level else frozenset(Level)
    return cursor, Filter(levels=levels, step=query.step, since=since)


def _shown(page: Page, message: Message) -> LogMessage:
    return LogMessage(
        build_id=page.build.id,
        timestamp=message.time,
        level=message.level,
        message=message.text,
        metadata=dict(message.metadata),
    )


OPERATIONS = [get_logs, stream_logs]
