"""`/metrics`, for Prometheus: with a token of all accounts, or from this machine without one."""

from __future__ import annotations

import ipaddress

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from coordinator.api.http.context import CORE, DISPATCH, HEALTH
from coordinator.api.http.local import check_local
from coordinator.api.http.middleware import port_of, principal_of, secret_of
from coordinator.domain.errors import Forbidden, Unauthenticated
from coordinator.domain.people.permissions import Right
from coordinator.services.upkeep.numbers import numbers

HOW_TO_ASK = "`pushrod token create metrics --role viewer --all-accounts` makes one"


def add_routes(app: web.Application) -> None:
    app.router.add_get("/metrics", metrics)


async def metrics(request: web.Request) -> web.Response:
    await _check(request)
    app = request.app
    text = await numbers(app[CORE], app[DISPATCH], app[HEALTH])
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _check(request: web.Request) -> None:
    """Raises Unauthenticated, Forbidden.

    Where there is a public address there may be a proxy on this machine, which need not say that
    it is one: then whoever comes from here need not be from here.
    """
    settings = request.app[CORE].settings
    if secret_of(request) or settings.auth == "none":
        principal = await principal_of(request, Right.READ)
        if principal.account_id is not None:
            raise Forbidden(f"metrics are of all accounts, this token is of one: {HOW_TO_ASK}")
        return
    if settings.public_url is not None or not _is_loopback(request):
        raise Unauthenticated(f"a token of all accounts is needed: {HOW_TO_ASK}")
    check_local(request.headers, port_of(request))


def _is_loopback(request: web.Request) -> bool:
    host = (request.remote or "").partition("%")[0]
    return bool(host) and ipaddress.ip_address(host).is_loopback
