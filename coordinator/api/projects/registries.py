"""Logins to registries of images: hosts and usernames can be read, passwords only set."""

from __future__ import annotations

from functools import cache, partial

from aiohttp import web
from pydantic import ConfigDict, Field

from coordinator.api.http.context import REGISTRY_LOGINS, REGISTRY_TRIES, project_of
from coordinator.api.http.fields import Body, Instant, Shown
from coordinator.api.http.operations import Operation, add_operations, operation
from coordinator.api.projects.owners import Owner, account_of
from coordinator.domain.model import Account, Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.projects.sealed import RegistryLoginShown

HOST_RULE = {"host": {"pattern": r"^[A-Za-z0-9-]+((\.[A-Za-z0-9-]+)+(:[0-9]{1,5})?|:[0-9]{1,5})$"}}
TAG = "Registries"
LISTED_OF_PROJECT = "List the logins to registries that a project's steps get"
LISTED_OF_ACCOUNT = "List an account's logins to registries, for all its projects"


class LoginGiven(Body):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: str = Field(min_length=1, max_length=255, json_schema_extra={"pattern": "^[^\\s:]+$"})
    password: str = Field(min_length=1, repr=False)


class LoginShown(Shown):
    host: str
    username: str
    of: str = Field(description="`project`, or `account`: then it is for all its projects")
    updated_at: Instant


class LoginTried(Shown):
    host: str
    good: bool = Field(description="The registry was reached and takes the login")
    says: str
    remedy: str | None = None


class RegistryNamed(Shown):
    host: str


def add_routes(app: web.Application) -> None:
    add_operations(app, _operations(project_of, "project", "a project", LISTED_OF_PROJECT))
    add_operations(app, _operations(account_of, "account", "an account", LISTED_OF_ACCOUNT))


@cache  # made once, as what modules declare
def _operations(
    owner_of: Owner,
    owner: str,
    an_owner: str,
    listed: str,
) -> list[Operation]:
    logins = f"/api/{owner}s/{{{owner}_id}}/registries"
    missing = owner.capitalize()
    declare = partial(operation, tag=TAG, right=Right.MANAGE)

    @declare(
        "GET",
        logins,
        name=f"list_of_{owner}",
        summary=listed,
        errors={404: f"{missing} not found"},
    )
    async def list_of(request: web.Request, principal: Principal) -> list[LoginShown]:
        whose = await owner_of(request, principal)
        found = await request.app[REGISTRY_LOGINS].list_of(principal, whose)
        return [_shown(login, whose) for login in found]

    @declare(
        "PUT",
        f"{logins}/{{host}}",
        name=f"set_of_{owner}",
        summary=f"Log {an_owner} in to a registry",
        errors={404: f"{missing} not found"},
        path_rules=HOST_RULE,
    )
    async def set_of(request: web.Request, principal: Principal, body: LoginGiven) -> RegistryNamed:
        whose, host = await owner_of(request, principal), request.match_info["host"]
        await request.app[REGISTRY_LOGINS].set(
            principal, whose, host, username=body.username, password=body.password
        )
        return RegistryNamed(host=host.lower())

    @declare(
        "DELETE",
        f"{logins}/{{host}}",
        name=f"remove_of_{owner}",
        summary=f"Forget {an_owner}'s login",
        errors={404: f"{missing} or login not found"},
    )
    async def remove_of(request: web.Request, principal: Principal) -> RegistryNamed:
        whose, host = await owner_of(request, principal), request.match_info["host"]
        await request.app[REGISTRY_LOGINS].remove(principal, whose, host)
        return RegistryNamed(host=host.lower())

    @declare(
        "POST",
        f"{logins}/{{host}}/try",
        name=f"try_of_{owner}",
        summary=f"Try whether a registry takes {an_owner}'s login",
        errors={404: f"{missing} or login not found"},
        path_rules=HOST_RULE,
    )
    async def try_of(request: web.Request, principal: Principal) -> LoginTried:
        """From the coordinator's machine, within ten seconds."""
        whose, host = await owner_of(request, principal), request.match_info["host"]
        found = await request.app[REGISTRY_TRIES].login_of(principal, whose, host)
        return LoginTried(host=host.lower(), good=found.good, says=found.says, remedy=found.remedy)

    return [list_of, set_of, remove_of, try_of]


def _shown(login: RegistryLoginShown, owner: Project | Account) -> LoginShown:
    own_project = isinstance(owner, Project) and login.scope_id == owner.id
    return LoginShown(
        host=login.host,
        username=login.username,
        of="project" if own_project else "account",
        updated_at=login.updated_at,
    )
