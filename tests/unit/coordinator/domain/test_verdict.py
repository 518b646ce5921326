"""What the end of an attempt means for its step."""

from __future__ import annotations

import pytest

from coordinator.domain.lifecycle import StepEvent
from coordinator.domain.model import AttemptState
from coordinator.domain.verdict import MAX_LOST, AttemptEnd, RetryPolicy, Verdict, judge
from pipelines_schema.contract import Completion, CompletionReason

ALL = ("lost", "timeout", "failure")


def verdict(
    *,
    status: Completion = Completion.FAILED,
    reason: CompletionReason | None = None,
    exit_code: int | None = 1,
    attempt: int = 1,
    lost: int = 0,
    retries: int = 0,
    on: tuple[str, ...] = ALL,
    cancelled_by: str | None = None,
) -> Verdict:
    return judge(
        AttemptEnd(status=status, exit_code=exit_code, reason=reason),
        attempt_number=attempt,
        lost_count=lost,
        retries=RetryPolicy(max=retries, on=on),
        cancel_requested_by=cancelled_by,
    )


def test_success_is_success_also_when_a_cancel_came_too_late() -> None:
    for cancelled_by in (None, "anna"):
        found = verdict(status=Completion.SUCCESS, exit_code=0, cancelled_by=cancelled_by)
        assert (found.event, found.attempt) == (StepEvent.SUCCEED, AttemptState.SUCCEEDED)
        assert found.reason is None


@pytest.mark.parametrize("reason", [None, *CompletionReason])
def test_any_other_end_of_a_cancelled_step_is_a_cancel(reason: CompletionReason | None) -> None:
    found = verdict(reason=reason, retries=5, cancelled_by="anna")
    assert (found.event, found.attempt) == (StepEvent.CANCEL, AttemptState.CANCELLED)
    assert found.reason == "cancelled by anna"
    assert not found.lost


def test_a_failure_without_retries_fails_the_step() -> None:
    found = verdict(exit_code=7)
    assert (found.event, found.attempt) == (StepEvent.FAIL, AttemptState.FAILED)
    assert found.reason == "exit code 7"


def test_two_retries_make_three_attempts() -> None:
    events = [verdict(attempt=number, retries=2).event for number in (1, 2, 3)]
    assert events == [StepEvent.RETRY, StepEvent.RETRY, StepEvent.FAIL]


def test_lost_attempts_do_not_use_up_the_retries() -> None:
    assert verdict(attempt=4, lost=3, retries=1).event is StepEvent.RETRY
    assert verdict(attempt=5, lost=3, retries=1).event is StepEvent.FAIL


@pytest.mark.parametrize(
    ("reason", "on", "event"),
    [
        (CompletionReason.TIMEOUT, ("timeout",), StepEvent.RETRY),
        (CompletionReason.TIMEOUT, ("failure",), StepEvent.FAIL),
        (None, ("failure",), StepEvent.RETRY),
        (None, ("timeout", "lost"), StepEvent.FAIL),
        (CompletionReason.ENGINE, ("failure",), StepEvent.RETRY),
        (CompletionReason.OUT_OF_MEMORY, ("timeout",), StepEvent.FAIL),
    ],
)
def test_a_step_is_tried_again_for_the_causes_it_names(
    reason: CompletionReason | None, on: tuple[str, ...], event: StepEvent
) -> None:
    assert verdict(reason=reason, retries=1, on=on).event is event


def test_a_lost_attempt_is_tried_again_until_the_step_is_taken_for_the_cause() -> None:
    found = [verdict(reason=CompletionReason.LOST, lost=count) for count in range(MAX_LOST)]
    assert [each.event for each in found] == [StepEvent.RETRY] * (MAX_LOST - 1) + [StepEvent.FAIL]
    assert all(each.lost and each.attempt is AttemptState.LOST for each in found)
    assert found[-1].reason == f"lost agent: {MAX_LOST} attempts were lost with their agents"


@pytest.mark.parametrize(
    ("reason", "exit_code", "words"),
    [
        (None, 137, "exit code 137"),
        (None, None, "failed"),
        (CompletionReason.TIMEOUT, None, "timeout"),
        (CompletionReason.OUT_OF_MEMORY, 137, "out of memory"),
        (CompletionReason.ENGINE, None, "engine"),
        (CompletionReason.SOURCE, None, "source"),
        (CompletionReason.OUTPUTS, 0, "outputs"),
        (CompletionReason.CANCELLED, None, "cancelled on the agent"),
    ],
)
def test_the_reason_says_more_than_the_state(
    reason: CompletionReason | None, exit_code: int | None, words: str
) -> None:
    assert verdict(reason=reason, exit_code=exit_code).reason == words
