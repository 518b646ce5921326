"""Whom a project notifies of its builds."""

from __future__ import annotations

from aiohttp import web
from pydantic import ConfigDict, Field

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.context import NOTIFICATIONS, project_of
from coordinator.api.http.fields import Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.outbox.messages import RecipientKind
from coordinator.domain.outbox.recipients import Recipient
from coordinator.domain.people.permissions import Principal, Right
from pipelines_schema import Occasion

MAX_ADDRESS_CHARACTERS = 4_000


class NotificationWanted(ApiModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    on: list[Occasion] = Field(min_length=1, max_length=len(Occasion))
    email: str | None = Field(default=None, max_length=MAX_ADDRESS_CHARACTERS)
    webhook: str | None = Field(
        default=None,
        max_length=MAX_ADDRESS_CHARACTERS,
        repr=False,
        description="Its address, which is never shown again",
    )


class NotificationShown(Shown):
    id: str
    kind: RecipientKind
    on: list[Occasion]
    address: str = Field(description="Of a webhook, the server alone")
    created_at: Instant


class NotificationList(Shown):
    notifications: list[NotificationShown]
    signing_secret: str = Field(description="By which webhooks that go out are signed")


def add_routes(app: web.Application) -> None:
    add_operations(app, [list_notifications, add_notification, remove_notification])


@operation(
    "GET",
    "/api/projects/{project_id}/notifications",
    tag="Deliveries",
    summary="List whom a project notifies",
    right=Right.MANAGE,
    errors={404: "Project not found"},
)
async def list_notifications(request: web.Request, principal: Principal) -> NotificationList:
    project, service = await project_of(request, principal), request.app[NOTIFICATIONS]
    found = await service.list_of(principal, project)
    return NotificationList(
        notifications=[_shown(one) for one in found],
        signing_secret=service.signing_secret(project),
    )


@operation(
    "POST",
    "/api/projects/{project_id}/notifications",
    tag="Deliveries",
    summary="Notify somebody of a project's builds",
    right=Right.MANAGE,
    status=201,
    errors={404: "Project not found"},
)
async def add_notification(
    request: web.Request, principal: Principal, body: NotificationWanted
) -> NotificationShown:
    """Give `email` or `webhook`. Builds that are made from now on are told."""
    project = await project_of(request, principal)
    added = await request.app[NOTIFICATIONS].add(
        principal, project, body.on, email=body.email, webhook=body.webhook
    )
    return _shown(added)


@operation(
    "DELETE",
    "/api/projects/{project_id}/notifications/{notification_id}",
    tag="Deliveries",
    summary="Notify somebody no more",
    right=Right.MANAGE,
    errors={404: "Project or notification not found"},
)
async def remove_notification(request: web.Request, principal: Principal) -> None:
    project = await project_of(request, principal)
    notification_id = request.match_info["notification_id"]
    await request.app[NOTIFICATIONS].remove(principal, project, notification_id)


def _shown(recipient: Recipient) -> NotificationShown:
    return NotificationShown(
        id=recipient.id,
        kind=recipient.kind,
        on=[Occasion(word) for word in recipient.occasions.split()],
        address=recipient.address,
        created_at=recipient.created_at,
    )
