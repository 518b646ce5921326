"""Why a step was run, or was not."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from coordinator.api.http.context import WHY
from coordinator.api.http.fields import Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.people.permissions import Principal, Right


class WhyShown(Shown):
    says: str = Field(description="A sentence for people, beginning with `it`")
    taken_from: int | None = Field(
        None, description="Number of the build that ran it, where its result was taken"
    )
    laptop_of: str | None = Field(
        None, description="Who sent that result from a laptop, where no agent has run it"
    )
    compared_with: int | None = Field(
        None, description="Number of the build of the nearest success"
    )
    other_build_id: str | None = Field(
        None, description="Id of the build of that number, if it was not deleted"
    )
    differences: list[str] | None = Field(None, description="From that")
    never: str | None = Field(None, description="Why no earlier result was looked for")
    not_kept: str | None = Field(None, description="Why no later build takes its result")


def add_routes(app: web.Application) -> None:
    add_operations(app, [get_why])


@operation(
    "GET",
    "/api/steps/{step_id}/why",
    tag="Steps",
    summary="Why a step was run, or taken from an earlier build",
    right=Right.READ,
    errors={404: "Step not found"},
)
async def get_why(request: web.Request, principal: Principal) -> WhyShown:
    """What a step with `inputs` was taken from; else what differs from its nearest success, or why
    none was looked for."""
    why = await request.app[WHY].why(principal, request.match_info["step_id"])
    return WhyShown(
        says=why.answer,
        taken_from=why.taken_from,
        laptop_of=why.laptop_of,
        compared_with=why.compared_with,
        other_build_id=why.other_build_id,
        differences=list(why.differences) or None,
        never=why.never,
        not_kept=why.not_kept,
    )
