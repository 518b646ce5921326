"""A project's deliveries, as people see them, and the credential its repository is fetched with."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.context import CORE, CREDENTIALS, DELIVERIES, project_of
from coordinator.api.http.fields import Instant, PageQuery, Pagination, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.deliveries import Delivery, DeliveryState
from coordinator.services.projects.credentials import MAX_CREDENTIAL_CHARACTERS


class CredentialSet(ApiModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("token", "deployKey")
            ]
        },
    )

    token: str | None = Field(default=None, min_length=1, max_length=MAX_CREDENTIAL_CHARACTERS)
    deploy_key: str | None = Field(default=None, min_length=1, max_length=MAX_CREDENTIAL_CHARACTERS)


class RefShown(Shown):
    ref: str
    before: str | None = None
    after: str | None = None


class BuildLink(Shown):
    id: str
    number: int
    url: str


class DeliveryShown(Shown):
    delivery_id: str
    forge: str
    event: str
    status: DeliveryState
    reason: str | None = None
    refs: list[RefShown]
    pull_request: int | None = None
    builds: list[BuildLink]
    attempts: int
    received_at: Instant
    next_try_at: Instant | None = None
    finished_at: Instant | None = None


class DeliveryPage(Shown):
    deliveries: list[DeliveryShown]
    rejected_since_start: int = Field(description="How many came wrongly signed or unsigned")
    pagination: Pagination


def add_routes(app: web.Application) -> None:
    add_operations(app, [list_deliveries, redeliver, set_credential, remove_credential])


@operation(
    "GET",
    "/api/projects/{project_id}/deliveries",
    tag="Deliveries",
    summary="List a project's deliveries",
    right=Right.READ,
    errors={404: "Project not found"},
)
async def list_deliveries(
    request: web.Request, principal: Principal, query: PageQuery
) -> DeliveryPage:
    """Newest first."""
    project = await project_of(request, principal)
    limit, offset = query.page
    found, total = await request.app[DELIVERIES].list_of(project, limit, offset)
    return DeliveryPage(
        deliveries=[delivery_shown(request, delivery) for delivery in found],
        rejected_since_start=request.app[DELIVERIES].rejected(project.id),
        pagination=Pagination.of(total, query.page, len(found)),
    )


@operation(
    "POST",
    "/api/projects/{project_id}/deliveries/{delivery_id}/redeliver",
    tag="Deliveries",
    summary="Process a delivery again",
    right=Right.BUILD,
    status=202,
    errors={404: "Project or delivery not found", 409: "It is being processed"},
)
async def redeliver(request: web.Request, principal: Principal) -> DeliveryShown:
    project = await project_of(request, principal)
    delivery = await request.app[DELIVERIES].redeliver(
        principal, project, request.match_info["delivery_id"]
    )
    return delivery_shown(request, delivery)


@operation(
    "PUT",
    "/api/projects/{project_id}/credential",
    tag="Deliveries",
    summary="Set what the project's repository is fetched with",
    right=Right.MANAGE,
    errors={404: "Project not found", 409: "The project is not a remote one"},
)
async def set_credential(request: web.Request, principal: Principal, body: CredentialSet) -> None:
    project = await project_of(request, principal)
    await request.app[CREDENTIALS].set(
        principal, project, token=body.token, deploy_key=body.deploy_key
    )


@operation(
    "DELETE",
    "/api/projects/{project_id}/credential",
    tag="Deliveries",
    summary="Remove what the project's repository is fetched with",
    right=Right.MANAGE,
    errors={404: "Project or credential not found"},
)
async def remove_credential(request: web.Request, principal: Principal) -> None:
    await request.app[CREDENTIALS].remove(principal, await project_of(request, principal))


def delivery_shown(request: web.Request, delivery: Delivery) -> DeliveryShown:
    base, payload = request.app[CORE].public_url, delivery.payload
    return DeliveryShown(
        delivery_id=delivery.delivery_id,
        forge=delivery.forge,
        event=delivery.event,
        status=delivery.state,
        reason=delivery.reason,
        refs=[_ref(ref) for ref in payload["refs"]],
        pull_request=(payload["pull_request"] or {}).get("number"),
        builds=[
            BuildLink(id=build["id"], number=build["number"], url=f"{base}/builds/{build['id']}")
            for build in delivery.builds
        ],
        attempts=delivery.attempts,
        received_at=delivery.received_at,
        next_try_at=delivery.next_try_at,
        finished_at=delivery.finished_at,
    )


def _ref(ref: dict[str, Any]) -> RefShown:
    return RefShown(ref=ref["ref"], before=ref["before"], after=ref["after"])
