"""Logins to registries of images: hosts and usernames can be read, passwords only set."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from pydantic import ConfigDict, Field

from coordinator.api.http.context import ACCOUNTS, PROJECTS, REGISTRY_LOGINS
from coordinator.api.http.fields import Body, Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.errors import NotFound
from coordinator.domain.model import Account, Project, RegistryLoginShown
from coordinator.domain.people.permissions import Principal, Right

HOST_RULE = {"host": {"pattern": r"^[A-Za-z0-9-]+((\.[A-Za-z0-9-]+)+(:[0-9]{1,5})?|:[0-9]{1,5})$"}}
TAG = "Registries"


class LoginGiven(Body):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: str = Field(min_length=1, max_length=255, json_schema_extra={"pattern": "^[^\\s:]+$"})
    password: str = Field(min_length=1, repr=False)


class LoginShown(Shown):
    host: str
    username: str
    of: str = Field(description="`project`, or `account`: then it is for all its projects")
    updated_at: Instant


class RegistryNamed(Shown):
    host: str


def add_routes(app: web.Application) -> None:
    add_operations(
        app,
        [
            list_of_project,
            set_of_project,
            remove_of_project,
            list_of_account,
            set_of_account,
            remove_of_account,
        ],
    )


async def _project(request: web.Request, principal: Principal) -> Project:
    return await request.app[PROJECTS].get(principal, request.match_info["project_id"])


async def _account(request: web.Request, principal: Principal) -> Account:
    account = await request.app[ACCOUNTS].find(principal, request.match_info["account_id"])
    if account is None:
        raise NotFound("account not found")
    return account


async def _set(
    request: web.Request, principal: Principal, owner: Project | Account, login: LoginGiven
) -> RegistryNamed:
    host = request.match_info["host"]
    await request.app[REGISTRY_LOGINS].set(
        principal, owner, host, username=login.username, password=login.password
    )
    return RegistryNamed(host=host.lower())


async def _remove(
    request: web.Request, principal: Principal, owner: Project | Account
) -> RegistryNamed:
    host = request.match_info["host"]
    await request.app[REGISTRY_LOGINS].remove(principal, owner, host)
    return RegistryNamed(host=host.lower())


def _shown(logins: Sequence[RegistryLoginShown], account_id: str) -> list[LoginShown]:
    return [
        LoginShown(
            host=login.host,
            username=login.username,
            of="account" if login.scope_id == account_id else "project",
            updated_at=login.updated_at,
        )
        for login in logins
    ]


@operation(
    "GET",
    "/api/projects/{project_id}/registries",
    tag=TAG,
    summary="List the logins to registries that a project's steps get",
    right=Right.MANAGE,
    errors={404: "Project not found"},
)
async def list_of_project(request: web.Request, principal: Principal) -> list[LoginShown]:
    project = await _project(request, principal)
    logins = await request.app[REGISTRY_LOGINS].list_of(principal, project)
    return _shown(logins, project.account_id)


@operation(
    "PUT",
    "/api/projects/{project_id}/registries/{host}",
    tag=TAG,
    summary="Log a project in to a registry",
    right=Right.MANAGE,
    errors={404: "Project not found"},
    path_rules=HOST_RULE,
)
async def set_of_project(
    request: web.Request, principal: Principal, body: LoginGiven
) -> RegistryNamed:
    return await _set(request, principal, await _project(request, principal), body)


@operation(
    "DELETE",
    "/api/projects/{project_id}/registries/{host}",
    tag=TAG,
    summary="Forget a project's login",
    right=Right.MANAGE,
    errors={404: "Project or login not found"},
)
async def remove_of_project(request: web.Request, principal: Principal) -> RegistryNamed:
    return await _remove(request, principal, await _project(request, principal))


@operation(
    "GET",
    "/api/accounts/{account_id}/registries",
    tag=TAG,
    summary="List an account's logins to registries, for all its projects",
    right=Right.MANAGE,
    errors={404: "Account not found"},
)
async def list_of_account(request: web.Request, principal: Principal) -> list[LoginShown]:
    account = await _account(request, principal)
    return _shown(await request.app[REGISTRY_LOGINS].list_of(principal, account), account.id)


@operation(
    "PUT",
    "/api/accounts/{account_id}/registries/{host}",
    tag=TAG,
    summary="Log an account in to a registry",
    right=Right.MANAGE,
    errors={404: "Account not found"},
    path_rules=HOST_RULE,
)
async def set_of_account(
    request: web.Request, principal: Principal, body: LoginGiven
) -> RegistryNamed:
    return await _set(request, principal, await _account(request, principal), body)


@operation(
    "DELETE",
    "/api/accounts/{account_id}/registries/{host}",
    tag=TAG,
    summary="Forget an account's login",
    right=Right.MANAGE,
    errors={404: "Account or login not found"},
)
async def remove_of_account(request: web.Request, principal: Principal) -> RegistryNamed:
    return await _remove(request, principal, await _account(request, principal))
