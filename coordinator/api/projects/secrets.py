"""A project's secrets: names can be read, values only set."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from coordinator.api.http.context import SECRETS, project_of
from coordinator.api.http.fields import Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.people.permissions import Principal, Right


class SecretValue(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    value: str = Field(repr=False, json_schema_extra={"minLength": 1})


class SecretShown(Shown):
    name: str
    updated_at: Instant


class SecretNamed(Shown):
    name: str


def add_routes(app: web.Application) -> None:
    add_operations(app, [list_secrets, set_secret, delete_secret])


@operation(
    "GET",
    "/api/projects/{project_id}/secrets",
    tag="Secrets",
    summary="List the names of a project's secrets",
    right=Right.MANAGE,
    errors={404: "Project not found"},
)
async def list_secrets(request: web.Request, principal: Principal) -> list[SecretShown]:
    project = await project_of(request, principal)
    return [
        SecretShown(name=secret.name, updated_at=secret.updated_at)
        for secret in await request.app[SECRETS].list_of(principal, project)
    ]


@operation(
    "PUT",
    "/api/projects/{project_id}/secrets/{name}",
    tag="Secrets",
    summary="Set a secret",
    right=Right.MANAGE,
    errors={404: "Project not found"},
    path_rules={"name": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$"}},
)
async def set_secret(request: web.Request, principal: Principal, body: SecretValue) -> SecretNamed:
    name = request.match_info["name"]
    project = await project_of(request, principal)
    await request.app[SECRETS].set(principal, project, name, body.value)
    return SecretNamed(name=name)


@operation(
    "DELETE",
    "/api/projects/{project_id}/secrets/{name}",
    tag="Secrets",
    summary="Delete a secret",
    right=Right.MANAGE,
    errors={404: "Project or secret not found"},
)
async def delete_secret(request: web.Request, principal: Principal) -> SecretNamed:
    name = request.match_info["name"]
    project = await project_of(request, principal)
    await request.app[SECRETS].delete(principal, project, name)
    return SecretNamed(name=name)
