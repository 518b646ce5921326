"""Secrets of projects and accounts: names and for whom they are can be read, values only set."""

from __future__ import annotations

from functools import cache, partial

from aiohttp import web
from pydantic import ConfigDict, Field

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.context import SECRETS, project_of
from coordinator.api.http.fields import Body, Instant, Shown
from coordinator.api.http.operations import Operation, add_operations, operation
from coordinator.api.projects.owners import Owner, account_of
from coordinator.domain.errors import Invalid
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.projects.sealed import SecretShown
from coordinator.domain.projects.secret_values import BRANCHES, EVERY_BUILD, TAGS
from coordinator.services.projects.secrets import checked_pattern

NAME_RULE = {"name": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$"}}
LISTED_OF_PROJECT = "List the names of a project's secrets"
LISTED_OF_ACCOUNT = "List the names of an account's secrets, for all its projects"
BRANCH = "Only builds of branches that this pattern matches (`release/*`) get the value"
TAG = "Only builds of tags that this pattern matches (`v*`) get the value"


class SecretValue(ApiModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    value: str = Field(repr=False, json_schema_extra={"minLength": 1})
    branch: str | None = Field(None, description=BRANCH)
    tag: str | None = Field(None, description=TAG)


class WhichValue(Body):
    branch: str | None = Field(None, description="Only the value for this pattern of branches")
    tag: str | None = Field(None, description="Only the value for this pattern of tags")
    others: bool = Field(False, description="Only the value for builds that have none of their own")


class SecretListed(Shown):
    name: str
    of: str = Field(description="`project`, or `account`: then it is for all its projects")
    branch: str | None = Field(description=BRANCH)
    tag: str | None = Field(description=TAG)
    updated_at: Instant


class SecretNamed(Shown):
    name: str


def add_routes(app: web.Application) -> None:
    add_operations(app, _operations(project_of, "project", "a project's", LISTED_OF_PROJECT))
    add_operations(app, _operations(account_of, "account", "an account's", LISTED_OF_ACCOUNT))


@cache  # made once, as what modules declare
def _operations(owner_of: Owner, owner: str, an_owners: str, listed: str) -> list[Operation]:
    secrets = f"/api/{owner}s/{{{owner}_id}}/secrets"
    missing = owner.capitalize()
    declare = partial(operation, tag="Secrets", right=Right.MANAGE)

    @declare(
        "GET",
        secrets,
        name=f"list_secrets_of_{owner}",
        summary=listed,
        errors={404: f"{missing} not found"},
    )
    async def list_of(request: web.Request, principal: Principal) -> list[SecretListed]:
        whose = await owner_of(request, principal)
        found = await request.app[SECRETS].list_of(principal, whose)
        own = whose.id if isinstance(whose, Project) else None
        return [_shown(secret, own) for secret in found]

    @declare(
        "PUT",
        f"{secrets}/{{name}}",
        name=f"set_secret_of_{owner}",
        summary=f"Set {an_owners} secret",
        errors={404: f"{missing} not found"},
        path_rules=NAME_RULE,
    )
    async def set_of(request: web.Request, principal: Principal, body: SecretValue) -> SecretNamed:
        """For builds of some branches or tags, or for all that have no value of their own."""
        name = request.match_info["name"]
        whose = await owner_of(request, principal)
        await request.app[SECRETS].set(
            principal, whose, name, body.value, branch=body.branch, tag=body.tag
        )
        return SecretNamed(name=name)

    @declare(
        "DELETE",
        f"{secrets}/{{name}}",
        name=f"delete_secret_of_{owner}",
        summary=f"Delete {an_owners} secret, or one value of it",
        errors={404: f"{missing} or secret not found"},
    )
    async def delete_of(
        request: web.Request, principal: Principal, query: WhichValue
    ) -> SecretNamed:
        name = request.match_info["name"]
        whose = await owner_of(request, principal)
        await request.app[SECRETS].delete(principal, whose, name, only=_which(query))
        return SecretNamed(name=name)

    return [list_of, set_of, delete_of]


def _which(query: WhichValue) -> str | None:
    """None: all of them. Raises Invalid."""
    if query.others and (query.branch is not None or query.tag is not None):
        raise Invalid("say branch, tag or others: one of them")
    if query.others:
        return EVERY_BUILD
    return checked_pattern(query.branch, query.tag) or None


def _shown(secret: SecretShown, project_id: str | None) -> SecretListed:
    pattern = secret.pattern
    return SecretListed(
        name=secret.name,
        of="project" if secret.scope_id == project_id else "account",
        branch=pattern.removeprefix(BRANCHES) if pattern.startswith(BRANCHES) else None,
        tag=pattern.removeprefix(TAGS) if pattern.startswith(TAGS) else None,
        updated_at=secret.updated_at,
    )
