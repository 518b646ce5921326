"""Requests that wait for something to happen: long polls, followed logs, WebSockets, held polls.

Each keeps a connection, and its place in memory, for as long as its client likes. So one person
has a bounded number of them, and one account; an agent, which needs one, is crowded out by neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from coordinator.api.http.context import CORE
from coordinator.api.http.shares import NoPlace, Place, Places
from coordinator.domain.errors import TooMany
from coordinator.domain.people.permissions import Principal, PrincipalKind

OF_ONE_AGENT = 8
"""It has one poll; each new one ends the one before."""
AGAIN_SECONDS = 10
_PLACES = web.AppKey("waits", Places)


def set_up(app: web.Application) -> None:
    most = app[CORE].settings.max_waiting_requests
    app[_PLACES] = Places(
        {"account": most, "person": max(most // 4, 1), "agent": OF_ONE_AGENT, "step": OF_ONE_AGENT}
    )


def waiting(request: web.Request, principal: Principal) -> Place:
    """To be entered for as long as it waits. Raises TooMany."""
    try:
        return request.app[_PLACES].take(_owners(principal))
    except NoPlace as error:
        raise TooMany(
            f"{error.limit} requests of this {error.kind} wait already: end one of them "
            "(a followed log, a page, a poll), or ask without waiting",
            retry_after=AGAIN_SECONDS,
        ) from error


def _owners(principal: Principal) -> Mapping[str, str]:
    if principal.kind is PrincipalKind.AGENT:
        return {"agent": principal.agent_id or principal.token_id}
    if principal.kind is PrincipalKind.STEP:
        return {"step": principal.step_id or principal.token_id}
    owners = {"person": principal.person_id or principal.token_id}
    if principal.account_id is not None:
        owners["account"] = principal.account_id
    return owners
