"""Every request is counted, by the route that answered it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.hdrs import METH_ALL

from coordinator.api.http.context import CORE

OTHER = "other"
"""What no route answers: its path, and perhaps its method, is anybody's text."""


@web.middleware
async def count_requests(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    began, status = time.perf_counter(), 499  # the client went
    try:
        answer = await handler(request)
        status = answer.status
        return answer
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else OTHER
        method = request.method if request.method in METH_ALL else OTHER
        seconds = time.perf_counter() - began
        request.app[CORE].meter.request_answered(method, route, status, seconds)
