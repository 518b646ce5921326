"""The trace that a request belongs to: its caller's, by W3C Trace Context, or one of its own."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web
from structlog.contextvars import bind_contextvars, reset_contextvars

TRACE_ID = web.RequestKey("trace_id", str)
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
"""https://www.w3.org/TR/trace-context/, 3.2: only version 00 ends after the flags."""


def trace_id_of(traceparent: str) -> str | None:
    """None where the header is not one, so that it must be ignored."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or (traceparent.strip().startswith("00") and found[2]):
        return None
    return found["trace"]


@web.middleware
async def trace_requests(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every line that is logged meanwhile names the trace."""
    given = trace_id_of(request.headers.get("traceparent", ""))
    request[TRACE_ID] = given or secrets.token_hex(16)
    tokens = bind_contextvars(trace_id=request[TRACE_ID])
    try:
        return await handler(request)
    finally:
        reset_contextvars(**tokens)
