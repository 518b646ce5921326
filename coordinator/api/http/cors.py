"""Pages of other origins that may call the API (CORS): those that the settings name.

Such a page brings a token by `Authorization`. A browser may never send our session's cookie with
its calls (no `Access-Control-Allow-Credentials`): no page acts for whoever is logged in.
https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

API = "/api/"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
SENT = (
    "Accept, Authorization, Content-Type, Idempotency-Key, traceparent, Upload-Offset, "
    "Redirects, X-Content-Sha256, X-Tenant-ID"
)
SHOWN = (
    "Allow, Content-Disposition, Location, Retry-After, Upload-Offset, WWW-Authenticate, "
    "X-Pushrod-Ignored, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)
PREFLIGHT_SECONDS = 600
_ORIGINS = web.AppKey("allowed_origins", Collection[str])


def set_up(app: web.Application, origins: Collection[str]) -> None:
    """Before all other middlewares: a preflight has no token, and counts as no request."""
    if not origins:
        return
    app[_ORIGINS] = origins
    app.middlewares.insert(0, _answer_preflights)
    app.on_response_prepare.append(_allow)


@web.middleware
async def _answer_preflights(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if not (asks and _is_allowed(request)):
        return await handler(request)
    headers = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": SENT,
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    }
    return web.Response(status=204, headers=headers)


def _is_allowed(request: web.Request) -> bool:
    origin = request.headers.get("Origin", "")
    return request.path.startswith(API) and origin in request.app[_ORIGINS]


async def _allow(request: web.Request, response: web.StreamResponse) -> None:
    if not request.path.startswith(API):
        return
    response.headers.add("Vary", "Origin")
    if _is_allowed(request):
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Expose-Headers"] = SHOWN
