"""Who asks, and how errors are answered: the only place that knows status codes."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

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
from coordinator.storage.trouble import trouble_of
from pipelines_schema.suggestions import closest

log = structlog.get_logger()

Model = TypeVar("Model", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SESSION_COOKIE = "pushrod_session"
TENANT_HEADER = "X-Tenant-ID"
STRANGERS_BYTES = 64 * 1024
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
        return await handler(request)
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
        check_local(request.headers, _port(request))
        return LOCAL
    secret = secret_of(request)
    if not secret:
        raise errors.Unauthenticated("a token is needed: Authorization: Bearer TOKEN")
    return await request.app[ACCOUNTS].authenticate(secret)


def _port(request: web.Request) -> int:
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


def _parse(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_members
        )
    except (ValueError, RecursionError) as error:
        raise errors.Invalid("the body must be JSON (UTF-8)") from error
    if not isinstance(value, dict):
        raise errors.Invalid("the body must be a JSON object")
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _members(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Of an object. Raises Invalid: of a member that stands there twice, nobody knows which one
    is meant."""
    members = dict(pairs)
    if len(members) < len(pairs):
        [(name, _), *_] = Counter(name for name, _ in pairs).most_common(1)
        problem = {"path": path_of([name[:100]]), "message": "it stands there twice: leave one out"}
        raise errors.Invalid("the request's body breaks its rules", details=[problem])
    return members


def _unstorable(
    value: object, path: tuple[str | int, ...], any_text: Collection[str]
) -> Iterator[dict[str, str]]:
    """What no database can hold: NUL, half surrogate pairs, numbers beyond 64 bits."""
    if isinstance(value, int) and value.bit_length() > 63:
        yield {"path": path_of(path), "message": "this number is out of range"}
    elif isinstance(value, str):
        if "\0" in value:
            yield {"path": path_of(path), "message": "this text holds a NUL character"}
        elif any("\ud800" <= character <= "\udfff" for character in value):
            yield {"path": path_of(path), "message": "this text holds half of a surrogate pair"}
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unstorable(key, path, ())
            if path or key not in any_text:
                yield from _unstorable(item, (*path, key), any_text)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unstorable(item, (*path, index), any_text)


def path_of(parts: Sequence[str | int]) -> str:
    """`("steps", 0, "name")` → `steps[0].name`, as the workflow language writes it."""
    texts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts]
    path = "".join(texts).removeprefix(".")
    return path.encode("utf-8", "backslashreplace").decode()


async def read_body(request: web.Request, *, of_a_stranger: bool = False) -> bytes:
    """The whole of it; of one who has not yet said who he is, no more than that takes.

    Raises TooSlow, TooLarge.
    """
    seconds = request.app[CORE].settings.body_seconds
    try:
        async with asyncio.timeout(seconds):
            return await (_read_small(request) if of_a_stranger else request.read())
    except TimeoutError as error:
        raise errors.TooSlow(f"the body did not come within {seconds:g} s") from error


async def _read_small(request: web.Request) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > STRANGERS_BYTES:
            raise errors.TooLarge(f"without a token a body may have {STRANGERS_BYTES} bytes")
    return bytes(body)


async def read_model(
    request: web.Request,
    model: type[Model],
    *,
    any_text: Collection[str] = (),
    of_a_stranger: bool = False,
) -> Model:
    """The JSON body, in which null is as good as absent where a member may be. Members that the
    model does not know are not looked at.

    Those named in `any_text` may hold text that no database can. Raises Invalid, TooSlow.
    """
    body = await read_body(request, of_a_stranger=of_a_stranger)
    read = validated(model, _without_nulls(model, _parse(body)), "body")
    _refuse_unstorable(read, "body", any_text)
    return read


async def read_optional_model(request: web.Request, model: type[Model]) -> Model:
    """As `read_model`; without a body, the model's defaults."""
    return await read_model(request, model) if request.can_read_body else model()


def read_query(request: web.Request, model: type[Model]) -> Model:
    """The query's parameters; what the model does not know may be repeated. Raises Invalid."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    refuse_repeated(request, names)
    read = validated(model, {name: request.query[name] for name in request.query}, "query")
    _refuse_unstorable(read, "query", ())
    return read


def refuse_repeated(request: web.Request, names: Iterable[str]) -> None:
    """Raises Invalid where the query has one of them twice."""
    message = "it stands there twice: leave one out"
    repeated = [name for name in names if len(request.query.getall(name, ())) > 1]
    if repeated:
        details = [{"path": name, "message": message} for name in repeated]
        raise errors.Invalid("the request's query breaks its rules", details=details)


def _without_nulls(model: type[BaseModel], members: Mapping[str, object]) -> dict[str, object]:
    optional = {
        key
        for name, field in model.model_fields.items()
        if not field.is_required()
        for key in (name, field.alias)
    }
    return {
        name: value for name, value in members.items() if value is not None or name not in optional
    }


def _refuse_unstorable(read: BaseModel, part: str, any_text: Collection[str]) -> None:
    problems = list(_unstorable(read.model_dump(by_alias=True), (), any_text))
    if problems:
        raise errors.Invalid(f"the request's {part} breaks its rules", details=problems)


def _explain(model: type[BaseModel], problem: ErrorDetails) -> str:
    if problem["type"] != "extra_forbidden":
        return problem["msg"].removeprefix("Value error, ")
    if len(problem["loc"]) > 1:
        return "there is no such field: leave it out"
    known = [field.alias or name for name, field in model.model_fields.items()]
    near = closest(str(problem["loc"][0]), known)
    return f"there is no such field: {f'did you mean {near!r}?' if near else 'leave it out'}"


def validated(model: type[Model], value: object, part: str) -> Model:
    """Raises Invalid, naming each wrong field of this part of the request."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = [
            {"path": path_of(problem["loc"]), "message": _explain(model, problem)}
            for problem in error.errors(include_url=False, include_context=False)
        ]
    raise errors.Invalid(f"the request's {part} breaks its rules", details=details)
