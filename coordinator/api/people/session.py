"""Logging a browser in and out, and who it is that looks at the page."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import parse_qsl, quote

from aiohttp import web
from pydantic import Field

from coordinator.api.http.carried import carried
from coordinator.api.http.context import ACCOUNTS, CORE, SESSIONS
from coordinator.api.http.fields import Shown
from coordinator.api.http.middleware import SESSION_COOKIE, address_of
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.request_models import read_body
from coordinator.domain.errors import Forbidden, Invalid, TooMany, Unauthenticated
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.services.people.sessions import Session


class AccountOfSession(Shown):
    id: str
    slug: str
    rights: list[Right]


class SessionShown(Shown):
    name: str
    rights: list[Right] = Field(description="In every account where `accounts` is missing")
    accounts: list[AccountOfSession] | None = Field(
        None, description="All that it sees; missing where it sees every account"
    )


def add_routes(app: web.Application) -> None:
    app.router.add_post("/login", carried(log_in))
    app.router.add_post("/logout", carried(log_out))
    add_operations(app, [get_session])


@operation("GET", "/api/session", tag="Tokens", summary="Get whose token this is", accountless=True)
async def get_session(request: web.Request, principal: Principal) -> SessionShown:
    """And what it may do in which account. Raises Forbidden."""
    if principal.kind is not PrincipalKind.PERSON:
        raise Forbidden("only people look at the page")
    accounts = None
    if principal.account_id is not None:
        members = [principal.within(one) for one in principal.choices] or [principal]
        accounts = [
            AccountOfSession(id=account.id, slug=account.slug, rights=sorted(member.rights))
            for member in members
            for account in await request.app[ACCOUNTS].list_accounts(member)
        ]
    return SessionShown(name=principal.name, rights=sorted(principal.rights), accounts=accounts)


async def log_in(request: web.Request) -> web.Response:
    _check_origin(request)
    form = await _form(request)
    target = _local(form.get("next", "/"))
    try:
        session = await _opened(request, form)
    except TooMany as error:
        return _refused("tries", target, retry_after=error.retry_after)
    except Unauthenticated:
        return _refused("password" if "email" in form else "token", target)
    response = _redirect(target)
    response.set_cookie(
        SESSION_COOKIE,
        session.secret,
        max_age=int(session.life.total_seconds()),
        httponly=True,
        samesite="Strict",
        secure=request.app[CORE].public_url.startswith("https:"),
    )
    return response


async def _opened(request: web.Request, form: Mapping[str, str]) -> Session:
    """By email and password where an email is given, else by a token."""
    sessions = request.app[SESSIONS]
    if "email" in form:
        return await sessions.log_in(form["email"], form.get("password", ""), address_of(request))
    return await sessions.open(form.get("token", "").strip())


def _refused(error: str, target: str, *, retry_after: int | None = None) -> web.Response:
    """To the form once more, which says what was wrong."""
    response = _redirect(f"/login?error={error}&next={quote(target, safe='')}")
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


async def log_out(request: web.Request) -> web.Response:
    _check_origin(request)
    if session := request.cookies.get(SESSION_COOKIE):
        with suppress(Unauthenticated):  # it may have ended already
            await request.app[SESSIONS].close(session)
    response = _redirect("/login")
    response.del_cookie(SESSION_COOKIE)
    return response


async def _form(request: web.Request) -> dict[str, str]:
    """Raises Invalid, TooSlow."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise Invalid("log in with a form of type application/x-www-form-urlencoded")
    body = await read_body(request, of_a_stranger=True)
    try:
        return dict(parse_qsl(body.decode("utf-8"), max_num_fields=10))
    except ValueError as error:
        raise Invalid("the form can't be read") from error


def _check_origin(request: web.Request) -> None:
    origin = request.headers.get("Origin")
    own = {request.app[CORE].public_url, f"{request.scheme}://{request.host}"}
    if origin is not None and origin not in own:
        raise Forbidden("this form was sent from another site")


def _local(target: str) -> str:
    """A path of ours; anything that could lead elsewhere becomes `/`."""
    if not target.startswith("/") or target.startswith(("//", "/\\")) or not target.isprintable():
        return "/"
    return target


def _redirect(location: str) -> web.Response:
    return web.Response(status=303, headers={"Location": location})
