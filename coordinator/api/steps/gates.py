"""Answers to a step that waits for an approval."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from coordinator.api.http.context import GATES
from coordinator.api.http.fields import Body, Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Build, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.steps.gates import approver_of
from pipelines_schema import Approver, Gate

ERRORS = {404: "Step not found", 409: "The step does not wait for an answer"}


class GateParam(Shown):
    name: str
    default: str | None = Field(None, description="What it is if none is given")
    one_of: list[str] | None = None


class AnsweredShown(Shown):
    approved: bool
    by: str
    at: Instant | None = None


class ApprovalShown(Shown):
    message: str | None = None
    by: Approver = Field(description="The least role that may answer")
    params: list[GateParam] | None = None
    expires_at: Instant | None = Field(None, description="Until when it waits, while it does")
    answered: AnsweredShown | None = None


class ApproveWanted(Body):
    params: dict[str, str] = Field({}, description="Of the step's `approve.params`")


def add_routes(app: web.Application) -> None:
    add_operations(app, [approve_step, reject_step])


@operation(
    "POST",
    "/api/steps/{step_id}/approve",
    tag="Steps",
    summary="Approve a step that waits for it",
    right=Right.BUILD,
    body_optional=True,
    errors=ERRORS,
)
async def approve_step(
    request: web.Request, principal: Principal, body: ApproveWanted
) -> ApprovalShown:
    """By one who has the role that the step names. The parameters become its outputs."""
    step_id = request.match_info["step_id"]
    return _shown(*await request.app[GATES].approve(principal, step_id, body.params))


@operation(
    "POST",
    "/api/steps/{step_id}/reject",
    tag="Steps",
    summary="Reject a step that waits for an approval",
    right=Right.BUILD,
    errors=ERRORS,
)
async def reject_step(request: web.Request, principal: Principal) -> ApprovalShown:
    """By one who could approve it. It fails, and what depends on it is skipped."""
    return _shown(*await request.app[GATES].reject(principal, request.match_info["step_id"]))


def approval_shown(build: Build, step: Step) -> ApprovalShown | None:
    """None for a step that asks for none."""
    return None if step.written.approve is None else _shown(build, step)


def _shown(build: Build, step: Step) -> ApprovalShown:
    gate = step.written.approve or Gate()
    params = [
        GateParam(
            name=param.name,
            default=param.value_if_not_given,
            one_of=None if param.one_of is None else list(param.one_of),
        )
        for param in gate.params
    ]
    answer = step.answer
    return ApprovalShown(
        message=gate.message,
        by=approver_of(gate, of_fork=build.of_fork),
        params=params or None,
        expires_at=step.queue_until if step.state is StepState.WAITING else None,
        answered=None
        if answer is None
        else AnsweredShown(approved=answer.approved, by=answer.by, at=step.finished_at),
    )
