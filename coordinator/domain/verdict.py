"""What the end of an attempt means for its step: done, failed, once more, cancelled."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from coordinator.domain.lifecycle import StepEvent
from coordinator.domain.model import AttemptState
from pipelines_schema.contract import Completion, CompletionReason

MAX_LOST = 5
"""After so many attempts lost with their agents the step itself is taken for the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    status: Completion
    exit_code: int | None
    reason: CompletionReason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    max: int
    on: Collection[str]
    """Of `lost`, `timeout`, `failure`."""
    max_lost: int = MAX_LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    event: StepEvent
    attempt: AttemptState
    reason: str | None
    lost: bool = False


def judge(
    end: AttemptEnd,
    *,
    attempt_number: int,
    lost_count: int,
    retries: RetryPolicy,
    cancel_requested_by: str | None,
) -> Verdict:
    """`attempt_number` counts from 1; lost attempts don't use up the step's retries."""
    if cancel_requested_by is not None and end.status is not Completion.SUCCESS:
        return Verdict(
            event=StepEvent.CANCEL,
            attempt=AttemptState.CANCELLED,
            reason=f"cancelled by {cancel_requested_by}",
        )
    if end.status is Completion.SUCCESS:
        return Verdict(event=StepEvent.SUCCEED, attempt=AttemptState.SUCCEEDED, reason=None)
    if end.reason is CompletionReason.LOST:
        return _judge_lost(lost_count, retries.max_lost)
    tries_used = attempt_number - lost_count
    cause = "timeout" if end.reason is CompletionReason.TIMEOUT else "failure"
    again = cause in retries.on and tries_used <= retries.max
    return Verdict(
        event=StepEvent.RETRY if again else StepEvent.FAIL,
        attempt=AttemptState.FAILED,
        reason=_describe(end),
    )


def _judge_lost(lost_count: int, max_lost: int) -> Verdict:
    if lost_count + 1 >= max_lost:
        return Verdict(
            event=StepEvent.FAIL,
            attempt=AttemptState.LOST,
            reason=f"lost agent: {lost_count + 1} attempts were lost with their agents",
            lost=True,
        )
    return Verdict(event=StepEvent.RETRY, attempt=AttemptState.LOST, reason="lost agent", lost=True)


def _describe(end: AttemptEnd) -> str:
    match end.reason:
        case CompletionReason.TIMEOUT:
            return "timeout"
        case CompletionReason.OUT_OF_MEMORY:
            return "out of memory"
        case CompletionReason.ENGINE:
            return "engine"
        case CompletionReason.IMAGE:
            return "image"
        case CompletionReason.SECRETS:
            return "secrets"
        case CompletionReason.SOURCE:
            return "source"
        case CompletionReason.OUTPUTS:
            return "outputs"
        case CompletionReason.CANCELLED:
            return "cancelled on the agent"
        case _:
            return f"exit code {end.exit_code}" if end.exit_code is not None else "failed"
