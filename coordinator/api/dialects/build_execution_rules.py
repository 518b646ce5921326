"""What holds for every request below /api/v1: who asks, in which tenant, how often, and how
errors are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from aiohttp import web

from coordinator.api.dialects.build_execution_models import ErrorEnvelope, read_uuid
from coordinator.api.http.context import ACCOUNTS, CORE
from coordinator.api.http.error_shapes import add_error_shape
from coordinator.api.http.middleware import (
    PRINCIPAL,
    TENANT_HEADER,
    address_of,
    identify,
    subprotocol_value,
)
from coordinator.api.http.tracing import TRACE_ID
from coordinator.domain.errors import Invalid, NotFound, TooMany, Unauthenticated
from coordinator.domain.people.permissions import BuildPermission, Principal
from coordinator.services.people.rates import Rates, Standing

PREFIX = "/api/v1"
LOGIN = f"{PREFIX}/auth/login"
WINDOW = timedelta(minutes=1)
NIL = "00000000-0000-0000-0000-000000000000"
CODES: Mapping[int, str] = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    429: "TOO_MANY_REQUESTS",
    500: "INTERNAL_SERVER_ERROR",
    503: "SERVICE_UNAVAILABLE",
}
FIELD_NAMES = {"commitHash": "git_commit", "branch": "git_branch", "workflowId": "workflow"}
"""What the services call a field, and what this document calls it."""
_RATES = web.AppKey("build_execution_rates", Rates)
_STANDING = web.RequestKey("build_execution_standing", Standing)
PERMISSION_OF: dict[tuple[str, str], BuildPermission] = {}
"""Method and path of a route → what it needs; filled where the routes are declared."""


def set_up(app: web.Application, requests_a_minute: int) -> None:
    app[_RATES] = Rates(requests_a_minute, WINDOW)
    app.middlewares.append(_check)
    app.on_response_prepare.append(_tell_standing)
    add_error_shape(app, PREFIX, envelope)


@web.middleware
async def _check(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if not (request.path + "/").startswith(PREFIX + "/"):
        return await handler(request)
    principal, refusal = await _who(request)
    _count(request, principal)
    if request.match_info.http_exception is not None or request.path == LOGIN:
        return await handler(request)
    if principal is None:
        raise refusal or Unauthenticated("a token is needed: Authorization: Bearer TOKEN")
    principal = await _within_tenant(request, principal)
    resource = request.match_info.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    if needed := PERMISSION_OF.get((method, resource.canonical if resource else "")):
        principal.require_permission(needed)
    request[PRINCIPAL] = principal
    return await handler(request)


async def _who(request: web.Request) -> tuple[Principal | None, Unauthenticated | None]:
    """Whoever asks, or why that is not known."""
    try:
        return await identify(request), None
    except Unauthenticated as refusal:
        return None, refusal


def _count(request: web.Request, principal: Principal | None) -> None:
    """Raises TooMany."""
    now = request.app[CORE].now()
    key = f"token {principal.token_id}" if principal else f"address {address_of(request)}"
    standing = request.app[_RATES].take(key, now)
    request[_STANDING] = standing
    if standing.exceeded:
        seconds = max(int((standing.resets_at - now).total_seconds()), 0) + 1
        raise TooMany(
            f"more than {standing.limit} requests a minute: go on in {seconds} seconds",
            retry_after=seconds,
        )


async def _within_tenant(request: web.Request, principal: Principal) -> Principal:
    """The principal, acting in the tenant that the request names.

    Raises Invalid, Forbidden; NotFound where an administrator names one that there is not.
    """
    given = request.headers.get(TENANT_HEADER) or subprotocol_value(request, "tenant")
    try:
        tenant = read_uuid((given or "").strip())
    except ValueError:
        tenant = NIL
    if tenant == NIL:
        problem = "a tenant's UUID, not the nil one" if given else "missing"
        raise Invalid(
            f"the header {TENANT_HEADER} must name your tenant by its UUID",
            details=[{"path": TENANT_HEADER, "message": problem}],
        )
    account = principal.within(tenant)
    if principal.account_id is None and not await request.app[ACCOUNTS].find(account, tenant):
        raise NotFound(f"there is no tenant {tenant}")
    return account


async def _tell_standing(request: web.Request, response: web.StreamResponse) -> None:
    standing = request.get(_STANDING)
    if standing is not None:
        response.headers["X-RateLimit-Limit"] = str(standing.limit)
        response.headers["X-RateLimit-Remaining"] = str(standing.remaining)
        response.headers["X-RateLimit-Reset"] = str(int(standing.resets_at.timestamp()) + 1)


def envelope(
    request: web.Request,
    status: int,
    message: str,
    details: Sequence[Mapping[str, object]],
    _fields: Mapping[str, object],
) -> web.Response:
    shown = ErrorEnvelope(
        error=message,
        code=CODES.get(status, "INVALID_REQUEST" if status < 500 else "INTERNAL_SERVER_ERROR"),
        timestamp=request.app[CORE].now(),
        trace_id=request[TRACE_ID],
        details=_by_field(details) or None,
    )
    return web.Response(
        status=status,
        text=shown.model_dump_json(exclude_none=True),
        content_type="application/json",
    )


def _by_field(details: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Several problems of one field stand one after the other."""
    found: dict[str, str] = {}
    for detail in details:
        path = str(detail.get("path") or detail.get("file") or "request")
        name = FIELD_NAMES.get(path, path)
        place = ":".join(str(detail[key]) for key in ("line", "column") if key in detail)
        message = f"{place}: {detail['message']}" if place else str(detail["message"])
        found[name] = f"{found[name]}; {message}" if name in found else message
    return found
