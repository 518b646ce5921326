"""A project's secrets: names can be read, values only set."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from coordinator.api.context import PROJECTS, SECRETS
from coordinator.api.middleware import principal_of, read_model
from coordinator.api.times import iso
from coordinator.domain.model import Project
from coordinator.domain.permissions import Principal, Right


class SecretValue(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    value: str = Field(repr=False)


def add_routes(app: web.Application) -> None:
    app.router.add_get("/api/projects/{project_id}/secrets", list_secrets)
    app.router.add_put("/api/projects/{project_id}/secrets/{name}", set_secret)
    app.router.add_delete("/api/projects/{project_id}/secrets/{name}", delete_secret)


async def _asked(request: web.Request) -> tuple[Principal, Project]:
    principal = await principal_of(request, Right.MANAGE)
    return principal, await request.app[PROJECTS].get(principal, request.match_info["project_id"])


async def list_secrets(request: web.Request) -> web.Response:
    principal, project = await _asked(request)
    return web.json_response(
        [
            {"name": secret.name, "updatedAt": iso(secret.updated_at)}
            for secret in await request.app[SECRETS].list_of(principal, project)
        ]
    )


async def set_secret(request: web.Request) -> web.Response:
    principal, project = await _asked(request)
    name = request.match_info["name"]
    wanted = await read_model(request, SecretValue)
    await request.app[SECRETS].set(principal, project, name, wanted.value)
    return web.json_response({"name": name})


async def delete_secret(request: web.Request) -> web.Response:
    principal, project = await _asked(request)
    name = request.match_info["name"]
    await request.app[SECRETS].delete(principal, project, name)
    return web.json_response({"name": name})
