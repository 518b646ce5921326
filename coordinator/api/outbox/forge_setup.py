"""A project's webhook at its forge: made, and looked at."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from pydantic import Field

from coordinator.api.http.context import FORGE_SETUP, project_of
from coordinator.api.http.fields import Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.outbox.hooks import Finding
from coordinator.domain.people.permissions import Principal, Right

_ERRORS = {404: "Project not found", 409: "The project is not a remote one, or has no token"}


class FindingShown(Shown):
    about: str = Field(
        description="token, webhook, statuses, in (webhooks that came) or out (statuses told)"
    )
    ok: bool
    says: str
    remedy: str | None = Field(default=None, description="What mends it, where it isn't ok")


class FindingList(Shown):
    ok: bool = Field(description="Whether all of them are")
    findings: list[FindingShown]


def add_routes(app: web.Application) -> None:
    add_operations(app, [make_forge_webhook, check_forge])


@operation(
    "POST",
    "/api/projects/{project_id}/forge-webhook",
    tag="Deliveries",
    summary="Make the project's webhook at its forge, or put the known one right",
    right=Right.MANAGE,
    errors=_ERRORS,
)
async def make_forge_webhook(request: web.Request, principal: Principal) -> FindingList:
    """With the token that the project has for its forge, which is tried for statuses, too."""
    project = await project_of(request, principal)
    return _shown(await request.app[FORGE_SETUP].make(principal, project))


@operation(
    "POST",
    "/api/projects/{project_id}/forge-check",
    tag="Deliveries",
    summary="Look for what is missing at the project's forge",
    right=Right.MANAGE,
    errors=_ERRORS,
)
async def check_forge(request: web.Request, principal: Principal) -> FindingList:
    """Asks the forge: its webhook, the token's rights; and tells what came and went last."""
    project = await project_of(request, principal)
    return _shown(await request.app[FORGE_SETUP].check(principal, project))


def _shown(findings: Sequence[Finding]) -> FindingList:
    return FindingList(
        ok=all(one.ok for one in findings),
        findings=[
            FindingShown(about=one.about, ok=one.ok, says=one.says, remedy=one.remedy)
            for one in findings
        ],
    )
