"""Logging a browser in and out."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qsl, quote

from aiohttp import web

from coordinator.api.http.carried import carried
from coordinator.api.http.context import ACCOUNTS, CORE
from coordinator.api.http.middleware import SESSION_COOKIE, read_body
from coordinator.domain.errors import Forbidden, Invalid, Unauthenticated
from coordinator.services.people.accounts import SESSION_LIFE


def add_routes(app: web.Application) -> None:
    app.router.add_post("/login", carried(log_in))
    app.router.add_post("/logout", carried(log_out))


async def log_in(request: web.Request) -> web.Response:
    _check_origin(request)
    form = await _form(request)
    target = _local(form.get("next", "/"))
    try:
        session = await request.app[ACCOUNTS].open_session(form.get("token", "").strip())
    except Unauthenticated:
        return _redirect(f"/login?error=1&next={quote(target, safe='')}")
    response = _redirect(target)
    response.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        samesite="Strict",
        secure=request.app[CORE].public_url.startswith("https:"),
    )
    return response


async def log_out(request: web.Request) -> web.Response:
    _check_origin(request)
    if session := request.cookies.get(SESSION_COOKIE):
        with suppress(Unauthenticated):  # it may have ended already
            await request.app[ACCOUNTS].close_session(session)
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
