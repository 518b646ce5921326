"""Whose a secret or login is: a project's, or an account's for all its projects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from coordinator.api.http.context import ACCOUNTS
from coordinator.domain.errors import NotFound
from coordinator.domain.model import Account, Project
from coordinator.domain.people.permissions import Principal

Owner = Callable[[web.Request, Principal], Awaitable[Project | Account]]
"""How the owner that a path names is found."""


async def account_of(request: web.Request, principal: Principal) -> Account:
    """Raises NotFound."""
    account = await request.app[ACCOUNTS].find(principal, request.match_info["account_id"])
    if account is None:
        raise NotFound("account not found")
    return account
