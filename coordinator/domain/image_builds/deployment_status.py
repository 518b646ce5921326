"""What a deployment's two steps say of it."""

from __future__ import annotations

from coordinator.domain.image_builds.records import DeploymentStatus
from coordinator.domain.lifecycle import StepState

_OF_PROGRAM = {
    StepState.READY: DeploymentStatus.STARTING,
    StepState.IN_LINE: DeploymentStatus.STARTING,
    StepState.WAITING: DeploymentStatus.STARTING,
    StepState.DELAYED: DeploymentStatus.STARTING,
    StepState.OFFERED: DeploymentStatus.STARTING,
    StepState.RUNNING: DeploymentStatus.RUNNING,
    StepState.SUCCEEDED: DeploymentStatus.COMPLETED,
    StepState.FAILED: DeploymentStatus.FAILED,
    StepState.CANCELLED: DeploymentStatus.STOPPED,
}


def deployment_status(
    image: StepState | None, program: StepState | None, *, is_asked: bool = False
) -> DeploymentStatus:
    """`image` is None where none was built; `program` where the build failed without steps.
    `is_asked`: its health check has not answered yet."""
    if program is None:
        return DeploymentStatus.FAILED
    if program in (StepState.BLOCKED, StepState.RESOLVING):
        building = image is StepState.RUNNING
        return DeploymentStatus.BUILDING if building else DeploymentStatus.PENDING
    if program is StepState.SKIPPED:
        stopped = image is StepState.CANCELLED
        return DeploymentStatus.STOPPED if stopped else DeploymentStatus.FAILED
    if is_asked and program is StepState.RUNNING:
        return DeploymentStatus.STARTING
    return _OF_PROGRAM[program]
