"""What the end of an attempt means for its step: done, failed, once more, cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.domain.lifecycle import StepEvent
from coordinator.domain.model import AttemptState
from coordinator.domain.step_definition import StepDefinition
from pipelines_schema import Retries, RetryCause
from pipelines_schema.contract import Completion, CompletionReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    status: Completion
    exit_code: int | None
    reason: CompletionReason | None
    failed_tests: str | None = None
    """Why the script has failed, where its reports say so: `3 of 1,204 tests failed: …`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    retries: Retries
    at_most_once: bool = False
    losses_forgiven: int = 0
    """So many lost attempts count for nothing: a deployment outlives many agents."""
    splits: int = 0
    """So many attempts only found that an image has to be built in parts."""

    def tries_again(
        self, cause: RetryCause, attempts: int, losses: int, exit_code: int | None = None
    ) -> bool:
        """Whether the last of so many attempts, of which so many were lost, is followed by
        another."""
        if self.at_most_once:
            return False
        if cause is RetryCause.LOST and losses <= self.losses_forgiven:
            return True
        counted = attempts - min(losses, self.losses_forgiven) - self.splits
        return self.retries.covers(cause, counted, exit_code)


def retry_policy(definition: StepDefinition) -> RetryPolicy:
    return RetryPolicy(
        retries=definition.written.retries,
        at_most_once=definition.written.at_most_once,
        losses_forgiven=definition.max_lost or 0,
        splits=definition.splits,
    )


def may_run_again_when_lost(definition: StepDefinition) -> bool:
    """Whether anything is gained by calling its attempt lost: else its result is waited for."""
    return retry_policy(definition).tries_again(RetryCause.LOST, attempts=1, losses=1)


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
    policy: RetryPolicy,
    cancel_requested_by: str | None,
) -> Verdict:
    """`attempt_number` counts from 1; `lost_count` are those before this one that were lost."""
    if cancel_requested_by is not None and end.status is not Completion.SUCCESS:
        return Verdict(
            event=StepEvent.CANCEL,
            attempt=AttemptState.CANCELLED,
            reason=f"cancelled by {cancel_requested_by}",
        )
    if end.status is Completion.SUCCESS:
        return Verdict(event=StepEvent.SUCCEED, attempt=AttemptState.SUCCEEDED, reason=None)
    cause = _CAUSES.get(end.reason, RetryCause.FAILURE)
    lost = cause is RetryCause.LOST
    losses = lost_count + lost
    again = policy.tries_again(cause, attempt_number, losses, end.exit_code)
    next_try = StepEvent.DELAY if policy.retries.delay_seconds else StepEvent.RETRY
    return Verdict(
        event=next_try if again else StepEvent.FAIL,
        attempt=AttemptState.LOST if lost else AttemptState.FAILED,
        reason=_lost(again, losses, policy) if lost else _describe(end),
        lost=lost,
    )


_CAUSES: Mapping[CompletionReason | None, RetryCause] = {
    CompletionReason.LOST: RetryCause.LOST,
    CompletionReason.TIMEOUT: RetryCause.TIMEOUT,
}


def _lost(again: bool, losses: int, policy: RetryPolicy) -> str:
    if again:
        return "lost agent"
    if losses > 1:
        return f"lost agent: {losses} attempts were lost with their agents"
    word = "`atMostOnce`" if policy.at_most_once else "its `retries`"
    return f"lost agent: how far it came is not known, and {word} allows no other attempt"


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
        case CompletionReason.SERVICES:
            return "services"
        case CompletionReason.SOURCE:
            return "source"
        case CompletionReason.OUTPUTS:
            return "outputs"
        case CompletionReason.CANCELLED:
            return "cancelled on the agent"
        case _:
            if end.failed_tests is not None:
                return end.failed_tests
            if end.exit_code is None:
                return "reported as failed"
            return f"exit code {end.exit_code}"
