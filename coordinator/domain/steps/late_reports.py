"""Whose word still counts: a report that comes after its attempt was taken for lost."""

from __future__ import annotations

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Attempt, AttemptState, Step

_NOT_BEGUN_ANEW = frozenset(
    {StepState.DELAYED, StepState.IN_LINE, StepState.READY, StepState.OFFERED}
)


def is_late(step: Step, attempt: Attempt) -> bool:
    """It was taken for lost, but nobody has begun the step anew: its result is as good as ever.

    An offer of the step that nobody has accepted is taken back for it. A loss that the agent
    reported itself has its log's length, and is final.
    """
    return (
        attempt.state is AttemptState.LOST
        and attempt.log_bytes is None
        and attempt.number == step.attempt
        and step.state in _NOT_BEGUN_ANEW
    )


def may_be_reported_on(step: Step, attempt: Attempt) -> bool:
    """Log, artifacts and completion are taken."""
    return attempt.state is AttemptState.RUNNING or is_late(step, attempt)
