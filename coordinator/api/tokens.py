"""Accounts and tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from coordinator.api.context import ACCOUNTS
from coordinator.api.middleware import principal_of, read_model
from coordinator.api.times import iso
from coordinator.domain.model import Role, Token, TokenKind
from coordinator.domain.permissions import Right


class TokenCreate(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    kind: Literal["user", "registration"] = "user"
    role: Role = Role.DEVELOPER
    account: str | None = Field(default=None, min_length=1, max_length=200)
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)


def add_routes(app: web.Application) -> None:
    app.router.add_get("/api/accounts", list_accounts)
    app.router.add_get("/api/tokens", list_tokens)
    app.router.add_post("/api/tokens", create_token)
    app.router.add_delete("/api/tokens/{token_id}", revoke_token)


async def list_accounts(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.READ)
    return web.json_response(
        [
            {"id": account.id, "slug": account.slug, "name": account.name}
            for account in await request.app[ACCOUNTS].list_accounts(principal)
        ]
    )


async def create_token(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    wanted = await read_model(request, TokenCreate)
    days = wanted.expires_in_days
    token, secret = await request.app[ACCOUNTS].create_token(
        principal,
        kind=TokenKind(wanted.kind),
        name=wanted.name,
        role=wanted.role,
        account=wanted.account,
        expires_in=timedelta(days=days) if days else None,
    )
    return web.json_response(
        _token(token) | {"token": secret}, status=201, headers={"Cache-Control": "no-store"}
    )


async def list_tokens(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    tokens = await request.app[ACCOUNTS].list_tokens(principal)
    return web.json_response([_token(token) for token in tokens])


async def revoke_token(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    await request.app[ACCOUNTS].revoke_token(principal, request.match_info["token_id"])
    return web.Response(status=204)


def _token(token: Token) -> dict[str, Any]:
    shown = {
        "id": token.id,
        "kind": token.kind.value,
        "name": token.name,
        "role": token.role.value,
        "accountId": token.account_id,
        "createdAt": iso(token.created_at),
        "expiresAt": iso(token.expires_at) if token.expires_at else None,
        "lastUsedAt": iso(token.last_used_at) if token.last_used_at else None,
    }
    return {name: value for name, value in shown.items() if value is not None}
