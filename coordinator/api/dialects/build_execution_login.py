"""Specification 001's login: email and password for a token."""

from __future__ import annotations

from aiohttp import web

from coordinator.api.dialects.build_execution_models import (
    ErrorEnvelope,
    LoginAnswer,
    LoginRequest,
    Tenant,
    UserOfLogin,
)
from coordinator.api.dialects.build_execution_operation import TAG
from coordinator.api.dialects.build_execution_rules import LOGIN
from coordinator.api.http.context import ACCOUNTS, USERS
from coordinator.api.http.middleware import address_of
from coordinator.api.http.operations import operation
from coordinator.domain.model import Account
from coordinator.domain.people.tokens import Role
from coordinator.domain.people.users import User, principal_for


@operation(
    "POST",
    LOGIN,
    tag=TAG,
    summary="Log in",
    secured=False,
    error_model=ErrorEnvelope,
    errors={
        401: "The email or the password is wrong",
        429: "Too many logins failed: Retry-After says when to try again",
    },
)
async def log_in(request: web.Request, body: LoginRequest) -> LoginAnswer:
    login = await request.app[ACCOUNTS].logins.log_in(
        body.email, body.password, address_of(request)
    )
    tenants = await request.app[USERS].accounts_of(login.user)
    return LoginAnswer(
        token=login.token,
        access_token=login.token,
        expires_at=login.expires_at,
        expires_in=login.seconds,
        user=UserOfLogin(
            id=login.user.id, email=login.user.email, administrator=login.user.administrator
        ),
        tenants=[_tenant(login.user, account) for account in tenants],
    )


def _tenant(user: User, account: Account) -> Tenant:
    role = Role.ADMIN if user.administrator else user.memberships[account.id]
    return Tenant(
        id=account.id,
        slug=account.slug,
        name=account.name,
        role=role.value,
        permissions=principal_for(user).within(account.id).permissions(),
    )


OPERATIONS = [log_in]
