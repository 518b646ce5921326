"""Users who log in by password, as administrators make and change them."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.context import ACCOUNTS, USERS
from coordinator.api.http.fields import Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.model import Account
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.people.tokens import Role
from coordinator.domain.people.users import MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS, User

TAG = "Users"
NO_USER = {404: "No such user"}
RIGHT = Right.ADMINISTER


class Given(ApiModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class UserCreate(Given):
    email: str = Field(min_length=1, max_length=1000)
    password: str = Field(min_length=MIN_PASSWORD_CHARACTERS, max_length=MAX_PASSWORD_CHARACTERS)
    administrator: bool = Field(False, strict=True, description="Everything, in every account")
    roles: dict[str, Role] = Field(
        default_factory=dict,
        max_length=1000,
        description="Account (its own id, UUID or slug) → viewer, developer or maintainer",
    )


class UserChange(Given):
    disabled: bool = Field(strict=True, description="Logins of before end at once")


class PasswordSet(Given):
    password: str = Field(min_length=MIN_PASSWORD_CHARACTERS, max_length=MAX_PASSWORD_CHARACTERS)


class RoleSet(Given):
    role: Role = Field(description="viewer, developer or maintainer")


class KeysRotate(Given):
    end_logins: bool = Field(
        False, strict=True, description="Believe no login of before, instead of until it expires"
    )


class MembershipShown(Shown):
    account_id: str
    account: str = Field(description="The account's slug")
    role: Role


class UserShown(Shown):
    id: str
    email: str
    administrator: bool
    disabled: bool
    memberships: list[MembershipShown]
    created_at: Instant
    updated_at: Instant


def add_routes(app: web.Application) -> None:
    add_operations(
        app,
        [
            list_users,
            create_user,
            get_user,
            change_user,
            set_password,
            set_role,
            end_membership,
            rotate_keys,
        ],
    )


@operation("GET", "/api/users", tag=TAG, summary="List the users", right=RIGHT)
async def list_users(request: web.Request, principal: Principal) -> list[UserShown]:
    users, accounts = await request.app[USERS].list_all(principal)
    return [_shown(user, accounts) for user in users]


@operation(
    "POST",
    "/api/users",
    tag=TAG,
    summary="Create a user",
    right=RIGHT,
    status=201,
    errors={409: "There is a user of this email already"},
)
async def create_user(request: web.Request, principal: Principal, body: UserCreate) -> UserShown:
    user = await request.app[USERS].create(
        principal,
        email=body.email,
        password=body.password,
        administrator=body.administrator,
        roles=body.roles,
    )
    return await _with_accounts(request, user)


@operation("GET", "/api/users/{user}", tag=TAG, summary="Get a user", right=RIGHT, errors=NO_USER)
async def get_user(request: web.Request, principal: Principal) -> UserShown:
    """By id or email."""
    found = await request.app[USERS].get(principal, request.match_info["user"])
    return await _with_accounts(request, found)


@operation(
    "PATCH",
    "/api/users/{user}",
    tag=TAG,
    summary="Disable a user, or let one in again",
    right=RIGHT,
    errors=NO_USER,
)
async def change_user(request: web.Request, principal: Principal, body: UserChange) -> UserShown:
    changed = await request.app[USERS].set_disabled(
        principal, request.match_info["user"], disabled=body.disabled
    )
    return await _with_accounts(request, changed)


@operation(
    "PUT",
    "/api/users/{user}/password",
    tag=TAG,
    summary="Set a user's password",
    right=RIGHT,
    errors=NO_USER,
)
async def set_password(request: web.Request, principal: Principal, body: PasswordSet) -> None:
    """Logins of before end at once."""
    await request.app[USERS].set_password(principal, request.match_info["user"], body.password)


@operation(
    "PUT",
    "/api/users/{user}/memberships/{account}",
    tag=TAG,
    summary="Make a user a member of an account",
    right=RIGHT,
    errors=NO_USER,
)
async def set_role(request: web.Request, principal: Principal, body: RoleSet) -> UserShown:
    names = request.match_info
    user = await request.app[USERS].set_role(principal, names["user"], names["account"], body.role)
    return await _with_accounts(request, user)


@operation(
    "DELETE",
    "/api/users/{user}/memberships/{account}",
    tag=TAG,
    summary="End a user's membership of an account",
    right=RIGHT,
    errors={404: "No such user or account"},
)
async def end_membership(request: web.Request, principal: Principal) -> None:
    names = request.match_info
    await request.app[USERS].set_role(principal, names["user"], names["account"], None)


@operation(
    "POST",
    "/api/signing-keys",
    tag=TAG,
    summary="Sign logins with a new key from now on",
    right=RIGHT,
)
async def rotate_keys(request: web.Request, principal: Principal, body: KeysRotate) -> None:
    accounts = request.app[ACCOUNTS]
    await accounts.logins.rotate_keys(principal, end_logins=body.end_logins)
    accounts.forget_known()


async def _with_accounts(request: web.Request, user: User) -> UserShown:
    accounts = await request.app[USERS].accounts_of(user)
    return _shown(user, {account.id: account for account in accounts})


def _shown(user: User, accounts: Mapping[str, Account]) -> UserShown:
    return UserShown(
        id=user.id,
        email=user.email,
        administrator=user.administrator,
        disabled=user.disabled,
        memberships=[
            MembershipShown(account_id=account_id, account=accounts[account_id].slug, role=role)
            for account_id, role in user.memberships.items()
        ],
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
