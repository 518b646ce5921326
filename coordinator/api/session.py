"""Logging a browser in and out."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

from aiohttp import web

from coordinator.api.context import ACCOUNTS, CORE
from coordinator.api.middleware import SESSION_COOKIE
from coordinator.domain.errors import Forbidden, Unauthenticated
from coordinator.services.accounts import SESSION_LIFE


def add_routes(app: web.Application) -> None:
    app.router.add_post("/login", log_in)
    app.router.add_post("/logout", log_out)


async def log_in(request: web.Request) -> web.Response:
    _check_origin(request)
    form = await request.post()
    target = _local(str(form.get("next", "/")))
    try:
        session = await request.app[ACCOUNTS].open_session(str(form.get("token", "")).strip())
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
