"""A project's deliveries, as people see them, and the credential its repository is fetched with."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from coordinator.api.context import CORE, CREDENTIALS, DELIVERIES, PROJECTS
from coordinator.api.dialects.build_server import page_of
from coordinator.api.middleware import principal_of, read_model
from coordinator.api.times import iso
from coordinator.domain.deliveries import Delivery
from coordinator.domain.model import Project
from coordinator.domain.permissions import Principal, Right
from coordinator.services.credentials import MAX_CREDENTIAL_CHARACTERS


class CredentialSet(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)

    token: str | None = Field(default=None, min_length=1, max_length=MAX_CREDENTIAL_CHARACTERS)
    deploy_key: str | None = Field(default=None, min_length=1, max_length=MAX_CREDENTIAL_CHARACTERS)


def add_routes(app: web.Application) -> None:
    base = "/api/projects/{project_id}"
    app.router.add_get(f"{base}/deliveries", list_deliveries)
    app.router.add_post(f"{base}/deliveries/{{delivery_id}}/redeliver", redeliver)
    app.router.add_put(f"{base}/credential", set_credential)
    app.router.add_delete(f"{base}/credential", remove_credential)


async def _project(request: web.Request, principal: Principal) -> Project:
    return await request.app[PROJECTS].get(principal, request.match_info["project_id"])


async def list_deliveries(request: web.Request) -> web.Response:
    """Newest first."""
    project = await _project(request, await principal_of(request, Right.READ))
    limit, offset = page_of(request, default_limit=20)
    found, total = await request.app[DELIVERIES].list_of(project, limit, offset)
    pagination = {
        "total": total,
        "limit": limit,
        "offset": offset,
        "hasMore": offset + len(found) < total and len(found) > 0,
    }
    return web.json_response(
        {
            "deliveries": [shown_delivery(request, delivery) for delivery in found],
            "rejectedSinceStart": request.app[DELIVERIES].rejected(project.id),
            "pagination": pagination,
        }
    )


async def redeliver(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.BUILD)
    project = await _project(request, principal)
    delivery = await request.app[DELIVERIES].redeliver(
        principal, project, request.match_info["delivery_id"]
    )
    return web.json_response(shown_delivery(request, delivery), status=202)


async def set_credential(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    project = await _project(request, principal)
    wanted = await read_model(request, CredentialSet)
    await request.app[CREDENTIALS].set(
        principal, project, token=wanted.token, deploy_key=wanted.deploy_key
    )
    return web.Response(status=204)


async def remove_credential(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    await request.app[CREDENTIALS].remove(principal, await _project(request, principal))
    return web.Response(status=204)


def shown_delivery(request: web.Request, delivery: Delivery) -> dict[str, Any]:
    base, payload = request.app[CORE].public_url, delivery.payload
    shown: dict[str, Any] = {
        "deliveryId": delivery.delivery_id,
        "forge": delivery.forge,
        "event": delivery.event,
        "status": delivery.state.value,
        "reason": delivery.reason,
        "refs": [
            {name: ref[name] for name in ("ref", "before", "after") if ref[name] is not None}
            for ref in payload["refs"]
        ],
        "pullRequest": (payload["pull_request"] or {}).get("number"),
        "builds": [{**build, "url": f"{base}/builds/{build['id']}"} for build in delivery.builds],
        "attempts": delivery.attempts,
        "receivedAt": iso(delivery.received_at),
        "nextTryAt": iso(delivery.next_try_at) if delivery.next_try_at else None,
        "finishedAt": iso(delivery.finished_at) if delivery.finished_at else None,
    }
    return {name: value for name, value in shown.items() if value is not None}
