"""What a deployment's steps say of it: every pair of states."""

from __future__ import annotations

import pytest

from coordinator.domain.image_builds.deployment_status import deployment_status
from coordinator.domain.image_builds.records import DeploymentStatus
from coordinator.domain.lifecycle import StepState

S, D = StepState, DeploymentStatus


@pytest.mark.parametrize(
    ("image", "program", "status"),
    [
        (S.READY, S.BLOCKED, D.PENDING),
        (S.OFFERED, S.BLOCKED, D.PENDING),
        (S.RUNNING, S.BLOCKED, D.BUILDING),
        (S.FAILED, S.SKIPPED, D.FAILED),
        (S.CANCELLED, S.SKIPPED, D.STOPPED),
        (S.RUNNING, S.CANCELLED, D.STOPPED),
        (S.SUCCEEDED, S.READY, D.STARTING),
        (S.SUCCEEDED, S.OFFERED, D.STARTING),
        (None, S.READY, D.STARTING),
        (None, S.RUNNING, D.RUNNING),
        (None, S.SUCCEEDED, D.COMPLETED),
        (None, S.FAILED, D.FAILED),
        (None, S.CANCELLED, D.STOPPED),
        (None, None, D.FAILED),
    ],
)
def test_the_steps_tell_the_status(
    image: StepState | None, program: StepState | None, status: DeploymentStatus
) -> None:
    assert deployment_status(image, program) is status


@pytest.mark.parametrize("program", list(StepState))
@pytest.mark.parametrize("image", [None, *StepState])
def test_no_pair_of_states_is_without_a_status(image: StepState | None, program: StepState) -> None:
    assert deployment_status(image, program) in DeploymentStatus
