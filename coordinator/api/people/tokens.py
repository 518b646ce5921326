"""Accounts and tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from aiohttp import web
from pydantic import ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.context import ACCOUNTS, DISPATCH
from coordinator.api.http.fields import Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.people.tokens import Role, Token, TokenKind


class TokenCreate(ApiModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        json_schema_extra={
            "not": {
                "anyOf": [
                    {
                        "required": ["role", "account"],
                        "properties": {"role": {"const": "admin"}, "account": {"type": "string"}},
                    },
                    {
                        "required": ["allAccounts", "account"],
                        "properties": {
                            "allAccounts": {"const": True},
                            "account": {"type": "string"},
                        },
                    },
                ]
            }
        },
    )

    name: str = Field(min_length=1, max_length=100)
    kind: Literal["user", "registration"] = "user"
    role: Literal[Role.ADMIN, Role.MAINTAINER, Role.DEVELOPER, Role.VIEWER] = Role.DEVELOPER
    account: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Default: of this token's account, else of `default`; agents' and those of the "
        "role admin are for all",
    )
    all_accounts: StrictBool = Field(
        default=False, description="For every account; only who administers all may say so"
    )
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)


class TokenShown(Shown):
    id: str
    kind: str
    name: str
    role: Role
    account_id: str | None = None
    created_at: Instant
    expires_at: Instant | None = None
    last_used_at: Instant | None = None


class TokenMade(TokenShown):
    account: str | None = Field(None, description="Slug of its account; none is for all")
    token: str = Field(description="Shown once, stored nowhere")


class AccountShown(Shown):
    id: str
    slug: str
    name: str


def add_routes(app: web.Application) -> None:
    add_operations(app, [list_accounts, list_tokens, create_token, revoke_token])


@operation("GET", "/api/accounts", tag="Accounts", summary="List the accounts", right=Right.READ)
async def list_accounts(request: web.Request, principal: Principal) -> list[AccountShown]:
    return [
        AccountShown(id=account.id, slug=account.slug, name=account.name)
        for account in await request.app[ACCOUNTS].list_accounts(principal)
    ]


@operation(
    "POST",
    "/api/tokens",
    tag="Tokens",
    summary="Create a token",
    right=Right.MANAGE,
    status=201,
    errors={404: "No such account, and this token may not create one"},
)
async def create_token(request: web.Request, principal: Principal, body: TokenCreate) -> TokenMade:
    days = body.expires_in_days
    token, account, secret = await request.app[ACCOUNTS].create_token(
        principal,
        kind=TokenKind(body.kind),
        name=body.name,
        role=body.role,
        account=body.account,
        all_accounts=body.all_accounts,
        expires_in=timedelta(days=days) if days else None,
    )
    slug = account.slug if account else None
    return TokenMade(**_token(token).model_dump(), account=slug, token=secret)


@operation("GET", "/api/tokens", tag="Tokens", summary="List the tokens", right=Right.MANAGE)
async def list_tokens(request: web.Request, principal: Principal) -> list[TokenShown]:
    return [_token(token) for token in await request.app[ACCOUNTS].list_tokens(principal)]


@operation(
    "DELETE",
    "/api/tokens/{token_id}",
    tag="Tokens",
    summary="Revoke a token",
    right=Right.MANAGE,
    errors={404: "No such token"},
)
async def revoke_token(request: web.Request, principal: Principal) -> None:
    agent_id = await request.app[ACCOUNTS].revoke_token(principal, request.match_info["token_id"])
    if agent_id is not None:
        request.app[DISPATCH].revoked(agent_id)


def _token(token: Token) -> TokenShown:
    return TokenShown(
        id=token.id,
        kind=token.kind.value,
        name=token.name,
        role=token.role,
        account_id=token.account_id,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
    )
