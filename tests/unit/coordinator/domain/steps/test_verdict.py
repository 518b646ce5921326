"""What the end of an attempt means for its step."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.domain.lifecycle import StepEvent
from coordinator.domain.model import AttemptState
from coordinator.domain.step_definition import StepDefinition
from coordinator.domain.steps.verdict import (
    AttemptEnd,
    RetryPolicy,
    Verdict,
    judge,
    may_run_again_when_lost,
)
from pipelines_schema import DEFAULT_RETRIES, NEVER, Retries, RetryCause, Step
from pipelines_schema.contract import Completion, CompletionReason


def verdict(
    *,
    status: Completion = Completion.FAILED,
    reason: CompletionReason | None = None,
    exit_code: int | None = 1,
    attempt: int = 1,
    lost: int = 0,
    retries: Retries = DEFAULT_RETRIES,
    at_most_once: bool = False,
    forgiven: int = 0,
    cancelled_by: str | None = None,
) -> Verdict:
    return judge(
        AttemptEnd(status=status, exit_code=exit_code, reason=reason),
        attempt_number=attempt,
        lost_count=lost,
        policy=RetryPolicy(retries=retries, at_most_once=at_most_once, losses_forgiven=forgiven),
        cancel_requested_by=cancelled_by,
    )


def test_success_is_success_also_when_a_cancel_came_too_late() -> None:
    for cancelled_by in (None, "anna"):
        found = verdict(status=Completion.SUCCESS, exit_code=0, cancelled_by=cancelled_by)
        assert (found.event, found.attempt) == (StepEvent.SUCCEED, AttemptState.SUCCEEDED)
        assert found.reason is None


@pytest.mark.parametrize("reason", [None, *CompletionReason])
def test_any_other_end_of_a_cancelled_step_is_a_cancel(reason: CompletionReason | None) -> None:
    found = verdict(reason=reason, retries=Retries(max=5), cancelled_by="anna")
    assert (found.event, found.attempt) == (StepEvent.CANCEL, AttemptState.CANCELLED)
    assert found.reason == "cancelled by anna"
    assert not found.lost


def test_a_failure_without_retries_fails_the_step() -> None:
    found = verdict(exit_code=7)
    assert (found.event, found.attempt) == (StepEvent.FAIL, AttemptState.FAILED)
    assert found.reason == "exit code 7"


LOST, TIMEOUT, FAILURE = RetryCause
ENDS = {
    LOST: CompletionReason.LOST,
    TIMEOUT: CompletionReason.TIMEOUT,
    FAILURE: None,
}


@pytest.mark.parametrize("reason", ENDS.values(), ids=ENDS)
def test_two_retries_make_three_attempts_whatever_for(reason: CompletionReason | None) -> None:
    events = [
        verdict(reason=reason, attempt=number, retries=Retries(max=2)).event for number in (1, 2, 3)
    ]
    assert events == [StepEvent.RETRY, StepEvent.RETRY, StepEvent.FAIL]


def test_an_exit_code_is_tried_again_where_other_failures_are_not() -> None:
    retries = Retries(max=1, on=(LOST,), exit_codes=(75,))
    assert verdict(exit_code=75, retries=retries).event is StepEvent.RETRY
    assert verdict(exit_code=75, retries=retries, attempt=2).event is StepEvent.FAIL
    assert verdict(exit_code=1, retries=retries).event is StepEvent.FAIL
    late = verdict(exit_code=75, reason=CompletionReason.TIMEOUT, retries=retries)
    assert late.event is StepEvent.FAIL


@pytest.mark.parametrize("reason", ENDS.values(), ids=ENDS)
def test_another_attempt_may_be_made_later(reason: CompletionReason | None) -> None:
    events = [
        verdict(reason=reason, attempt=number, retries=Retries(max=1, delay_seconds=30)).event
        for number in (1, 2)
    ]
    assert events == [StepEvent.DELAY, StepEvent.FAIL]


def test_an_attempt_that_was_lost_uses_up_a_retry_as_any_other() -> None:
    assert verdict(attempt=2, lost=1, retries=Retries(max=1)).event is StepEvent.FAIL
    assert verdict(attempt=2, lost=1, retries=Retries(max=2)).event is StepEvent.RETRY


@pytest.mark.parametrize("cause", RetryCause)
@pytest.mark.parametrize(
    "never", [{"retries": NEVER}, {"at_most_once": True}, {"at_most_once": True, "forgiven": 9}]
)
def test_never_is_never_for_any_reason(cause: RetryCause, never: dict[str, Any]) -> None:
    found = verdict(reason=ENDS[cause], **never)
    assert found.event is StepEvent.FAIL


def test_a_step_that_says_nothing_is_tried_again_twice_and_only_when_it_was_lost() -> None:
    found = [
        verdict(reason=CompletionReason.LOST, attempt=count + 1, lost=count) for count in range(3)
    ]
    assert [each.event for each in found] == [StepEvent.RETRY, StepEvent.RETRY, StepEvent.FAIL]
    assert all(each.lost and each.attempt is AttemptState.LOST for each in found)
    assert found[-1].reason == "lost agent: 3 attempts were lost with their agents"
    assert verdict().event is StepEvent.FAIL
    assert verdict(reason=CompletionReason.TIMEOUT).event is StepEvent.FAIL


def test_a_step_that_may_not_run_again_says_so_when_it_is_lost() -> None:
    once = verdict(reason=CompletionReason.LOST, at_most_once=True)
    never = verdict(reason=CompletionReason.LOST, retries=NEVER)
    begin = "lost agent: how far it came is not known, and"
    assert once.reason == f"{begin} `atMostOnce` allows no other attempt"
    assert never.reason == f"{begin} its `retries` allows no other attempt"


def test_losses_that_are_forgiven_count_for_nothing() -> None:
    lost = CompletionReason.LOST
    assert verdict(reason=lost, attempt=9, lost=8, forgiven=9).event is StepEvent.RETRY
    assert verdict(reason=lost, attempt=9, lost=8, forgiven=9, retries=NEVER).event is (
        StepEvent.RETRY
    )
    one = Retries(max=1)
    assert verdict(attempt=9, lost=8, forgiven=9, retries=one).event is StepEvent.RETRY
    assert verdict(attempt=10, lost=8, forgiven=9, retries=one).event is StepEvent.FAIL


@pytest.mark.parametrize(
    ("reason", "on", "event"),
    [
        (CompletionReason.TIMEOUT, TIMEOUT, StepEvent.RETRY),
        (CompletionReason.TIMEOUT, FAILURE, StepEvent.FAIL),
        (None, FAILURE, StepEvent.RETRY),
        (None, TIMEOUT, StepEvent.FAIL),
        (CompletionReason.LOST, LOST, StepEvent.RETRY),
        (CompletionReason.LOST, FAILURE, StepEvent.FAIL),
        (CompletionReason.ENGINE, FAILURE, StepEvent.RETRY),
        (CompletionReason.OUT_OF_MEMORY, TIMEOUT, StepEvent.FAIL),
    ],
)
def test_a_step_is_tried_again_for_the_causes_it_names(
    reason: CompletionReason | None, on: RetryCause, event: StepEvent
) -> None:
    assert verdict(reason=reason, retries=Retries(max=1, on=(on,))).event is event


@pytest.mark.parametrize(
    ("says", "again"),
    [
        ({}, True),
        ({"retries": NEVER}, False),
        ({"retries": Retries(max=2, on=(FAILURE,))}, False),
        ({"retries": Retries(max=1)}, True),
        ({"at_most_once": True}, False),
    ],
)
def test_the_result_of_a_step_is_waited_for_that_may_not_run_again(
    says: dict[str, Any], again: bool
) -> None:
    written = Step(name="s", image="x", script="y", **says)
    assert may_run_again_when_lost(StepDefinition(written=written)) is again


@pytest.mark.parametrize(
    ("reason", "exit_code", "words"),
    [
        (None, 137, "exit code 137"),
        (None, None, "reported as failed"),
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
