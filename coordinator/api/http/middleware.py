"""Who asks, and how errors are answered: the only place that knows status codes."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from coordinator.api.http.context import (
    ACCOUNTS,
    ARTIFACTS,
    BUILDS,
    CORE,
    DEPLOYMENTS,
    PROJECTS,
    SOURCE_BUILDS,
)
from coordinator.api.http.error_shapes import error_answer
from coordinator.api.http.local import LOCAL, check_local
from coordinator.api.http.trouble import TROUBLES
from coordinator.domain import errors
from coordinator.domain.lifecycle import IllegalTransition
from coordinator.domain.people.client_address import client_address
from coordinator.domain.people.permissions import Principal, Right
from coordinator.storage.trouble import tell_fault, trouble_of

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SESSION_COOKIE = "pushrod_session"
TENANT_HEADER = "X-Tenant-ID"
PRINCIPAL = web.RequestKey("principal", Principal)
"""Of a request whose principal a middleware has found out already."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
STATUS: dict[type[errors.CoordinatorError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.TooSlow: 408,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.TooMany: 429,
    errors.NotYet: 503,
}


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _refuse_nul(request)
        return await _cut_off_where_it_breaks(request, handler)
    except errors.CoordinatorError as error:
        status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
        response = error_answer(request, status, error.message, error.details, **error.fields)
        if isinstance(error, errors.TooMany):
            response.headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, errors.TooSlow):
            read_no_further(request, response)
        return response
    except web.RequestPayloadError:
        return _unreadable(request)
    except IllegalTransition as error:
        return error_answer(request, 409, str(error))
    except web.HTTPException as error:
        if error.status < 400 or request.path.startswith("/git/"):
            raise
        message = error.reason
        if isinstance(error, web.HTTPRequestEntityTooLarge):
            message = f"a request's body may have {request.client_max_size} bytes"
        response = error_answer(request, error.status, message)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:  # the last resort; the traceback is in the coordinator's own log
        if trouble := trouble_of(error):
            return request.app[TROUBLES].answer(request, trouble)
        log.exception("request failed", method=request.method, path=request.path)
        return error_answer(request, 500, "internal error: see the coordinator's log")


async def _cut_off_where_it_breaks(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An answer of which something was sent has no other one in its place: that would be read as
    the rest of its body, of which the length was told."""
    try:
        return await handler(request)
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        if request.writer.output_size == 0:
            raise
        tell_fault(log, "an answer broke off", error, path=request.path)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)  # which nobody gets: the connection is gone


def _refuse_nul(request: web.Request) -> None:
    """No text that we keep has one, and PostgreSQL takes none, not even to look for. Of ids each
    operation says itself that there is no such thing."""
    others = (text for name, text in request.match_info.items() if not name.endswith("_id"))
    if any("\0" in text for text in others):
        raise errors.NotFound("no such thing: the path holds a NUL character")
    if "\0" in request.query_string:
        names = [name for name, value in request.query.items() if "\0" in name + value]
        details = [{"path": name, "message": "this text holds a NUL character"} for name in names]
        raise errors.Invalid("the request's query breaks its rules", details=details)


def _unreadable(request: web.Request) -> web.Response:
    """Nobody knows where such a body ends, so nothing after it is a request."""
    response = error_answer(
        request, 400, "the body can't be read: send it whole, encoded as its headers say"
    )
    read_no_further(request, response)
    return response


def read_no_further(request: web.Request, response: web.Response) -> None:
    """The connection ends with this answer."""
    response.force_close()
    request.content.feed_eof()  # or the server reads on, and logs where it can't


def address_of(request: web.Request) -> str:
    """Of the client, also when it comes through a proxy that the settings trust."""
    forwarded = request.headers.getall("X-Forwarded-For", ())
    proxies = request.app[CORE].settings.trusted_proxies
    return client_address(request.remote or "", forwarded, proxies)


def secret_of(request: web.Request) -> str | None:
    """The token of a request: bearer, Basic password (git), or the browser's session."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise errors.Unauthenticated("the Basic credentials can't be read") from error
        return text.partition(":")[2]
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return subprotocol_value(request, "bearer") or _own_session(request)
    return _session(request)


def subprotocol_value(request: web.Request, name: str) -> str | None:
    """`bearer.VALUE` among the subprotocols asked for: a browser's script can set no header of a
    WebSocket but this one."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    asked = [one.strip() for one in offered]
    values = (one.removeprefix(f"{name}.") for one in asked if one.startswith(f"{name}."))
    return next(values, None)


def _own_session(request: web.Request) -> str | None:
    """Any page can open a WebSocket to us, with our cookie: only our own pages may use it."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is not None and not _is_own_origin(request):
        raise errors.Forbidden("a session's WebSocket must come from pushrod's own pages")
    return cookie


def _is_own_origin(request: web.Request) -> bool:
    allowed = {request.app[CORE].public_url, f"{request.scheme}://{request.host}"}
    return request.headers.get("Origin") in allowed


def _session(request: web.Request) -> str | None:
    """A cookie is only believed for a request that our own pages can have made."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is None or request.method in SAFE_METHODS:
        return cookie
    if not _is_own_origin(request):
        raise errors.Forbidden("a change by session must come from pushrod's own pages")
    return cookie


async def identify(request: web.Request) -> Principal:
    """Whoever the request speaks for; a user of several accounts has not chosen one yet.

    Raises Unauthenticated, Forbidden.
    """
    if request.app[CORE].settings.auth == "none" and "Authorization" not in request.headers:
        check_local(request.headers, port_of(request))
        return LOCAL
    secret = secret_of(request)
    if not secret:
        raise errors.Unauthenticated("a token is needed: Authorization: Bearer TOKEN")
    return await request.app[ACCOUNTS].authenticate(secret)


def port_of(request: web.Request) -> int:
    """The one we listen on, which may have been given as 0."""
    address = request.transport.get_extra_info("sockname") if request.transport else None
    return int(address[1]) if address else request.app[CORE].settings.port


async def principal_of(request: web.Request, *rights: Right) -> Principal:
    """Whoever the request speaks for, who must have one of `rights` where any are named.

    Raises Unauthenticated, Forbidden.
    """
    principal = request.get(PRINCIPAL) or await _chosen(request, await identify(request))
    if rights and principal.rights.isdisjoint(rights):
        principal.require(rights[0])
    return principal


async def _chosen(request: web.Request, principal: Principal) -> Principal:
    """Acting in one account: the one that the request names, or that has what its path names."""
    if not principal.choices:
        return principal
    tenant = request.headers.get(TENANT_HEADER)
    if chosen := await _with_account(request, principal):
        return chosen
    if tenant is not None:
        return principal.within(tenant.strip().lower())
    if chosen := await _with_thing(request, principal):
        return chosen
    raise errors.Invalid(
        f"this user belongs to several accounts: name one's id by the header {TENANT_HEADER}"
    )


async def _with_account(request: web.Request, principal: Principal) -> Principal | None:
    """In the account that `accountId` of the query names, if it is one of the user's."""
    key = request.query.get("accountId")
    for member in map(principal.within, principal.choices):
        if key and await request.app[ACCOUNTS].find(member, key):
            return member
    return None


async def check_account(request: web.Request, principal: Principal, key: str | None) -> None:
    """Whoever names an account means it, also where a call would do without: what is answered or
    made must not be another's. Raises NotFound; an administrator may name any."""
    if key is None or principal.account_id is None:
        return
    if await request.app[ACCOUNTS].find(principal, key) is None:
        raise errors.NotFound(f"there is no account {key[:200]!r}")


async def _with_thing(request: web.Request, principal: Principal) -> Principal | None:
    """In the account of what the path names, such as a project, if the user is its member.

    Raises NotFound where none of the user's accounts has it.
    """
    path, missing = request.match_info, None
    for member in map(principal.within, principal.choices):
        try:
            if build_id := path.get("build_id"):
                await request.app[BUILDS].get(member, None, build_id)
            elif (project_id := path.get("project_id", "-")) != "-":
                await request.app[PROJECTS].get(member, project_id)
            elif step_id := path.get("step_id"):
                await request.app[ARTIFACTS].list_of(member, step_id)
            elif image_build_id := path.get("image_build_id"):
                await request.app[SOURCE_BUILDS].get(member, image_build_id)
            elif deployment_id := path.get("deployment_id"):
                await request.app[DEPLOYMENTS].get(member, deployment_id)
            else:
                return None
        except errors.NotFound as error:
            missing = error
        else:
            return member
    if missing is not None:
        raise missing
    return None
